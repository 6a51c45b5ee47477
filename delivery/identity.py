"""Ids that are made from a record's place: the same for ever, telling nothing (pure)."""

import hashlib
import hmac

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = tuple(high + low for high in DIGITS for low in DIGITS)
"""Two base62 digits at a time: half the divisions of the naive way."""
ID_BYTES = 16
ID_PAIRS = 11
"""22 digits hold 128 bits."""


class Identity:
    """Makes the ids of one partition's records; what they have in common is hashed once.

    kind           what an id begins with, ``msg_`` or ``evt_``
    before, after  what is hashed around the offset
    """

    __slots__ = ("_after", "_before", "_kind")

    def __init__(self, key: bytes, kind: str, before: str, after: str) -> None:
        self._kind = kind
        self._before = hmac.new(key, before.encode(), hashlib.sha256)
        self._after = after.encode()

    def of(self, offset: int) -> str:
        """Return the kind and 22 base62 characters of the first 16 bytes of HMAC-SHA256."""
        mac = self._before.copy()
        mac.update(b"%d%b" % (offset, self._after))
        return self._kind + base62(mac.digest()[:ID_BYTES])


def deliveries(
    key: bytes, cluster: str, *, topic: str, generation: int, partition: int, subscription: str
) -> Identity:
    """Return what makes the ``webhook-id`` of one lane.

    Source: the webhook contract: ``cluster|topic|generation|partition|offset|subscription``.
    """
    before = f"{cluster}|{topic}|{generation}|{partition}|"
    return Identity(key, "msg_", before, f"|{subscription}")


def records(key: bytes, cluster: str, *, topic: str, partition: int, partner: str) -> Identity:
    """Return what makes the ids that one partner knows records by, at every door.

    Source: the stream contract: ``cluster|topic|partition|offset|partner``.
    """
    return Identity(key, "evt_", f"{cluster}|{topic}|{partition}|", f"|{partner}")


def base62(raw: bytes) -> str:
    """Return 22 digits 0-9A-Za-z, zero-padded, for 16 bytes."""
    value = int.from_bytes(raw, "big")
    pairs = []
    for _ in range(ID_PAIRS):
        value, rest = divmod(value, 3844)
        pairs.append(PAIRS[rest])
    pairs.reverse()
    return "".join(pairs)
