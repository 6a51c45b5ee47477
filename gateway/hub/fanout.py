"""The hub: what one thread reads of Kafka, written to every listener of the process.

Lives on the event loop. It starts the reading thread with the first listener, takes its news,
and drives each connection's ``send`` by hand: no queue, no task and no copy a listener.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

import structlog

from gateway import metrics
from gateway.frames import Beat, Message, State
from gateway.hub.audience import WRITE_BYTES, Place, Spec, Tape, Tokens, Write
from gateway.hub.catchup import Catchup, Job, TooManyJobs
from gateway.hub.connections import Connection, Connections, Ending, Listener, Seat, ending
from gateway.hub.groups import Frames, News
from gateway.hub.log import Part
from gateway.hub.reading import LATEST, Ask, Behind, Grow, Leave, Reading, Refused, Seated
from kafkahub import clock
from kafkahub.errors import HubError, Overloaded, Unavailable
from kafkahub.kafka.reader import Reader

MAX_TICK_S = 0.05
"""Longest time between two flushes: with many listeners more records are joined into a write."""
TICK_FACTOR = 3
"""The next flush starts so many times the length of the last one after it."""
SLICE_S = 0.005
"""Longest piece of a flush; then other connections and requests get their turn."""
BEAT_SLOTS = 2
"""A connection's heartbeat is looked at so often a heartbeat period, in a second of its own."""
LINGER_S = 30.0
"""An audience without listeners is kept so long: a client that was cut finds it warm."""
SEAT_S = 15.0
"""Longest wait for a seat, Kafka's answer included."""
CLOSING_S = 5.0
"""How long a closing is offered to a reader that takes nothing."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of a hub; times in seconds."""

    log_bytes: int
    catchup_readers: int
    heartbeat_s: float
    write_deadline_s: float


@dataclass(slots=True)
class _Home:
    """What the event loop knows of one audience."""

    tape: Tape
    users: int = 0
    empty_s: float = 0.0


class Hub:
    """Feeds the listeners of one process.

    Runs   on the event loop, between ``start`` and ``stop``, with one task of its own
    Owns   the reading thread, the catch-up pool, the open connections, and tasks that wait for room
    Ends   ``stop``; streams that are still open are cut
    """

    def __init__(
        self, make_reader: Callable[..., Reader], frames: Frames, limits: Limits
    ) -> None:
        self.connections = Connections()
        self.limits = limits
        self._reading = Reading(
            make_reader,
            frames,
            log_bytes=limits.log_bytes,
            on_news=self._from_thread(self._take),
            on_lost=self._from_thread(self._lose),
        )
        self._catchup = Catchup(make_reader, frames, readers=limits.catchup_readers)
        self._homes: dict[Spec, _Home] = {}
        self._seats: dict[tuple[object, ...], asyncio.Future[Seated]] = {}
        self._slices: WeakValueDictionary[tuple[object, ...], Tape] = WeakValueDictionary()
        self._dirty: dict[Tape, None] = {}
        self._ready: dict[Listener, None] = {}
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beats = 0

    @property
    def is_stalled(self) -> bool:
        """Whether Kafka does not answer; positions stand still."""
        return self._reading.is_stalled

    def start(self) -> None:
        """Start; needs the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._reading.start()
        self._main = asyncio.create_task(self._run(), name="hub")

    async def stop(self) -> None:
        """Cut what is still open, and end threads and tasks."""
        for connection in self.connections:
            connection.outlet.abort()
            self.forget(connection)
        if self._main is not None:
            self._main.cancel()
            with suppress(asyncio.CancelledError):
                await self._main
        await asyncio.to_thread(self._end_threads)

    def _end_threads(self) -> None:
        self._reading.stop()
        self._catchup.stop()

    def is_reading(self, topic: str) -> bool:
        """Return whether some audience has this topic now, so that "latest" needs no question."""
        return any(topic in spec.topics for spec in self._homes)

    def grow(self, topic: str, partitions: int) -> None:
        """Tell that a topic has more partitions now."""
        self._reading.command(Grow(topic, partitions))

    async def seat(
        self,
        spec: Spec,
        tokens: Tokens,
        start: Place,
        *,
        lows: Mapping[Part, int] | None = None,
        ends: Mapping[Part, int] | None = None,
    ) -> tuple[Seat, Place]:
        """Return a seat for a listener that stands at ``start``, and where that exactly is.

        start  an offset may be ``LATEST``; a partition that is missing begins at its first record
        lows, ends  of the topics' partitions, needed unless the hub reads the topics already

        Counts as a listener of the audience until ``release``. Equal wishes share the work.
        Raises Overloaded, or Unavailable when there is no seat in time.
        """
        key = (spec, tokens.key, tuple(sorted(start.offsets.items())))
        home = self._homes.get(spec)
        if home is not None:
            home.users += 1
        tape = self._slices.get(key)
        try:
            if tape is not None:
                return Seat(tape, 0), start
            seated = await self._shared(key, spec, tokens, start, lows or {}, ends or {})
        except BaseException:
            if home is not None:
                self.release(spec)
            raise
        live = seated.tape if seated.tape.is_live else None
        if home is None:
            home = self._homes.setdefault(spec, _Home(live or seated.tape))
            home.users += 1
        return Seat(seated.tape, seated.seq), seated.place

    def release(self, spec: Spec) -> None:
        """Take back what ``seat`` counted."""
        home = self._homes.get(spec)
        if home is not None:
            home.users -= 1
            home.empty_s = time.monotonic()

    def attach(self, listener: Listener) -> None:
        """Let a listener take what comes, from its seat on."""
        listener.connection.listeners.append(listener)
        self.resume(listener)

    def detach(self, listener: Listener) -> None:
        """Give a listener nothing any more; its connection stays."""
        listener.tape.listeners.pop(listener, None)
        self._ready.pop(listener, None)
        if listener in listener.connection.listeners:
            listener.connection.listeners.remove(listener)
            self.release(listener.spec)

    def resume(self, listener: Listener) -> None:
        """Look at a listener again: it was paused, or its allowance has grown."""
        listener.tape.listeners[listener] = None
        self._ready[listener] = None
        self._wake.set()

    def open(self, connection: Connection) -> None:
        """Count a connection as open."""
        self.connections.add(connection)
        metrics.opened.labels(connection.transport).inc()
        metrics.open_streams.labels(connection.transport).inc()
        # Spread over the heartbeat period, else all that opened together beat together.
        connection.last_write_s -= random.uniform(0, self.limits.heartbeat_s / BEAT_SLOTS)  # noqa: S311 - guards nothing

    def forget(self, connection: Connection) -> None:
        """Give back all that a connection had, once it is gone."""
        if self.connections.get(connection.id) is None:
            return
        self.connections.remove(connection)
        if connection.state == "paused":
            metrics.paused.dec()
        connection.state = "ended"
        for listener in list(connection.listeners):
            self.detach(listener)
        metrics.open_streams.labels(connection.transport).dec()
        metrics.closed.labels(connection.transport, connection.reason).inc()

    def end(self, connection: Connection, why: Ending, *, with_rest: bool = True) -> None:
        """End a connection: what is ready, then why, then nothing.

        with_rest  False where the right to what is ready has gone
        """
        if connection.state in {"ending", "ended"}:
            return
        was_paused = connection.state == "paused"
        if not was_paused and with_rest:
            for listener in list(connection.listeners):
                self._push(listener)
            was_paused = connection.state == "paused"
        if was_paused:
            metrics.paused.dec()
        connection.state = "ending"
        connection.reason = why.reason
        for listener in connection.listeners:
            listener.tape.listeners.pop(listener, None)
            self._ready.pop(listener, None)
        if was_paused:
            return  # the task that waits for room says why, then ends it
        self._say(connection, list(connection.closing(connection, why)))

    def write(self, connection: Connection, message: Message) -> bool:
        """Write a message of the door's own; False where there is no room, and nothing is written."""
        connection.last_write_s = time.monotonic()
        return connection.outlet.offer(message)

    def beat(self, listener: Listener, *, is_first: bool = False) -> Beat:
        """Return what a heartbeat tells a listener now."""
        live = self._homes[listener.spec].tape if listener.spec in self._homes else listener.tape
        lag = listener.place.behind(live.place.offsets)
        now = clock.now()
        age_s = max(0.0, now.timestamp() - listener.place.time_ms / 1000) if lag else 0.0
        state: State = "catching_up" if lag else "live"
        return Beat(
            time=clock.rfc3339(now),
            state="stalled" if self.is_stalled else state,
            lag_records=None if listener.spec.style.hides_place else lag,
            lag_seconds=age_s,
            stream=listener.connection.id if is_first else "",
            heartbeat_ms=int(self.limits.heartbeat_s * 1000) if is_first else 0,
        )
