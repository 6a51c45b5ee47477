"""The hub: what one thread reads of Kafka, written to every listener of the process.

It starts and ends the parts: the reading thread, the catch-up pool, seats and the writer; and
once a second it looks at every connection.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from gateway import metrics
from gateway.frames import Beat, Message, State
from gateway.hub.audience import Spec
from gateway.hub.catchup import Catchup
from gateway.hub.commands import Grow, Lose
from gateway.hub.connections import Connection, Connections, Ending, Listener, Seat, ending
from gateway.hub.groups import Frames, News
from gateway.hub.place import Place, Tokens
from gateway.hub.reading import Reading
from gateway.hub.seats import NO_ENDS, Ends, Seats
from gateway.hub.tabs import Charge, Tab, Tabs, free
from gateway.hub.writing import Writer
from kafkahub import clock
from kafkahub.errors import HubError
from kafkahub.kafka.reader import Reader

SECOND_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of a hub; times in seconds."""

    log_bytes: int
    catchup_readers: int
    heartbeat_s: float
    write_deadline_s: float


class Hub:
    """Feeds the listeners of one process.

    charge   what is written is charged by it, and who has to wait is held, never cut
    on_lost  told of a topic before its streams end because its offsets mean other records

    Runs   on the event loop, between ``start`` and ``stop``, in one task and its children
    Owns   the reading thread, the catch-up pool, and the open connections
    Ends   ``stop``; streams that are still open are cut. ``drain`` first ends them in good order
    """

    def __init__(
        self,
        make_reader: Callable[..., Reader],
        frames: Frames,
        limits: Limits,
        charge: Charge = free,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self._on_lost = on_lost
        self.connections = Connections()
        self.limits = limits
        self.is_draining = False
        self._reading = Reading(
            make_reader,
            frames,
            log_bytes=limits.log_bytes,
            on_news=lambda news: self._from_thread(self._take, news),
            on_lost=lambda topic: self._from_thread(self._lose, topic),
        )
        self._catchup = Catchup(make_reader, frames, readers=limits.catchup_readers)
        self.seats = Seats(self._reading, self._catchup, self._spawn)
        self.tabs = Tabs(charge, self._hold)
        self.writer = Writer(self._spawn, self._on_behind, limits.write_deadline_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._seconds = 0

    @property
    def is_stalled(self) -> bool:
        """Whether Kafka does not answer; positions stand still."""
        return self._reading.is_stalled

    async def start(self) -> None:
        """Start; returns once listeners can be taken."""
        self._loop = asyncio.get_running_loop()
        started = asyncio.Event()
        self._main = asyncio.create_task(self._run(started), name="hub")
        await started.wait()
        self._reading.start()

    async def stop(self) -> None:
        """Cut what is still open, and end threads and tasks."""
        for connection in self.connections:
            connection.outlet.abort()
            self.forget(connection)
        if self._main is not None:
            self._main.cancel()
            with suppress(asyncio.CancelledError):
                await self._main
        await self.tabs.settle_all()
        await asyncio.to_thread(self._end_threads)

    def grow(self, topic: str, partitions: int) -> None:
        """Tell that a topic has this many partitions now."""
        self._reading.command(Grow(topic, partitions))

    def check(self, topic: str, epoch: bytes) -> None:
        """Begin a topic anew where it is not the one whose offsets its listeners have.

        epoch  tag of the topic's id now, ``NO_EPOCH`` where the broker gives none
        """
        if self.seats.are_of_another(topic, epoch):
            self._reading.command(Lose(topic))

    async def seat(
        self, spec: Spec, tokens: Tokens, start: Place, ends: Ends = NO_ENDS
    ) -> tuple[Seat, Place]:
        """See ``Seats.take``."""
        return await self.seats.take(spec, tokens, start, ends)

    def open(self, connection: Connection) -> None:
        """Count a connection as open, from its first byte on."""
        self.connections.add(connection)
        metrics.opened.labels(connection.transport).inc()
        metrics.open_streams.labels(connection.transport).inc()

    def attach(self, listener: Listener) -> None:
        """Let a listener take what comes, from its seat on; the seat is given back with it."""
        connection = listener.connection
        listener.tabs = self.tabs.of(connection.principal, connection.transport, listener.spec)
        connection.listeners.append(listener)
        self.writer.ready(listener)

    def resume(self, listener: Listener) -> None:
        """Look at a listener again, whose allowance has grown."""
        self.writer.ready(listener)

    def detach(self, listener: Listener) -> None:
        """Give a listener nothing any more, and its seat back; the connection stays."""
        self.writer.leave(listener)
        if listener in listener.connection.listeners:
            listener.connection.listeners.remove(listener)
            self.seats.release(listener.spec)

    def write(self, connection: Connection, message: Message) -> bool:
        """Write a message of the door's own; False where there is no room: nothing is written."""
        if connection.state != "open":
            return False
        connection.last_write_s = time.monotonic()
        return connection.outlet.offer(message)

    def end(self, connection: Connection, why: Ending, *, with_rest: bool = True) -> None:
        """See ``Writer.end``."""
        self.writer.end(connection, why, with_rest=with_rest)

    def forget(self, connection: Connection) -> None:
        """Give back all that a connection had, once its client is gone."""
        if connection.state == "ended":
            return
        if connection.state == "paused":
            metrics.paused.dec()
        if connection.waiter is not None:
            connection.waiter.cancel()
        connection.state = "ended"
        for listener in list(connection.listeners):
            self.detach(listener)
        if self.connections.get(connection.id) is not None:
            self.connections.remove(connection)
            metrics.open_streams.labels(connection.transport).dec()
            metrics.closed.labels(connection.transport, connection.reason).inc()

    async def drain(self, window_s: float) -> None:
        """End every stream at a moment of its own within the window.

        Clients come back within 2 ms a stream, so at most 500 a second. Streams that end by
        themselves meanwhile are not waited for.
        """
        self.is_draining = True
        waiting = list(self.connections)
        moments = sorted(random.uniform(0, window_s) for _ in waiting)  # noqa: S311 - spreads, guards nothing
        begun_s = time.monotonic()
        most_ms = max(1_000, 2 * len(waiting))
        for moment, connection in zip(moments, waiting, strict=True):
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, begun_s + moment - time.monotonic())):
                    await self.connections.until_empty()
            self.end(connection, ending("drain", "server restarts", most_ms=most_ms))

    def beat(self, listener: Listener, *, is_first: bool = False) -> Beat:
        """Return what a heartbeat tells a listener now."""
        live = self.seats.live(listener.spec) or listener.tape
        lag = listener.here.behind(live.place.offsets)
        now = clock.now()
        time_ms = listener.here.time_ms if lag else 0  # 0 also where nothing was handed out yet
        age_s = max(0.0, now.timestamp() - time_ms / 1000) if time_ms else 0.0
        state: State = "catching_up" if lag else "live"
        return Beat(
            time=clock.rfc3339(now),
            state="stalled" if self.is_stalled else state,
            lag_records=None if listener.spec.style.hides_place else lag,
            lag_seconds=age_s,
            stream=listener.connection.id if is_first else "",
            heartbeat_ms=int(self.limits.heartbeat_s * 1000) if is_first else 0,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            work.close()
            raise RuntimeError("the hub has not started")
        return self._tasks.create_task(_guarded(work))

    def _from_thread(self, call: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _end_threads(self) -> None:
        self._reading.stop()
        self._catchup.stop()

    async def _run(self, started: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.writer.run())
            started.set()
            while True:
                await asyncio.sleep(SECOND_S)
                self._second()
                await self.tabs.settle_all()

    def _take(self, news: Sequence[News]) -> None:
        for tape, batches, place, trim in news:
            tape.extend(batches, place)
            tape.trim(trim)
            if batches:
                self.writer.mark(tape)
        read = [batch.read_s for one in news for batch in one.batches[:1]]
        if read:
            metrics.append_to_write_seconds.observe(time.monotonic() - read[0])

    def _lose(self, topic: str) -> None:
        """The offsets of a topic mean other records: its readers must look where they stand."""
        self.seats.forget(topic)
        if self._on_lost is not None:
            self._on_lost(topic)
        for connection in self.connections:
            if any(topic in listener.spec.topics for listener in connection.listeners):
                self.end(connection, ending("moved", f"{topic} begins anew"))

    def _hold(self, tab: Tab, wait_s: float) -> None:
        if self._loop is not None:
            self._loop.call_later(wait_s, self.writer.let_go, tab)

    def _on_behind(self, listener: Listener) -> None:
        self._spawn(self._reseat(listener))

    async def _reseat(self, listener: Listener) -> None:
        """Find another seat for a listener whose tape leads nowhere."""
        try:
            seat, _ = await self.seat(listener.spec, listener.tokens, listener.place)
        except HubError as error:
            reason = "overloaded" if error.code == "overloaded" else "unavailable"
            self.end(listener.connection, ending(reason, error.detail))
            return
        self.seats.release(listener.spec)  # it is counted once already
        listener.sit(*seat)
        if listener in listener.connection.listeners:
            self.writer.ready(listener)

    def _second(self) -> None:
        """Look at every connection: is its time over, is its heartbeat due."""
        now_s = time.monotonic()
        self._seconds += 1
        half = max(1, int(self.limits.heartbeat_s / 2))
        shared: Beats = {}
        for connection in self.connections:
            if connection.state not in {"open", "paused"}:
                continue
            if now_s >= connection.ends_s:
                self.end(connection, ending(connection.ends_reason))
            elif (
                (connection.slot + self._seconds) % half == 0
                and connection.state == "open"
                and now_s - connection.last_write_s >= half
            ):
                self._heartbeat(connection, shared)
        self.seats.tidy(now_s)

    def _heartbeat(self, connection: Connection, shared: "Beats") -> None:
        message = connection.heartbeat(connection, shared)
        if message is None or not self.write(connection, message):
            return
        for listener in connection.listeners:
            listener.place = listener.here


Beats = dict[object, Message]
"""Heartbeats made in this second, by whatever makes two of them equal."""


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """Let nothing that goes wrong for one listener end the hub for all."""
    try:
        await work
    except Exception:  # outermost frame of a task
        log.exception("hub.task_failed")
