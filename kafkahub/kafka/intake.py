"""From librdkafka's queue to records: what the group consumer and the reader have in common."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from sys import intern
from typing import Protocol, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from kafkahub.kafka.faults import (
    END_OF_PARTITION,
    NO_SUCH_OFFSET,
    NOT_OURS,
    REFUSALS,
    ConsumerBroken,
    KafkaUnavailable,
    Kind,
    NotAssigned,
    OnError,
    OutOfRange,
    Teller,
    UnknownTopic,
    kind_of,
)
from kafkahub.kafka.record import Position, Record

Part = tuple[str, int]
"""A topic and one of its partitions."""

WATERMARKS_S = 5.0
"""Longest wait for a broker that is asked where a partition begins and ends."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class _Entry(Protocol):
    """What the client's queue holds: a record, the end of a partition, or an error of one."""

    def error(self) -> KafkaError | None: ...
    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...


class Intake:
    """One librdkafka consumer and the place it has reached in each partition.

    Runs   in the thread that reads; nothing here takes a lock
    Owns   the consumer, made after fork, and its positions
    Ends   ``close``

    ``refused`` is the kind of the last refusal, None once anything was read after it.
    ``broken`` says why nothing can be read any more.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        *,
        on_error: OnError,
        on_out_of_range: Callable[[OutOfRange], None],
    ) -> None:
        self.refused: Kind | None = None
        self._teller = Teller(on_error)
        self._on_out_of_range = on_out_of_range
        self._positions: dict[Part, int] = {}
        self._ends: dict[Part, int] = {}
        self._stopped: dict[Part, int] = {}
        self._moved: dict[Part, int | None] = {}
        self.broken: str | None = None
        own = {"error_cb": self._note_client_error, "logger": _log}
        self.consumer = Consumer({**options, **own})

    def read(self, max_records: int, wait_s: float) -> list[Record]:
        """Return the records that are there, after waiting for the first of them.

        Asking for many at once would wait the whole time for the last of them, so one is
        waited for and the rest is taken without waiting.

        Raises ConsumerBroken when this consumer can never read again.
        """
        if self.broken is not None:
            raise ConsumerBroken(self.broken)
        self._moved.clear()
        batch = self._take(max_records, wait_s)
        records = self._records(batch) if batch else []
        if records:
            self.refused = None
        if self._moved:
            records = self._without_moved(records)
        if self._stopped:
            self._report_stopped()
        return records

    def position(self, part: Part) -> int:
        """Return the offset that the next record of the partition can have at the least.

        It passes offsets that will never be shown: transaction marks and aborted records.
        Raises NotAssigned when the partition is not read here.
        """
        try:
            return self._positions[part]
        except KeyError:
            raise NotAssigned(f"{part[0]}[{part[1]}]") from None

    def is_at_end(self, part: Part) -> bool:
        """Return whether all that the partition held at the last look has been read."""
        return self._ends.get(part) == self.position(part)

    def parts(self) -> frozenset[Part]:
        """Return the partitions read here."""
        return frozenset(self._positions)

    def add(self, positions: Iterable[Position]) -> None:
        """Read these partitions too, from there on."""
        wanted = list(positions)
        self.consumer.incremental_assign([TopicPartition(*position) for position in wanted])
        for topic, partition, offset in wanted:
            self._place((intern(topic), partition), offset)

    def remove(self, parts: Iterable[Part]) -> None:
        """Read these partitions no more; nothing of them is returned from here on."""
        gone = list(parts)
        self.consumer.incremental_unassign([TopicPartition(*part) for part in gone])
        for part in gone:
            self._positions.pop(part, None)
            self._ends.pop(part, None)
            self._stopped.pop(part, None)
            self._moved[part] = None

    def seek(self, position: Position) -> None:
        """Go on at another offset of a partition; also starts one again that stood still.

        Raises NotAssigned when the partition is not read here.
        """
        part = (position.topic, position.partition)
        self.position(part)
        try:
            self.consumer.seek(TopicPartition(*position))
        except KafkaException as error:
            if _error(error).code() != NOT_OURS:
                raise _unavailable(error, f"seeking in {part[0]}[{part[1]}]") from error
            # A partition that has stopped, or has not begun yet, takes no seek.
            self.consumer.incremental_unassign([TopicPartition(*part)])
            self.consumer.incremental_assign([TopicPartition(*position)])
        self._place(part, position.offset)

    def pause(self, parts: Iterable[Part]) -> None:
        """Return nothing of these partitions until ``resume``; unknown ones are passed over."""
        self.consumer.pause(self._known(parts))

    def resume(self, parts: Iterable[Part]) -> None:
        """Go on with paused partitions where they stood; unknown ones are passed over."""
        self.consumer.resume(self._known(parts))

    def watermarks(self, part: Part, deadline_s: float) -> tuple[int, int]:
        """Return the first offset there is and the one that follows the last stable record.

        Raises UnknownTopic, or KafkaUnavailable when no broker answers in time.
        """
        place = TopicPartition(*part)
        try:
            answer = self.consumer.get_watermark_offsets(place, timeout=deadline_s)
        except KafkaException as error:
            if kind_of(_error(error)) is Kind.UNKNOWN_TOPIC:
                raise UnknownTopic(f"{part[0]}[{part[1]}]") from error
            raise _unavailable(error, f"asking for the ends of {part[0]}[{part[1]}]") from error
        if answer is None:  # the client's way to say that the time was up
            raise KafkaUnavailable(f"The ends of {part[0]}[{part[1]}] were not told in time.")
        return answer

    def known_end(self, part: Part) -> int | None:
        """Return the end of a partition as its last answer had it, without asking; else None."""
        answer = self.consumer.get_watermark_offsets(TopicPartition(*part), cached=True)
        return answer[1] if answer is not None and answer[1] >= 0 else None

    @contextmanager
    def breaking(self, reason: str) -> Iterator[None]:
        """Let nothing be read any more when the block fails."""
        try:
            yield
        except BaseException:
            self.broken = reason
            raise

    def close(self) -> None:
        """Give everything up."""
        self.consumer.close()

    def _take(self, max_records: int, wait_s: float) -> list[_Entry]:
        first = self._guarded(lambda: self.consumer.poll(wait_s), None)
        if first is None:
            return []
        self._moved.clear()  # what moved while waiting did so before the first was taken
        rest: list[Message] = []
        if max_records > 1:
            rest = self._guarded(lambda: self.consumer.consume(max_records - 1, 0), rest)
        # The client's stubs let everything be None, because one class serves errors as well.
        return cast("list[_Entry]", [first, *rest])

    def _guarded(self, take: Callable[[], T], nothing: T) -> T:
        """Return what ``take`` gives, or ``nothing`` where the client had an error to tell.

        A callback that failed while partitions changed hands goes through: librdkafka has then
        assigned them by itself, at positions that nobody chose.
        """
        try:
            return take()
        except KafkaException as error:
            if self.broken is not None:
                raise
            self._note(_error(error), None, None)
            return nothing

    def _records(self, batch: Sequence[_Entry]) -> list[Record]:
        """Return the records of a batch; note positions, and what is no record.

        The hottest loop of a reader, 1 µs a record. Records come in runs of one partition, so
        a position is written once a run. Topics are interned, so that look-ups by topic find
        their hash ready.
        """
        records: list[Record] = []
        append, known = records.append, self._positions
        topic, partition, offset = "", -1, -1
        for entry in batch:
            error = entry.error()
            if error is not None:
                if partition >= 0:
                    known[topic, partition] = offset + 1
                    partition = -1
                self._note_entry(entry, error)
                continue
            name, number = entry.topic(), entry.partition()
            if number != partition or name != topic:
                if partition >= 0:
                    known[topic, partition] = offset + 1
                topic, partition = intern(name), number
                if (topic, number) not in known:
                    partition = -1
                    continue  # taken away while the batch was gathered
            offset = entry.offset()
            kind, ms = entry.timestamp()
            try:
                headers = entry.headers()
            except SystemError:
                headers = None
                self._tell_unreadable(topic, number, offset)
            append(
                Record(
                    topic,
                    number,
                    offset,
                    ms if kind else None,
                    entry.key(),
                    entry.value(),
                    tuple(headers) if headers else (),
                )
            )
        if partition >= 0:
            known[topic, partition] = offset + 1
        return records

    def _without_moved(self, records: list[Record]) -> list[Record]:
        """Drop records of partitions that changed hands while they were gathered.

        Some may be from before the change, so those of a partition that is ours again are
        read once more from the place it was given with.
        """
        kept = [record for record in records if (record.topic, record.partition) not in self._moved]
        if len(kept) < len(records):
            for (topic, partition), offset in list(self._moved.items()):
                if offset is not None:
                    self.seek(Position(topic, partition, offset))
        return kept

    def _place(self, part: Part, offset: int) -> None:
        self._positions[part] = offset
        self._moved[part] = offset
        self._ends.pop(part, None)
        self._stopped.pop(part, None)

    def _known(self, parts: Iterable[Part]) -> list[TopicPartition]:
        return [TopicPartition(*part) for part in parts if part in self._positions]

    def _note_entry(self, entry: _Entry, error: KafkaError) -> None:
        part = (intern(entry.topic() or ""), entry.partition())
        if error.code() == END_OF_PARTITION:
            if part in self._positions:
                self._positions[part] = self._ends[part] = entry.offset()
            self.refused = None
        elif error.code() == NO_SUCH_OFFSET and part in self._positions:
            self._stopped[part] = self._positions[part]
        else:
            self._note(error, entry.topic() or None, part[1] if part[1] >= 0 else None)

    def _note_client_error(self, error: KafkaError) -> None:
        self._note(error, None, None)

    def _note(self, error: KafkaError, topic: str | None, partition: int | None) -> None:
        kind = kind_of(error)
        if kind is Kind.FATAL:
            self.broken = error.str()
        if kind in REFUSALS:
            self.refused = kind
        self._teller.tell(kind, topic, partition, error.str())

    def _tell_unreadable(self, topic: str, partition: int, offset: int) -> None:
        """Tell of a record whose headers the client cannot give, for want of UTF-8 in a name."""
        text = f"the headers of the record at offset {offset} have a name that is not UTF-8"
        self._teller.tell(Kind.HEADER_NAME, topic, partition, text)

    def _report_stopped(self) -> None:
        """Tell of partitions that stand still, once each; those not yet looked at wait."""
        for (topic, partition), offset in list(self._stopped.items()):
            try:
                low, high = self.watermarks((topic, partition), WATERMARKS_S)
            except (KafkaUnavailable, UnknownTopic) as error:
                self._teller.tell(Kind.OTHER, topic, partition, str(error))
                continue
            del self._stopped[topic, partition]
            self._on_out_of_range(OutOfRange(topic, partition, offset, low, high))


def _error(exception: KafkaException) -> KafkaError:
    error: KafkaError = exception.args[0]
    return error


def _unavailable(exception: KafkaException, doing: str) -> KafkaUnavailable:
    return KafkaUnavailable(f"Kafka failed while {doing}: {_error(exception).str()}")
