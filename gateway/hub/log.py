"""The shared, byte-bounded log of records and the frames made of them (pure).

One per process, owned by the thread that reads Kafka. It never waits for a listener: what is too
much is evicted, oldest first, and a listener that still needs it is fed from Kafka again.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from gateway.frames import Style
from kafkahub.kafka.record import Record

Part = tuple[str, int]
"""A topic and one of its partitions."""
Frames = dict[Style, bytes]

PARTITION_BYTES = 4 * 1024 * 1024
"""Bytes one partition holds at most, so that a busy one leaves room for the others."""
ENTRY_BYTES = 400
"""What an entry costs beside its bytes: objects, list places, the dictionary of frames."""
EVICT_SHARE = 8
"""A full log gives up this part of itself at once: taking from a list's front moves the rest."""


class Entry:
    """One record of the log, with the frames made of it so far.

    number  of the read that brought it; frames of older reads are evicted first
    frames  by style; each is made once, on first need
    """

    __slots__ = ("frames", "number", "record", "size")

    def __init__(self, record: Record, number: int) -> None:
        self.record = record
        self.number = number
        self.frames: Frames = {}
        self.size = ENTRY_BYTES + len(record.value or b"") + len(record.key or b"")


class PartitionLog:
    """The newest records of one partition.

    begin    every record from this offset up to ``end`` that Kafka shows is here
    end      offset the next record has at the least
    evicted  number of the newest read of which something is gone
    """

    __slots__ = ("_entries", "_offsets", "begin", "bytes", "end", "evicted")

    def __init__(self, begin: int) -> None:
        self.begin = self.end = begin
        self.bytes = 0
        self.evicted = -1
        self._offsets: list[int] = []
        self._entries: list[Entry] = []

    def append(self, entry: Entry) -> None:
        self._offsets.append(entry.record.offset)
        self._entries.append(entry)
        self.end = entry.record.offset + 1
        self.bytes += entry.size

    def grow(self, entry: Entry, frame_bytes: int) -> None:
        """Count a frame made of an entry of this partition."""
        entry.size += frame_bytes
        if entry.record.offset >= self.begin:
            self.bytes += frame_bytes

    def between(self, start: int, end: int) -> list[Entry]:
        """Return the entries with ``start`` <= offset < ``end``; both within the log."""
        first, last = bisect_left(self._offsets, start), bisect_left(self._offsets, end)
        return self._entries[first:last]

    def oldest(self) -> int | None:
        """Return the number of the read that brought the oldest entry; None when empty."""
        return self._entries[0].number if self._entries else None

    def evict(self) -> int:
        """Give up the oldest part; return the bytes that became free."""
        count = max(1, len(self._entries) // EVICT_SHARE)
        gone = self._entries[:count]
        if not gone:
            return 0
        freed = sum(entry.size for entry in gone)
        self.begin = gone[-1].record.offset + 1
        self.evicted = gone[-1].number
        self.bytes -= freed
        del self._entries[:count], self._offsets[:count]
        return freed

    def restart(self, begin: int) -> None:
        """Hold nothing any more and go on at another offset: what was between never comes."""
        self.evicted = self._entries[-1].number if self._entries else self.evicted
        self._entries.clear()
        self._offsets.clear()
        self.begin = self.end = begin
        self.bytes = 0


class SharedLog:
    """The logs of all partitions that the process reads, bounded together by ``max_bytes``."""

    def __init__(self, max_bytes: int, partition_bytes: int = PARTITION_BYTES) -> None:
        self.parts: dict[Part, PartitionLog] = {}
        self._max_bytes = max_bytes
        self._partition_bytes = partition_bytes

    def open(self, part: Part, begin: int) -> None:
        """Begin a partition; one that is there already stays as it is."""
        if part not in self.parts:
            self.parts[part] = PartitionLog(begin)

    def close(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self.parts.pop(part, None)

    def bytes(self) -> int:
        return sum(log.bytes for log in self.parts.values())

    def shorten(self) -> None:
        """Evict until all bounds hold; called once a read, not once a record."""
        for log in self.parts.values():
            while log.bytes > self._partition_bytes:
                log.evict()
        total = self.bytes()
        while total > self._max_bytes:
            candidates = [log for log in self.parts.values() if log.oldest() is not None]
            total -= min(candidates, key=_age).evict()

    def covers(self, offsets: Mapping[Part, int], parts: Iterable[Part]) -> bool:
        """Return whether everything from these offsets to the end is in memory."""
        return all(
            part in self.parts and self.parts[part].begin <= offsets[part] <= self.parts[part].end
            for part in parts
        )

    def evicted(self, parts: Iterable[Part]) -> int:
        """Return the number of the newest read of which one of the partitions lost something."""
        return max((self.parts[part].evicted for part in parts if part in self.parts), default=-1)


def _age(log: PartitionLog) -> int:
    return log.oldest() or 0
