"""Ids that are made from a record's place: the same for ever, telling nothing (pure)."""

from collections.abc import Sequence

from kafkahub.signing import Mac

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = tuple(high + low for high in DIGITS for low in DIGITS)
"""Two base62 digits at a time: half the divisions of the naive way."""
ID_BYTES = 16
TEN_DIGITS = 62**10
"""22 digits hold 128 bits: 2, 10 and 10 of them are numbers that Python divides quickly."""


class Identity:
    """Makes the ids of one partition's records; what they have in common is hashed once.

    kind           what an id begins with, ``msg_`` or ``evt_``
    before, after  what is hashed around the offset
    """

    __slots__ = ("_after", "_kind", "_mac")

    def __init__(self, key: bytes, kind: str, before: str, after: str) -> None:
        self._kind = kind
        self._mac = Mac(key, before.encode())
        self._after = after.encode()

    def of(self, offset: int) -> str:
        """Return the kind and 22 base62 characters of the first 16 bytes of HMAC-SHA256."""
        digest = self._mac.digest(b"%d%b" % (offset, self._after))
        return self._kind + base62(digest[:ID_BYTES])


def deliveries(
    key: bytes, cluster: str, *, topic: str, generation: int, partition: int, subscription: str
) -> Identity:
    """Return what makes the ``webhook-id`` of one lane.

    Source: the webhook contract: ``cluster|topic|generation|partition|offset|subscription``.
    """
    before = f"{cluster}|{topic}|{generation}|{partition}|"
    return Identity(key, "msg_", before, f"|{subscription}")


def gaps(
    key: bytes, cluster: str, *, topic: str, generation: int, partition: int, subscription: str
) -> Identity:
    """Return what makes the ``webhook-id`` of the gaps of one lane, by their first offset.

    Not that of the record at that offset, which may have been sent before it was lost.
    """
    before = f"gap|{cluster}|{topic}|{generation}|{partition}|"
    return Identity(key, "msg_", before, f"|{subscription}")


def records(key: bytes, cluster: str, *, topic: str, partition: int, partner: str) -> Identity:
    """Return what makes the ids that one partner knows records by, at every door.

    Source: the stream contract: ``cluster|topic|partition|offset|partner``.
    """
    return Identity(key, "evt_", f"{cluster}|{topic}|{partition}|", f"|{partner}")


def batch(key: bytes, ids: Sequence[str]) -> str:
    """Return the id of a batch: ``bat_`` over the ids of its records, joined by a dot."""
    digest = Mac(key).digest(".".join(ids).encode())
    return "bat_" + base62(digest[:ID_BYTES])


def base62(raw: bytes) -> str:
    """Return 22 digits 0-9A-Za-z, zero-padded, for 16 bytes."""
    rest, low = divmod(int.from_bytes(raw, "big"), TEN_DIGITS)
    high, middle = divmod(rest, TEN_DIGITS)
    return PAIRS[high] + _ten(middle) + _ten(low)


def _ten(value: int) -> str:
    value, fifth = divmod(value, 3844)
    value, fourth = divmod(value, 3844)
    value, third = divmod(value, 3844)
    first, second = divmod(value, 3844)
    return PAIRS[first] + PAIRS[second] + PAIRS[third] + PAIRS[fourth] + PAIRS[fifth]
