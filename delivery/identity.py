"""The ``webhook-id`` of a delivery: the same for ever, telling nothing (pure)."""

import hashlib
import hmac

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = tuple(high + low for high in DIGITS for low in DIGITS)
"""Two base62 digits at a time: half the divisions of the naive way."""
ID_BYTES = 16
ID_PAIRS = 11
"""22 digits hold 128 bits."""


class LaneIdentity:
    """Makes the ids of one lane; what is common to all its records is hashed once.

    Source: the project's webhook contract, header ``webhook-id``: HMAC-SHA256 over
    ``cluster|topic|generation|partition|offset|subscription``, first 16 bytes, base62.
    """

    __slots__ = ("_prefix", "_suffix")

    def __init__(
        self,
        key: bytes,
        cluster: str,
        *,
        topic: str,
        generation: int,
        partition: int,
        subscription: str,
    ) -> None:
        prefix = f"{cluster}|{topic}|{generation}|{partition}|"
        self._prefix = hmac.new(key, prefix.encode(), hashlib.sha256)
        self._suffix = f"|{subscription}".encode()

    def webhook_id(self, offset: int) -> str:
        """Return ``msg_`` and 22 base62 characters."""
        mac = self._prefix.copy()
        mac.update(b"%d%b" % (offset, self._suffix))
        return "msg_" + base62(mac.digest()[:ID_BYTES])


def base62(raw: bytes) -> str:
    """Return 22 digits 0-9A-Za-z, zero-padded, for 16 bytes."""
    value = int.from_bytes(raw, "big")
    pairs = []
    for _ in range(ID_PAIRS):
        value, rest = divmod(value, 3844)
        pairs.append(PAIRS[rest])
    pairs.reverse()
    return "".join(pairs)
