"""Writing to listeners: flushes, readers that take nothing, and how a connection ends.

Lives on the event loop. A flush drives each connection's ``send`` by hand; only a connection
without room gets a task, which waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import islice

import structlog

from gateway import metrics
from gateway.frames import Message, body_message
from gateway.hub.connections import Connection, Ending, Listener, ending
from gateway.hub.seats import Spawn
from gateway.hub.tabs import Tab, put
from gateway.hub.tape import WRITE_BYTES, Tape, Write
from kafkahub.failpoints import failpoint

MAX_TICK_S = 0.05
"""Longest time between two flushes: with many listeners more records are joined into a write."""
TICK_FACTOR = 3
"""The next flush starts so many times the length of the last one after it."""
LEAST_TICK_S = 0.001
"""Shorter pauses are not worth a timer."""
PIECE_S = 0.005
"""Longest piece of a flush; then other connections and requests get their turn."""
CLOSING_S = 5.0
"""How long a closing is offered to a reader that takes nothing; then the connection is cut."""

SLICED = frozenset({"sse", "ndjson"})
"""Texts of which a write may be cut anywhere: their doors send one long body."""

log = structlog.get_logger()


class Writer:
    """Writes what tapes hold to whoever stands on them.

    Runs   one task, ``run``, and one for each connection without room, made by ``spawn``
    Gives  ``on_behind`` for a listener whose tape leads nowhere: it needs another seat
    """

    def __init__(
        self, spawn: Spawn, on_behind: Callable[[Listener], None], write_deadline_s: float
    ) -> None:
        self._spawn = spawn
        self._on_behind = on_behind
        self._write_deadline_s = write_deadline_s
        self._at: dict[Tape, dict[Listener, None]] = {}
        self._dirty: dict[Tape, None] = {}
        self._ready: dict[Listener, None] = {}
        self._held: dict[Tab, dict[Listener, None]] = {}
        self._wake = asyncio.Event()
        self._counts: dict[str, list[int]] = {}

    async def run(self) -> None:
        """Flush whenever there is something, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            length_s = await self._flush()
            metrics.flush_seconds.observe(length_s)
            self._count()
            pause_s = min(MAX_TICK_S, TICK_FACTOR * length_s)
            await asyncio.sleep(pause_s if pause_s >= LEAST_TICK_S else 0)

    def mark(self, tape: Tape) -> None:
        """Tell that a tape has more."""
        self._dirty[tape] = None
        self._wake.set()

    def ready(self, listener: Listener) -> None:
        """Look at one listener soon: it sat down, or may get more than before."""
        if listener.connection.state in {"open", "paused"}:
            if listener.tape.is_live:
                self._at.setdefault(listener.tape, {})[listener] = None
            self._ready[listener] = None
            self._wake.set()

    def leave(self, listener: Listener) -> None:
        """Write nothing to a listener any more."""
        here = self._at.get(listener.tape, {})
        here.pop(listener, None)
        if not here:
            self._at.pop(listener.tape, None)
        self._ready.pop(listener, None)
        for tab in listener.tabs:
            self._held.get(tab, {}).pop(listener, None)

    def let_go(self, tab: Tab) -> None:
        """Write again to who had to wait for the rate of its credential."""
        tab.is_held = False
        for listener in self._held.pop(tab, {}):
            self.ready(listener)

    def end(self, connection: Connection, why: Ending, *, with_rest: bool = True) -> None:
        """End a connection: what is ready, then why, then nothing.

        with_rest  False where the right to what is ready has gone
        """
        if connection.state in {"ending", "ended"}:
            return
        if with_rest:
            for listener in list(connection.listeners):
                self._push(listener)
        for listener in connection.listeners:
            self.leave(listener)
        was_open = connection.state == "open"
        if not was_open:
            metrics.paused.dec()
        connection.state = "ending"
        connection.reason = why.reason
        last = connection.closing(connection, why)
        if not was_open or not _offer_all(connection, last):
            self._spawn(self._close_slowly(connection, last))

    async def _flush(self) -> float:
        """Write to everybody who can get something; return the seconds of work that it took."""
        worked_s, begun_s = 0.0, time.monotonic()
        dirty, self._dirty = self._dirty, {}
        ready, self._ready = self._ready, {}
        for members in (*(self._at.get(tape, {}) for tape in dirty), ready):
            for listener in list(members):
                self._push(listener)
                now_s = time.monotonic()
                if now_s - begun_s > PIECE_S:
                    worked_s += now_s - begun_s
                    await asyncio.sleep(0)
                    begun_s = time.monotonic()
        return worked_s + time.monotonic() - begun_s

    def _push(self, listener: Listener) -> None:
        """Write the next message to a listener, if there is one and room for it."""
        connection, tape = listener.connection, listener.tape
        if connection.state != "open" or listener.allowance == 0:
            return
        for tab in listener.tabs:
            if tab.is_held:
                self._held.setdefault(tab, {})[listener] = None
                return
        seq = listener.seq
        if seq >= tape.end:
            if not tape.is_live:
                self._move(listener)
            return
        if seq < tape.first:
            self._lag(listener)
            return
        room = listener.room
        if room == 0:
            return
        write = tape.write(seq, listener.skip, listener.door, room)
        if listener.bytes_left is not None:
            listener.bytes_left -= sum(islice(tape.sizes(seq, listener.skip), write.records))
        if len(write.payload) > WRITE_BYTES or not connection.outlet.offer(write.message):
            self._hold(listener, write)
        else:
            failpoint("stream.mid_write")
            self._taken(listener, write)

    def _taken(self, listener: Listener, write: Write) -> None:
        listener.note(write)
        put(write, listener.tabs)
        counts = self._counts.get(listener.door.name)
        if counts is None:
            counts = self._counts[listener.door.name] = [0, 0, 0]
        counts[0] += write.records
        counts[1] += len(write.payload)
        counts[2] += 1
        if write.gap is not None:
            metrics.gaps.labels(write.gap.reason).inc()
            if listener.on_gap_fail:
                self.end(listener.connection, ending("gap"), with_rest=False)
        elif listener.seq < listener.tape.end or not listener.tape.is_live:
            self._ready[listener] = None
            self._wake.set()

    def _move(self, listener: Listener) -> None:
        """Go on from the end of a slice: to the live tape, or to where somebody must look."""
        then = listener.tape.then
        listener.place = listener.tape.place
        if then is None or then[1] < then[0].first:
            self._on_behind(listener)
            return
        listener.sit(*then)
        self.ready(listener)

    def _lag(self, listener: Listener) -> None:
        """The log has moved past a listener: it is fed from Kafka, from its own place."""
        self.leave(listener)
        self._on_behind(listener)

    def _hold(self, listener: Listener, write: Write) -> None:
        connection = listener.connection
        connection.state = "paused"
        connection.paused_s = time.monotonic()
        metrics.paused.inc()
        metrics.pauses.labels(listener.door.name).inc()
        connection.waiter = self._spawn(self._wait(listener, write))

    async def _wait(self, listener: Listener, write: Write) -> None:
        """Write one message once there is room; a large one in slices, each when there is."""
        connection = listener.connection
        deadline_s = self._write_deadline_s
        messages = _slices(write, can_slice=listener.door.text in SLICED)
        try:
            async with asyncio.timeout(deadline_s) as limit:
                for message in messages:
                    await connection.outlet.send(message)
                    connection.is_mid_frame = len(messages) > 1
                    limit.reschedule(asyncio.get_running_loop().time() + deadline_s)
        except TimeoutError:
            self.end(connection, ending("slow_reader"), with_rest=False)
        except OSError:
            connection.outlet.abort()
        else:
            connection.is_mid_frame = False
            self._go_on(listener, write)

    def _go_on(self, listener: Listener, write: Write) -> None:
        connection = listener.connection
        if connection.state != "paused":
            return
        connection.resume(time.monotonic())
        metrics.paused.dec()
        self._taken(listener, write)
        for one in connection.listeners:
            self.ready(one)

    async def _close_slowly(self, connection: Connection, last: Sequence[Message]) -> None:
        """Offer the last messages to a reader that takes nothing, then cut it."""
        waiter = connection.waiter
        if waiter is not None and waiter is not asyncio.current_task():
            waiter.cancel()
            await asyncio.wait([waiter])
        if connection.is_mid_frame:  # a closing inside a frame would be a part of it
            connection.outlet.abort()
            return
        try:
            async with asyncio.timeout(CLOSING_S):
                for message in last:
                    await connection.outlet.send(message)
        except (TimeoutError, OSError):
            connection.outlet.abort()

    def _count(self) -> None:
        """Tell metrics what was written since the last flush: once, for it costs 1 µs each."""
        for door, (records, size, writes) in self._counts.items():
            metrics.frames_sent.labels(door).inc(records)
            metrics.bytes_sent.labels(door).inc(size)
            metrics.frames_per_write.observe(records / writes)
        self._counts.clear()


def _offer_all(connection: Connection, messages: Sequence[Message]) -> bool:
    """Return whether the transport took them all; nothing is written twice."""
    return all(connection.outlet.offer(message) for message in messages)


def _slices(write: Write, *, can_slice: bool) -> list[Message]:
    if len(write.payload) <= WRITE_BYTES or not can_slice:
        return [write.message]
    starts = range(0, len(write.payload), WRITE_BYTES)
    return [body_message(write.payload[start : start + WRITE_BYTES]) for start in starts]
