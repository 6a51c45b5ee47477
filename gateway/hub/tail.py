"""The newest records of every partition that polling clients read, kept in memory for them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.hub.log import Entry, Part, PartitionLog, SharedLog
from kafkahub.kafka.faults import ConsumerBroken, Kind, NotAssigned, OutOfRange
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record

POLL_S = 0.05
"""Longest wait for a record, so also for a partition that is newly followed."""
IDLE_S = 1.0
READ_RECORDS = 500
LINGER_S = 30.0
"""A partition that nobody asked for is read so long: a client polls every few seconds."""
RETRY_S = 1.0

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Waiter:
    """A poll that waits for a record at or after these offsets."""

    offsets: Mapping[Part, int]
    rung: asyncio.Future[None] = field(repr=False)


class Tail:
    """Reads the ends of partitions, once for all polls of the process.

    Runs   one thread, started with the first partition
    Owns   one Kafka reader and a byte-bounded log; ``lock`` guards the log and who waits
    Takes  partitions through ``follow``; one nobody asks for is dropped after ``LINGER_S``
    Ends   ``stop``

    is_stalled  Kafka troubles the reader: what the log says of the end may be old
    """

    def __init__(self, make_reader: Callable[..., Reader], *, log_bytes: int) -> None:
        self.is_stalled = False
        self._make_reader = make_reader
        self._log = SharedLog(log_bytes)
        self._lock = threading.Lock()
        self._asked_s: dict[Part, float] = {}
        self._fresh: dict[Part, int] = {}
        self._waiters: set[Waiter] = set()
        self._out: list[OutOfRange] = []
        self._reader: Reader | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._loop = asyncio.get_running_loop()

    def between(self, part: Part, offset: int) -> tuple[Sequence[Record], int] | None:
        """Return the records from an offset on and the offset behind; None when not in memory."""
        with self._lock:
            held = self._log.parts.get(part)
            if held is None or self.is_stalled or not held.begin <= offset <= held.end:
                return None
            self._asked_s[part] = time.monotonic()
            return [entry.record for entry in held.between(offset, held.end)], held.end

    def follow(self, ends: Mapping[Part, int]) -> None:
        """Read these partitions from these offsets on; those that are read already go on."""
        now_s = time.monotonic()
        with self._lock:
            for part, end in ends.items():
                self._asked_s[part] = now_s
                if part not in self._log.parts and part not in self._fresh:
                    self._fresh[part] = end
            is_new = bool(self._fresh)
        if is_new:
            self._start()
            self._wake.set()

    async def news(self, offsets: Mapping[Part, int], wait_s: float) -> None:
        """Return once a record at or after one of the offsets is here, or the time is up.

        The partitions are followed already.
        """
        waiter = Waiter(offsets, self._loop.create_future())
        with self._lock:
            if self._has_news(waiter):
                return
            self._waiters.add(waiter)
        try:
            async with asyncio.timeout(wait_s):
                await waiter.rung
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def stop(self, deadline_s: float = 5.0) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(deadline_s)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rest-tail", daemon=True)
            self._thread.start()

    def _has_news(self, waiter: Waiter) -> bool:
        parts = self._log.parts
        return any(
            part in parts and parts[part].end > offset for part, offset in waiter.offsets.items()
        )

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except ConsumerBroken:
                log.exception("tail.reader_broken")
                self._restart()
            except Exception:  # outermost loop of the thread: polls would wait for nothing
                log.exception("tail.turn_failed")
                self._restart()
                time.sleep(RETRY_S)
        if self._reader is not None:
            self._reader.close()

    def _turn(self) -> None:
        self._sort_out()
        if self._reader is None or not self._log.parts:
            self._wake.wait(IDLE_S)
            self._wake.clear()
            return
        records = self._reader.read(READ_RECORDS, POLL_S)
        with self._lock:
            self._take(records)
            rung = [waiter for waiter in self._waiters if self._has_news(waiter)]
            self._waiters.difference_update(rung)
        if rung:
            self._loop.call_soon_threadsafe(_ring, rung)

    def _take(self, records: Iterable[Record]) -> None:
        parts = self._log.parts
        for record in records:
            held = parts.get((record.topic, record.partition))
            if held is not None:
                held.append(Entry(record, 0))
        for found in self._out:
            self._give_up((found.topic, found.partition))
        self._out.clear()
        if self._reader is not None:
            for part, held in parts.items():
                held.end = max(held.end, _position(self._reader, part, held))
        self._log.shorten()

    def _give_up(self, part: Part) -> None:
        """Forget a partition whose offsets moved: the next poll finds out by a read of its own."""
        self._log.close([part])
        self._asked_s.pop(part, None)

    def _sort_out(self) -> None:
        """Take up partitions that are asked for, drop those that nobody wants any more."""
        now_s = time.monotonic()
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            gone = [part for part, at_s in self._asked_s.items() if now_s - at_s > LINGER_S]
            gone = [part for part in gone if not self._is_waited_for(part)]
            for part in gone:
                del self._asked_s[part]
            self._log.close(gone)
            for part, end in fresh.items():
                self._log.open(part, end)
            wanted = {part: held.end for part, held in self._log.parts.items()}
        if fresh or gone:
            self._assign(wanted)

    def _is_waited_for(self, part: Part) -> bool:
        return any(part in waiter.offsets for waiter in self._waiters)

    def _assign(self, wanted: Mapping[Part, int]) -> None:
        if self._reader is None:
            self._reader = self._make_reader(
                on_out_of_range=self._out.append, on_error=self._note_error
            )
        self._reader.assign([Position(*part, end) for part, end in wanted.items()])

    def _restart(self) -> None:
        """Drop everything: polls read for themselves, then follow anew."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        with self._lock:
            self._log.close(list(self._log.parts))
            self._asked_s.clear()

    def _note_error(self, kind: Kind, topic: str | None, partition: int | None, text: str) -> None:
        log.warning("tail.troubled", kind=kind, topic=topic, partition=partition, reason=text)
        if kind is not Kind.HEADER_NAME:
            self.is_stalled = True


def _position(reader: Reader, part: Part, held: PartitionLog) -> int:
    """Return where the reader stands: past the last record, and past what is never shown."""
    try:
        return reader.position(*part)
    except NotAssigned:
        return held.end


def _ring(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.rung.done():
            waiter.rung.set_result(None)
