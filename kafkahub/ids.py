"""Identifiers: a prefix that tells the kind, then 26 characters that sort by time.

The 26 characters are 48 bits of Unix milliseconds and 80 random bits in lower-case base32 of
Crockford's alphabet. Random enough to be shown to anybody; never used as a secret.
"""

import functools
import os
import re
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
RANDOM_BITS = 80
RANDOM_LENGTH = RANDOM_BITS // 5
POOL_LENGTH = 400 * RANDOM_LENGTH
"""Randomness fetched at once: each call of the system gives the interpreter away, 50 µs if busy."""
_FIVE_BITS = bytes(ord(ALPHABET[byte & 31]) for byte in range(256))
"""For each byte the character of its lowest five bits: all are equally likely."""

_FORM = re.compile(rf"[a-z]+_[{ALPHABET}]{{{LENGTH}}}")


class _Pool:
    """Random characters, each handed out once; shared by all threads of a process."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        """Drop what is left, and a lock that somebody held when the process was forked."""
        self._lock = threading.Lock()
        self._text = ""
        self._at = 0

    def take(self) -> str:
        """Return 80 random bits as they are written."""
        with self._lock:
            if self._at >= len(self._text):
                self._text = os.urandom(POOL_LENGTH).translate(_FIVE_BITS).decode("ascii")
                self._at = 0
            self._at += RANDOM_LENGTH
            return self._text[self._at - RANDOM_LENGTH : self._at]


_pool = _Pool()
os.register_at_fork(after_in_child=_pool.empty)


def new(prefix: str) -> str:
    """Return a fresh id, for example ``ep_01jd0q2v7kz3v1m8x9c4b5n6a7``."""
    return f"{prefix}_{_time_of(time.time_ns() // 1_000_000)}{_pool.take()}"


_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)
_PLACES = tuple(range(5 * (LENGTH - 2), -1, -10))


def encode(unix_ms: int, random_bits: int) -> str:
    """Return the 26 characters for a time in Unix milliseconds and 80 random bits."""
    value = unix_ms << RANDOM_BITS | random_bits
    return "".join([_PAIRS[value >> place & 1023] for place in _PLACES])


@functools.lru_cache(maxsize=16)
def _time_of(unix_ms: int) -> str:
    """Return the first 10 characters; many ids are made in one millisecond."""
    return encode(unix_ms, 0)[:-RANDOM_LENGTH]


def decode(text: str) -> tuple[int, int]:
    """Return Unix milliseconds and random bits of an id, whatever its prefix.

    Raises ValueError for what is no id.
    """
    if not _FORM.fullmatch(text):
        raise ValueError("not an id")
    value = 0
    for character in text.rpartition("_")[2]:
        value = value << 5 | ALPHABET.index(character)
    return value >> RANDOM_BITS, value & (1 << RANDOM_BITS) - 1


def is_id(text: str, prefix: str) -> bool:
    """Return whether ``text`` has the form of an id of that kind; says nothing of existence."""
    return text.startswith(f"{prefix}_") and _FORM.fullmatch(text) is not None
