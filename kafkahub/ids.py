"""Identifiers: a prefix that tells the kind, then 26 characters that sort by time.

The 26 characters are 48 bits of Unix milliseconds and 80 random bits in lower-case base32 of
Crockford's alphabet. Random enough to be shown to anybody; never used as a secret.
"""

import os
import re
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
RANDOM_BITS = 80
RANDOM_BYTES = RANDOM_BITS // 8
POOL_BYTES = 400 * RANDOM_BYTES
"""Randomness fetched at once: each call of the system gives the interpreter away, 50 µs if busy."""

_FORM = re.compile(rf"[a-z]+_[{ALPHABET}]{{{LENGTH}}}")


class _Pool:
    """Random bytes of the system, each handed out once; shared by all threads of a process."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        """Drop what is left, and a lock that somebody held when the process was forked."""
        self._lock = threading.Lock()
        self._bytes = b""
        self._at = 0

    def take(self) -> int:
        """Return 80 random bits."""
        with self._lock:
            if self._at >= len(self._bytes):
                self._bytes, self._at = os.urandom(POOL_BYTES), 0
            taken = self._bytes[self._at : self._at + RANDOM_BYTES]
            self._at += RANDOM_BYTES
        return int.from_bytes(taken, "big")


_pool = _Pool()
os.register_at_fork(after_in_child=_pool.empty)


def new(prefix: str) -> str:
    """Return a fresh id, for example ``ep_01jd0q2v7kz3v1m8x9c4b5n6a7``."""
    return f"{prefix}_{encode(time.time_ns() // 1_000_000, _pool.take())}"


_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)
_PLACES = tuple(range(5 * (LENGTH - 2), -1, -10))


def encode(unix_ms: int, random_bits: int) -> str:
    """Return the 26 characters for a time in Unix milliseconds and 80 random bits."""
    value = unix_ms << RANDOM_BITS | random_bits
    return "".join([_PAIRS[value >> place & 1023] for place in _PLACES])


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
