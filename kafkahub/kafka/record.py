"""One entry of a Kafka topic, and a place in one."""

from typing import NamedTuple

import msgspec


class Position(NamedTuple):
    """A place in a topic: the offset of the next record to read there."""

    topic: str
    partition: int
    offset: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as Kafka holds it; nothing is decoded.

    A struct, because one is made for every record read: 0.1 µs against 0.6 µs of a frozen
    dataclass. ``gc=False`` is right because none of its fields can hold the record itself.

    timestamp_ms  Unix time in ms, or None where the topic carries none
    key           None where the record has no key; ``b""`` is a key
    value         None for a tombstone
    headers       in the order of the broker; a name may repeat, a value may be None
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def position(self) -> Position:
        """Where this record stands."""
        return Position(self.topic, self.partition, self.offset)
