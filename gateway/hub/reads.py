"""Bounded reads for those who poll: from memory where it reaches, else by a pool of readers."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from gateway.hub.log import Part
from gateway.hub.tail import Tail
from kafkahub.errors import Unavailable
from kafkahub.kafka.faults import ConsumerBroken, KafkaUnavailable, OutOfRange
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record

READ_RECORDS = 500
POLL_S = 0.05
GIVE_UP_S = 5.0
"""Longest time without a record or an end: then Kafka is away."""
IDLE_S = 600.0
"""A reader without work for so long is closed: it is 2.4 MB and 6 threads."""
MAX_WAITING = 100
"""Reads that wait for one of the pool; more are refused, not queued."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one read returns at most.

    max_bytes    of keys and values; a record above it by itself is returned all the same
    marks_large  such a record does not count, for it is only told of; else it comes alone
    """

    max_records: int
    max_bytes: int
    marks_large: bool = False


@dataclass(slots=True)
class Haul:
    """What was read.

    after    by partition, the next offset to read
    out      partitions whose offset is not in Kafka; ``after`` does not move there
    at_end   the partitions of which nothing more was there
    """

    after: dict[Part, int]
    records: list[Record] = field(default_factory=list)
    out: list[OutOfRange] = field(default_factory=list)
    at_end: set[Part] = field(default_factory=set)
    bytes: int = 0

    def take(self, record: Record, bounds: Bounds) -> bool:
        """Add a record; return False when it does not fit any more."""
        size = size_of(record)
        if size > bounds.max_bytes and bounds.marks_large:
            size = 0
        if len(self.records) >= bounds.max_records:
            return False
        if self.records and self.bytes + size > bounds.max_bytes:
            return False
        self.records.append(record)
        self.bytes += size
        self.after[record.topic, record.partition] = record.offset + 1
        return True


def size_of(record: Record) -> int:
    """Return the bytes of a record as bounds count them: key and value."""
    return len(record.key or b"") + len(record.value or b"")


class Reads:
    """Answers polls of all doors of a process.

    Runs   up to ``readers`` threads, started with the first read that memory cannot answer
    Owns   one Kafka reader a thread, and the tail
    Takes  reads through ``read``; ``MAX_WAITING`` wait at most, more get Unavailable
    Ends   ``stop``
    """

    def __init__(self, make_reader: Callable[..., Reader], *, readers: int, log_bytes: int) -> None:
        self._make_reader = make_reader
        self._readers = readers
        self._tail = Tail(make_reader, log_bytes=log_bytes)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._idle = 0
        self._is_over = False
        self._loop = asyncio.get_running_loop()

    async def read(self, offsets: Mapping[Part, int], bounds: Bounds) -> Haul:
        """Return what is there now from these offsets on; the haul is empty at the end.

        Raises KafkaUnavailable, and Unavailable when too many reads wait.
        """
        haul = Haul(dict(offsets))
        missing = self._from_memory(offsets, bounds, haul)
        if missing and len(haul.records) < bounds.max_records and haul.bytes < bounds.max_bytes:
            await self._from_kafka(missing, bounds, haul)
            self._tail.is_stalled = False
            self._tail.follow({part: haul.after[part] for part in missing & haul.at_end})
        return haul

    async def news(self, offsets: Mapping[Part, int], wait_s: float) -> None:
        """Return when a record at or after one of these offsets is there, or the time is up.

        They stood at the end a moment ago: ``read`` said so.
        """
        await self._tail.news(offsets, wait_s)

    async def stop(self) -> None:
        """End all threads; reads that wait are refused."""
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._tail.stop()
        self._is_over = True
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                job.fail(Unavailable("This process is about to end."))
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(GIVE_UP_S)

    def _from_memory(self, offsets: Mapping[Part, int], bounds: Bounds, haul: Haul) -> set[Part]:
        """Take what memory has; return the partitions that must be read from Kafka."""
        missing = set()
        for part, offset in offsets.items():
            held = self._tail.between(part, offset)
            if held is None:
                missing.add(part)
                continue
            records, end = held
            if all(haul.take(record, bounds) for record in records):
                haul.after[part] = end
                haul.at_end.add(part)
        return missing

    async def _from_kafka(self, parts: Iterable[Part], bounds: Bounds, haul: Haul) -> None:
        done = self._loop.create_future()
        offsets = {part: haul.after[part] for part in parts}
        left = replace(
            bounds,
            max_records=bounds.max_records - len(haul.records),
            max_bytes=bounds.max_bytes - haul.bytes,
        )
        job = _Job(offsets, left, self._loop, done)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Unavailable("Too many reads wait for Kafka.", retry_after_s=1) from None
        self._grow()
        found = await done
        haul.records += found.records
        haul.bytes += found.bytes
        haul.after |= found.after
        haul.out += found.out
        haul.at_end |= found.at_end

    def _grow(self) -> None:
        # One who polls alone is served by one thread, whose reader stands where it goes on.
        if self._jobs.qsize() > self._idle and len(self._threads) < self._readers:
            name = f"rest-reader-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        turn = _Turn(self._make_reader)
        while True:
            job = self._next()
            if job is not None:
                self._answer(turn, job)
                continue
            turn.close()
            if self._is_over:
                return

    def _next(self) -> "_Job | None":
        """Return what is to be read; None after a long while of nothing, and at the end."""
        with self._lock:
            self._idle += 1
        try:
            return self._jobs.get(timeout=IDLE_S)
        except queue.Empty:
            return None
        finally:
            with self._lock:
                self._idle -= 1

    def _answer(self, turn: "_Turn", job: "_Job") -> None:
        try:
            job.answer(turn.read(job))
        except KafkaUnavailable as error:
            job.fail(error)
        except ConsumerBroken as error:
            log.warning("reads.reader_broken", reason=str(error))
            turn.close()
            job.fail(KafkaUnavailable("Kafka does not answer."))
        except Exception:  # outermost loop of the thread: other reads wait behind it
            log.exception("reads.failed")
            turn.close()
            job.fail(KafkaUnavailable("Kafka could not be read."))


@dataclass(slots=True)
class _Job:
    offsets: Mapping[Part, int]
    bounds: Bounds
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Haul]"

    def answer(self, haul: Haul) -> None:
        self.loop.call_soon_threadsafe(_set, self.done, haul)

    def fail(self, error: Exception) -> None:
        self.loop.call_soon_threadsafe(_fail, self.done, error)


def _set(done: "asyncio.Future[Haul]", haul: Haul) -> None:
    if not done.done():
        done.set_result(haul)


def _fail(done: "asyncio.Future[Haul]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


class _Turn:
    """The reader of one thread."""

    def __init__(self, make_reader: Callable[..., Reader]) -> None:
        self._make_reader = make_reader
        self._reader: Reader | None = None
        self._out: list[OutOfRange] = []

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def read(self, job: _Job) -> Haul:
        """Return what is there now. Raises KafkaUnavailable after ``GIVE_UP_S`` of nothing."""
        self._out.clear()
        reader = self._reader = self._reader or self._make_reader(on_out_of_range=self._note_out)
        reader.assign([Position(*part, offset) for part, offset in job.offsets.items()])
        haul = Haul(dict(job.offsets))
        moved_s = time.monotonic()
        while True:
            # Never more than fits: what is read too far must be sought back, and fetched anew.
            room = job.bounds.max_records - len(haul.records)
            records = reader.read(min(READ_RECORDS, room), POLL_S)
            if records:
                moved_s = time.monotonic()
            if not self._take(records, job.bounds, haul) or len(records) == room:
                return haul
            stopped = {(one.topic, one.partition) for one in self._out}
            haul.out = list(self._out)
            haul.at_end = {
                part for part in job.offsets if part not in stopped and reader.is_at_end(*part)
            }
            for part in haul.at_end:
                haul.after[part] = reader.position(*part)
            if len(haul.at_end) + len(stopped) == len(job.offsets):
                return haul
            if time.monotonic() - moved_s > GIVE_UP_S:
                raise KafkaUnavailable("Kafka gave nothing in time.")

    def _take(self, records: Sequence[Record], bounds: Bounds, haul: Haul) -> bool:
        return all(haul.take(record, bounds) for record in records)

    def _note_out(self, found: OutOfRange) -> None:
        self._out.append(found)
