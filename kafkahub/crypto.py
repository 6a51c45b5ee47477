"""Key rings: what seals secrets at rest, hashes API keys and chains the audit log.

A ring is written ``kid:base64 of 32 bytes`` by comma. The first key writes, all of them read, so
that a key can be rotated without a moment in which something does not open.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = "v1"

_KID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class KeyRingError(ValueError):
    """A ring that must not be used; the text never holds a key."""


class SealBroken(Exception):
    """A sealed value that does not open: another row's, damaged, or its key left the ring."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Keys by kid; ``writer`` is the kid new values get."""

    writer: str
    keys: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"KeyRing(writer={self.writer!r}, kids={sorted(self.keys)})"


def parse_ring(text: str) -> KeyRing:
    """Return the ring written as ``kid:base64,kid:base64``.

    Raises KeyRingError for an empty ring, a double kid, a key that is not 32 bytes, that repeats
    one byte, or that stands twice.
    """
    keys: dict[str, bytes] = {}
    for number, part in enumerate(filter(None, text.split(",")), start=1):
        kid, _, encoded = part.strip().partition(":")
        if not _KID.fullmatch(kid) or kid in keys:
            raise KeyRingError(f"key {number}: its kid is missing, malformed or there twice")
        keys[kid] = parse_key(encoded, f"key {kid!r}")
    if not keys:
        raise KeyRingError("the ring is empty; write kid:base64 of 32 random bytes")
    if len(set(keys.values())) != len(keys):
        raise KeyRingError("two kids have the same key")
    return KeyRing(next(iter(keys)), keys)


def parse_key(encoded: str, name: str = "the key") -> bytes:
    """Return the 32 bytes written in base64; raise KeyRingError for anything weaker."""
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise KeyRingError(f"{name} is not base64") from None
    if len(key) != KEY_BYTES:
        raise KeyRingError(f"{name} has {len(key)} bytes; {KEY_BYTES} are needed")
    if len(set(key)) < KEY_BYTES // 4:
        raise KeyRingError(f"{name} is not random; make one with: openssl rand -base64 32")
    return key


def seal(ring: KeyRing, plain: bytes, place: str) -> str:
    """Return ``v1:<kid>:<base64url(nonce 12 + AES-256-GCM ciphertext + tag)>``.

    place  ``table.column:pk``; authenticated with the value, so that it opens nowhere else
    """
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(ring.keys[ring.writer]).encrypt(nonce, plain, place.encode())
    return f"{VERSION}:{ring.writer}:{base64.urlsafe_b64encode(sealed).decode()}"


def unseal(ring: KeyRing, sealed: str, place: str) -> bytes:
    """Return what ``seal`` was given for the same place.

    Raises SealBroken for everything else; never plain text, never an empty value instead.
    """
    version, _, rest = sealed.partition(":")
    kid, _, encoded = rest.partition(":")
    if version != VERSION or kid not in ring.keys:
        raise SealBroken(f"{place}: unknown form or a key that is not in the ring")
    try:
        raw = base64.urlsafe_b64decode(encoded)
        return AESGCM(ring.keys[kid]).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode())
    except (binascii.Error, ValueError, InvalidTag):
        raise SealBroken(f"{place}: the value does not open") from None


def encrypt(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """Return nonce, AES-256-GCM ciphertext and tag; ``bound`` is authenticated with them."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def decrypt(key: bytes, content: bytes, bound: bytes) -> bytes:
    """Return what ``encrypt`` was given. Raises SealBroken for everything else."""
    try:
        return AESGCM(key).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], bound)
    except (ValueError, InvalidTag):
        raise SealBroken("the content does not open") from None


def kid_of(sealed: str) -> str:
    """Return the kid that ``sealed`` was written under."""
    return sealed.split(":", 2)[1]


def digest(key: bytes, text: bytes) -> bytes:
    """Return HMAC-SHA256 of ``text`` under ``key``."""
    return hmac.digest(key, text, hashlib.sha256)
