"""Masks: what stands in a record instead of a value that its partner may not see (pure).

A mask takes the JSON text of one value and returns the text that replaces it, or None where the
value is to be gone altogether.
"""

import hashlib
import hmac
import re
from collections.abc import Callable

import msgspec

Mask = Callable[[bytes], bytes | None]

DROP, NULL, LAST4, HASH, YEAR = "drop", "null", "last4", "hash", "year"
NAMES = (DROP, NULL, LAST4, HASH, YEAR)
SHOWN = 4
"""Characters that ``last4`` shows, and never more than half of a value."""
HASH_BYTES = 16
PURPOSE = "kafkahub mask"

_NULL = b"null"
_DATE = re.compile(r"\d{4}-\d{2}")
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
_text_of = msgspec.json.Decoder(str).decode


def key_of(id_key: bytes, partner: str) -> bytes:
    """Return the key of one partner's hashes: the same for ever, of no use to compare partners."""
    return _digest(id_key, f"{PURPOSE}|{partner}".encode())


def mask_of(name: str, key: bytes) -> Mask:
    """Return the mask of this name; ``key`` is that of ``key_of``."""
    if name == HASH:
        return lambda raw: _hashed(key, raw)
    return _PLAIN[name]


def hashed_key(key: bytes, content: bytes) -> bytes:
    """Return what stands for a record's key that is hidden: equal keys stay equal."""
    return _digest(key, b"key|" + content)[:HASH_BYTES].hex().encode("ascii")


def _digest(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)


def _dropped(_: bytes) -> None:
    return None


def _nulled(_: bytes) -> bytes:
    return _NULL


def _last4(raw: bytes) -> bytes:
    """Return stars and the end of a text or number; null for anything else."""
    text = _scalar_text(raw)
    if text is None:
        return _NULL
    return _encode("****" + (text[-SHOWN:] if len(text) >= 2 * SHOWN else ""))


def _hashed(key: bytes, raw: bytes) -> bytes:
    """Return a hash; null stays null, and members may stand in any order."""
    if raw == _NULL:
        return _NULL
    content = raw
    if raw.startswith(b'"'):
        content = b'"' + _text_of(raw).encode()
    elif raw.startswith((b"{", b"[")):
        content = _encode(_decode(raw), order="sorted")
    return b'"%b"' % _digest(key, content)[:HASH_BYTES].hex().encode("ascii")


def _year(raw: bytes) -> bytes:
    """Return the year of a date as text; null for anything else."""
    text = _scalar_text(raw)
    return _encode(text[:4]) if text is not None and _DATE.match(text) else _NULL


def _scalar_text(raw: bytes) -> str | None:
    if raw.startswith(b'"'):
        return _text_of(raw)
    return raw.decode("ascii") if raw[:1] in b"-0123456789" else None


_PLAIN: dict[str, Mask] = {DROP: _dropped, NULL: _nulled, LAST4: _last4, YEAR: _year}
