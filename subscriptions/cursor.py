"""Positions in a set of topics as one opaque token, and back.

One codec for every door. A cursor is a position and never a right: whoever opens one is
authorised from nothing. Shape of the plain form, before base64url without padding:

    0x01 | body | CRC-32 of all before
    body   cluster tag (4) | time in ms (uvarint) | number of topics (uvarint) | topics
    topic  name tag (4) | epoch tag (4) | number of partitions (uvarint) | partitions
    each   partition, first absolute, then difference less 1 (uvarint) | next offset (uvarint)

The sealed form, which hides the same body, is in ``sealing.py``: it needs ciphers and chance.
"""

import hashlib
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from kafkahub.errors import Fault, Invalid

PLAIN, SEALED, FINAL = b"\x01", b"\x02", b"\x03"
FINAL_TOKEN = urlsafe_b64encode(FINAL).rstrip(b"=").decode()
"""Whoever shows it is to stop: it gets 204 before any other check."""
ARRAY_MAX = 8_192
"""Characters of a position in the form of KafkaSSE."""
LATEST, EARLIEST = -1, -2
"""Offsets of that form that are no offsets."""
TOKEN_MAX = 4_096
"""Characters of a token; what would be longer is not handed out."""
TAG_BYTES = 4
CRC_BYTES = 4
NO_EPOCH = bytes(TAG_BYTES)
"""Epoch tag where the broker gives a topic no UUID."""

_VARINT_BYTES = 9
"""Bytes of 63 bits, which no offset of Kafka exceeds."""
_LOW, _MORE = 0x7F, 0x80
_FIXED = (b"", -1)
_TIME = (b"", -2)

Place = tuple[bytes, int]
"""Name tag and partition; the two above mark what is no offset."""


@dataclass(frozen=True, slots=True)
class TopicPosition:
    """The next offset of each partition of one topic.

    name_tag   ``tag`` of Kafka's topic name
    epoch_tag  ``tag`` of the topic's UUID, or ``NO_EPOCH``
    """

    name_tag: bytes
    epoch_tag: bytes
    offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a set of topics.

    cluster_tag  ``tag`` of the cluster id
    time_ms      newest record timestamp handed out so far, Unix ms
    """

    cluster_tag: bytes
    time_ms: int
    topics: tuple[TopicPosition, ...]


def tag(text: str) -> bytes:
    """Return the 4 bytes that stand for a cluster id, topic name or topic UUID."""
    return hashlib.sha256(text.encode()).digest()[:TAG_BYTES]


def encode(cursor: Cursor) -> str | None:
    """Return the plain token; None when it would be longer than ``TOKEN_MAX``."""
    return _token(b"".join(written for _, written in _pieces(cursor)))


def decode(token: str) -> Cursor:
    """Return the position that a plain token holds.

    Raises Invalid with code ``invalid_cursor`` and one text for whatever is wrong.
    """
    cursor = _read(token) if len(token) <= TOKEN_MAX else None
    # Comparing with the only right spelling refuses a wrong sum, spare bits and padded numbers.
    if cursor is None or _names_twice(cursor) or encode(cursor) != token:
        raise refused()
    return cursor


def refused() -> Invalid:
    """Return the one answer to whatever is wrong with a cursor."""
    text = "The cursor is not one of ours; use it exactly as it was given."
    return Invalid([Fault("", "invalid_cursor", text)])


def raw(token: str) -> bytes:
    """Return the bytes of a token of any kind; raise Invalid for what is none."""
    if not token or len(token) > TOKEN_MAX or not token.isascii():
        raise refused()
    try:
        content = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError:
        raise refused() from None
    if written(content) != token:
        raise refused()  # spare bits, or characters that decoding passes over
    return content


def written(content: bytes) -> str:
    """Return bytes as a token is written."""
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def body(cursor: Cursor) -> bytes:
    """Return what the plain and the sealed form have in common."""
    return b"".join(written for _, written in _pieces(cursor))[len(PLAIN) :]


def read_body(content: bytes) -> Cursor:
    """Return the position in a body that only zeros follow. Raises Invalid."""
    try:
        cursor = _read_body(_Reader(content))
    except (ValueError, EOFError):
        raise refused() from None
    own = body(cursor)
    if _names_twice(cursor) or content[: len(own)] != own or any(content[len(own) :]):
        raise refused()
    return cursor


class Spot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One partition's position in the form of KafkaSSE.

    offset     next offset, ``LATEST`` or ``EARLIEST``; it wins where both are given
    timestamp  Unix ms
    """

    topic: Annotated[str, Meta(min_length=1, max_length=249)]
    partition: Annotated[int, Meta(ge=0, lt=2**31)]
    offset: Annotated[int, Meta(ge=EARLIEST, le=2**63 - 1)] | None = None
    timestamp: Annotated[int, Meta(ge=0, lt=2**53)] | None = None


def read_array(text: str) -> tuple[Spot, ...]:
    """Return a position in the form of KafkaSSE: a JSON array. Raises Invalid."""
    if len(text) > ARRAY_MAX:
        raise refused()
    try:
        spots = msgspec.json.decode(text, type=tuple[Spot, ...])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise refused() from None
    places = {(spot.topic, spot.partition) for spot in spots}
    is_empty = any(spot.offset is None and spot.timestamp is None for spot in spots)
    if not spots or is_empty or len(places) < len(spots):
        raise refused()
    return spots


def _names_twice(cursor: Cursor) -> bool:
    return len({topic.name_tag for topic in cursor.topics}) < len(cursor.topics)


class Prepared:
    """Tokens that differ in one partition's offset and in the time only, such as a lane's.

    A webhook carries one for every delivery: the rest is encoded once, here.
    """

    __slots__ = ("_after", "_before", "_head")

    def __init__(self, cursor: Cursor, name_tag: bytes, partition: int) -> None:
        """Raises ValueError when the cursor has no such partition."""
        places, pieces = zip(*_pieces(cursor), strict=True)
        time, offset = places.index(_TIME), places.index((name_tag, partition))
        self._head = b"".join(pieces[:time])
        self._before = b"".join(pieces[time + 1 : offset])
        self._after = b"".join(pieces[offset + 1 :])

    def token(self, time_ms: int, next_offset: int) -> str | None:
        """Return the token with this time and offset; None when it would be too long."""
        parts = (self._head, uvarint(time_ms), self._before, uvarint(next_offset), self._after)
        return _token(b"".join(parts))


def uvarint(number: int) -> bytes:
    """Return 7 bits a byte, lowest first, the high bit on all but the last."""
    written = bytearray()
    while number > _LOW:
        written.append(number & _LOW | _MORE)
        number >>= 7
    written.append(number)
    return bytes(written)


def _token(content: bytes) -> str | None:
    summed = content + zlib.crc32(content).to_bytes(CRC_BYTES, "big")
    token = urlsafe_b64encode(summed).rstrip(b"=").decode("ascii")
    return token if len(token) <= TOKEN_MAX else None


def _pieces(cursor: Cursor) -> Iterator[tuple[Place, bytes]]:
    """Yield the token's content in order; what ``Prepared`` replaces has its place with it."""
    yield _FIXED, PLAIN + cursor.cluster_tag
    yield _TIME, uvarint(cursor.time_ms)
    yield _FIXED, uvarint(len(cursor.topics))
    for topic in cursor.topics:
        yield _FIXED, topic.name_tag + topic.epoch_tag + uvarint(len(topic.offsets))
        before = -1
        for partition in sorted(topic.offsets):
            yield _FIXED, uvarint(partition - before - 1)
            yield (topic.name_tag, partition), uvarint(topic.offsets[partition])
            before = partition


def _read(token: str) -> Cursor | None:
    """Return what the token seems to hold, unchecked but for its shape; None without one."""
    try:
        content = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        reader = _Reader(content)
        if reader.take(len(PLAIN)) != PLAIN:
            return None
        return _read_body(reader)
    except (ValueError, EOFError):
        return None


def _read_body(reader: "_Reader") -> Cursor:
    return Cursor(
        cluster_tag=reader.take(TAG_BYTES),
        time_ms=reader.uvarint(),
        topics=tuple(_read_topic(reader) for _ in range(reader.uvarint())),
    )


def _read_topic(reader: "_Reader") -> TopicPosition:
    name_tag, epoch_tag = reader.take(TAG_BYTES), reader.take(TAG_BYTES)
    offsets = {}
    before = -1
    for _ in range(reader.uvarint()):
        before += reader.uvarint() + 1
        offsets[before] = reader.uvarint()
    return TopicPosition(name_tag, epoch_tag, offsets)


class _Reader:
    """Takes a token's content apart; every number read ends, so a made-up count ends at EOF."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes; raise EOFError when there are fewer."""
        taken = self._content[self._at : self._at + count]
        if len(taken) < count:
            raise EOFError
        self._at += count
        return taken

    def uvarint(self) -> int:
        """Return the next number; raise ValueError when it has more than 63 bits."""
        number = 0
        for shift in range(0, 7 * _VARINT_BYTES, 7):
            (byte,) = self.take(1)
            number |= (byte & _LOW) << shift
            if byte < _MORE:
                return number
        raise ValueError("more than 63 bits")
