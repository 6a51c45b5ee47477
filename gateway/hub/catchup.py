"""A bounded pool of readers for listeners that are older than the log."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway import metrics
from gateway.frames import Gap
from gateway.hub.audience import Spec
from gateway.hub.groups import Frames, Group, batches_of, gap_of
from gateway.hub.log import Entry, Part, SharedLog
from gateway.hub.place import Place, Tokens
from gateway.hub.tape import Tape
from kafkahub import clock
from kafkahub.kafka.faults import ConsumerBroken, OutOfRange
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record

SLICE_BYTES = 1024 * 1024
"""Bytes that a job holds at most; the next slice is read when a listener has had this one."""
SLICE_S = 0.2
"""Longest turn of a job once it has anything, while others wait."""
GIVE_UP_S = 10.0
"""Longest turn without a record: then Kafka is away."""
READ_RECORDS = 500
POLL_S = 0.05
IDLE_S = 600.0
"""A reader without a job for so long is closed: it is 2.4 MB and 6 threads."""
MAX_WAITING = 64

log = structlog.get_logger()


class TooManyJobs(Exception):
    """More listeners than the pool can serve soon are older than the log."""


@dataclass(frozen=True, slots=True)
class Job:
    """One slice to read: from a place towards another.

    then   where a listener goes on once ``target`` is reached
    reply  called in the pool's thread with a tape, or with None when Kafka gave nothing
    """

    spec: Spec
    tokens: Tokens
    start: Place
    target: Place
    then: tuple[Tape, int]
    reply: Callable[[Tape | None], None] = field(repr=False)


class Catchup:
    """Reads slices of topics for listeners that are behind.

    Runs   up to ``readers`` threads; another one starts where all that run have a job
    Owns   one Kafka reader a thread
    Takes  jobs through ``submit``, 64 at most; beyond, TooManyJobs
    Ends   ``stop``; jobs that wait are answered with None
    """

    def __init__(self, make_reader: Callable[..., Reader], frames: Frames, *, readers: int) -> None:
        self._make_reader = make_reader
        self._frames = frames
        self._readers = readers
        self._jobs: queue.Queue[Job | None] = queue.Queue(MAX_WAITING)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._open = 0

    def submit(self, job: Job) -> None:
        """Read a slice soon. Raises TooManyJobs."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise TooManyJobs from None
        metrics.catchup_jobs.set(self._jobs.qsize())
        with self._lock:
            self._open += 1
            has_more = self._open > len(self._threads)
        # One who is behind alone is served by one thread, whose reader stands where it goes on:
        # by turns, each seeks, and fetches anew what the other had. 8 % of all CPU a record.
        if has_more and len(self._threads) < self._readers:
            name = f"catchup-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Answer what waits, and end the threads."""
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                job.reply(None)
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(deadline_s)

    def _run(self) -> None:
        turn = _Turn(self._make_reader, self._frames)
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_S)
            except queue.Empty:
                turn.close()
                continue
            metrics.catchup_jobs.set(self._jobs.qsize())
            if job is None:
                turn.close()
                return
            tape = self._answer(turn, job)
            with self._lock:
                self._open -= 1  # before the reply: what is asked by it finds this thread free
            job.reply(tape)

    def _answer(self, turn: "_Turn", job: Job) -> Tape | None:
        try:
            return turn.slice(job)
        except ConsumerBroken:
            log.exception("catchup.reader_broken")
        except Exception:  # outermost loop of the thread: other listeners wait behind it
            log.exception("catchup.slice_failed")
        turn.close()
        return None


class _Turn:
    """The reader of one thread, and the slice it works on."""

    def __init__(self, make_reader: Callable[..., Reader], frames: Frames) -> None:
        self._make_reader = make_reader
        self._frames = frames
        self._reader: Reader | None = None
        self._out: list[OutOfRange] = []

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def slice(self, job: Job) -> Tape | None:
        """Return what comes after the job's start, up to its target; None for nothing in time."""
        reader = self._reader = self._reader or self._make_reader(on_out_of_range=self._out.append)
        offsets = dict(job.start.offsets)
        missing = {part for part, offset in offsets.items() if offset < job.target.offsets[part]}
        reader.assign([Position(*part, offsets[part]) for part in missing])
        group = Group(job.spec, job.then[0], self._frames, SharedLog(0))
        size, newest_ms = 0, job.start.time_ms
        begun_s = time.monotonic()
        while missing and size < SLICE_BYTES:
            records = reader.read(READ_RECORDS, POLL_S)
            if any(reader.position(*part) > job.target.offsets[part] for part in missing):
                records = [one for one in records if one.offset < job.target.offsets[_part(one)]]
            size += group.take_all(records, int(clock.now().timestamp() * 1_000))
            newest_ms = max([newest_ms, *(one.timestamp_ms or 0 for one in records)])
            self._skip(reader, group, job.target)
            for part in missing:
                offsets[part] = min(reader.position(*part), job.target.offsets[part])
            left = {part for part in missing if offsets[part] < job.target.offsets[part]}
            if left != missing:  # what has arrived is fetched no further
                missing = left
                reader.assign([Position(*part, offsets[part]) for part in missing])
            waited_s = time.monotonic() - begun_s
            if waited_s > (SLICE_S if offsets != job.start.offsets else GIVE_UP_S):
                break
        if offsets == job.start.offsets:
            return None
        return _tape(job, Place(offsets, newest_ms), group.waiting())

    def _skip(self, reader: Reader, group: Group, target: Place) -> None:
        while self._out:
            found = self._out.pop()
            part = (found.topic, found.partition)
            end = min(found.low, target.offsets[part]) if found.offset < found.low else found.high
            if found.offset < end:
                group.miss(gap_of(*part, found.offset, end - found.offset, "retention"))
            reader.seek(Position(*part, end))


def _tape(job: Job, end: Place, items: list[Entry | Gap]) -> Tape:
    is_whole = end.offsets == job.target.offsets
    tape = Tape(end, job.tokens, is_live=False, then=job.then if is_whole else None)
    tape.extend(
        batches_of(items, job.spec, job.start, end, read_s=time.monotonic()),
        end,
    )
    return tape


def _part(record: Record) -> Part:
    return record.topic, record.partition
