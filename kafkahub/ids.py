"""Identifiers: a prefix that tells the kind, then 26 characters that sort by time.

The 26 characters are 48 bits of Unix milliseconds and 80 random bits in lower-case base32 of
Crockford's alphabet. Random enough to be shown to anybody; never used as a secret.
"""

import re
import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
RANDOM_BITS = 80

_FORM = re.compile(rf"[a-z]+_[{ALPHABET}]{{{LENGTH}}}")


def new(prefix: str) -> str:
    """Return a fresh id, for example ``ep_01jd0q2v7kz3v1m8x9c4b5n6a7``."""
    return f"{prefix}_{encode(time.time_ns() // 1_000_000, secrets.randbits(RANDOM_BITS))}"


def encode(unix_ms: int, random_bits: int) -> str:
    """Return the 26 characters for a time in Unix milliseconds and 80 random bits."""
    value = unix_ms << RANDOM_BITS | random_bits
    characters = []
    for _ in range(LENGTH):
        characters.append(ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(characters))


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
