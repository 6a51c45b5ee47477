"""The bare ASGI application of the wire protocols: its routes, its parts, its drain.

gateway = build(settings)
await gateway.start()          # at lifespan start-up
await gateway(scope, receive, send)
await gateway.stop()
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import structlog

from gateway.dialogue import Parts
from gateway.drain import Signals
from gateway.gate import Gate, most_streams
from gateway.grouped import Groups
from gateway.http import Origins, Porter, Receive, Scope, Send
from gateway.hub.fanout import Hub, Limits
from gateway.hub.groups import Frames
from gateway.produce import HandOver, Writer
from gateway.record_ids import RecordIds
from gateway.register import Register
from gateway.rest import door as rest
from gateway.rest.build import Rest
from gateway.sse import PREFIX, StreamDoor
from gateway.stream import Streams
from gateway.tickets import TicketDesk
from gateway.tolls import Tolls
from gateway.topology import Topology
from gateway.turns import Opening
from gateway.websocket import PATHS, Doorstep, SocketDoor
from kafkahub import crypto
from kafkahub.config import Config
from kafkahub.errors import HubError, Unavailable
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import UnknownTopic
from kafkahub.kafka.options import admin_options, producer_options, reader_options
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.reader import Reader
from kafkahub.limits.limiter import Limiter
from subscriptions.authentication import standing
from subscriptions.cursor import NO_EPOCH, tag
from subscriptions.live import Snapshot
from subscriptions.snapshot import SnapshotKeeper, listen_dsn, load
from subscriptions.usage import process_usage

AUTHENTICATION_THREADS = 4
CHECK_S = 2.0
"""Time between two looks at topics, and at how old what we know of rights is."""
FIRST_S = 5.0
"""Longest wait for the first snapshot before requests are taken: a page that came earlier would be
sent away for seconds, at every deployment.
"""
DRAINED_S = 6.0
"""After the window: what a reader that takes nothing gets, and a little."""

YOUNG_OBJECTS = 50_000
"""New objects before the collector looks at them. A stream is a hundred objects that live for long:
by default each thousandth of them has the collector look at all, half a second with 5,000 streams.
"""

log = structlog.get_logger()


class Gateway:
    """The wire protocols of one process.

    Runs   on the event loop, between ``start`` and ``stop``
    Owns   the hub, the snapshot of rights, the threads that authenticate, the signal handlers
    Ends   ``stop``; on SIGTERM ``drain`` comes first
    """

    def __init__(self, settings: Config, limiter: Limiter, on_drain: Callable[[], None]) -> None:
        self._settings = settings
        self._on_drain = on_drain
        self._pool = ThreadPoolExecutor(AUTHENTICATION_THREADS, thread_name_prefix="authentication")
        self._keeper = SnapshotKeeper(load, listen_dsn(), self._on_snapshot)
        tolls = Tolls(limiter, process_usage())
        admin = Admin(admin_options(settings))
        self.topology = Topology(admin)
        id_key = crypto.parse_key(settings.id_key.get_secret_value())
        self.record_ids = RecordIds(id_key, lambda: self.topology.known_cluster)
        frames = Frames(settings.base_url, self.record_ids.of)
        self.hub = Hub(
            self._make_reader, frames, _limits(settings), tolls.sent, self.topology.forget
        )
        self.writer = Writer(lambda: self._keeper.current, self._make_producer, admin)
        ring = crypto.parse_ring(settings.encryption_keys.get_secret_value())
        self.streams = Streams(self.hub, lambda: self._keeper.current, self.topology, ring)
        self.desk = TicketDesk(self._pool)
        self.register = Register(self.hub, listen_dsn(), self._pool, self.desk.forget)
        self.gate = Gate(limiter.streams, self.register.admit, most_streams())
        is_secure = settings.base_url.startswith("https://")
        self.porter = Porter(self._pool, self.desk, tolls, is_secure=is_secure)
        self._groups = Groups(self.hub, self.streams, tolls, frames, lambda: self._rest.leasing)
        opening = Opening()
        self._door = StreamDoor(
            self.streams,
            self.porter,
            self.gate,
            opening,
            tolls=tolls,
            base_url=settings.base_url,
            origins=self.origins,
            max_age_s=settings.stream_max_age,
        )
        self._sockets = SocketDoor(
            Parts(self.hub, self.streams, self.writer, tolls, self._groups),
            Doorstep(
                porter=self.porter,
                gate=self.gate,
                opening=opening,
                tolls=tolls,
                origins=self.origins,
                base_url=settings.base_url,
                max_age_s=settings.stream_max_age,
                has_echo=settings.ws_echo,
            ),
        )
        self._rest = Rest(
            settings,
            snapshot=lambda: self._keeper.current,
            writer=self.writer,
            topology=self.topology,
            limiter=limiter,
            make_reader=self._make_reader,
            ring=ring,
            record_id=self.record_ids.of,
            is_draining=lambda: self.hub.is_draining,
        )
        self._signals = Signals(self.drain, settings.stream_drain)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._started_s = time.monotonic()

    def snapshot(self) -> Snapshot:
        """Return what this process knows of grants and topics now."""
        return self._keeper.current

    def origins(self) -> Origins:
        """Return the page origins that may open streams, by partner."""
        return self._keeper.current.origins

    def takes(self, path: str) -> bool:
        """Return whether a path is the gateway's."""
        return path.startswith(PREFIX) or path in PATHS or rest.takes(path)

    async def start(self) -> None:
        """Begin; what is not there yet, such as PostgreSQL, is waited for behind the scenes."""
        self._loop = asyncio.get_running_loop()
        self._started_s = time.monotonic()
        gc.freeze()  # what was imported stays for ever: the collector need not look at it
        gc.set_threshold(YOUNG_OBJECTS)
        await self.hub.start()
        self._rest.start()
        with suppress(Unavailable):  # it goes on trying; until then streams are refused
            await asyncio.to_thread(self._keeper.start, FIRST_S)
        self.register.start()
        self._tasks = [
            asyncio.create_task(self._watch(), name="rights"),
            asyncio.create_task(self._follow_topics(), name="topics"),
        ]
        self._signals.install()

    async def stop(self) -> None:
        """End; streams that are still open are cut."""
        self._signals.restore()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._rest.stop()
        await self.writer.close()
        await self.hub.stop()
        await self.register.stop()
        await asyncio.to_thread(self._keeper.stop)
        self.topology.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the answer's coroutine, not one around it: a stream's stays for long."""
        path = scope["path"]
        if rest.takes(path):
            return self._rest.serve(scope, receive, send)
        door = self._sockets if path in PATHS else self._door
        return door.serve(scope, receive, send)

    async def drain(self, window_s: float) -> None:
        """End all streams in good order: each at a moment of its own, with where to resume.

        Without streams it takes no time. A reader that takes nothing has some seconds more.
        """
        self._on_drain()
        if len(self.hub.connections) == 0:
            window_s = 0.0
        await self.hub.drain(window_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAINED_S):
                await self.hub.connections.until_empty()

    def _make_reader(self, **hooks: Any) -> Reader:
        return Reader(reader_options(self._settings), **hooks)

    def _make_producer(self, hand_over: HandOver) -> Producer:
        return Producer(producer_options(self._settings), hand_over=hand_over)

    def _on_snapshot(self, _: Snapshot) -> None:
        """Look at every stream's right again; called in the keeper's thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _watch(self) -> None:
        """End streams whose right has gone, soon after the tables say so."""
        while True:
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._changed.wait()
            except TimeoutError:
                self.streams.check_age(max(self._keeper.checked_s, self._started_s))
                continue
            self._changed.clear()
            await self._check_rights()

    async def _check_rights(self) -> None:
        keys = {one.principal.credential for one in self.hub.connections}
        if not keys:
            return
        loop = asyncio.get_running_loop()
        try:
            alive = await loop.run_in_executor(self._pool, standing.alive, keys)
        except HubError as error:
            log.warning("gateway.check_failed", reason=error.detail)
            self._changed.set()  # it changed, and was not looked at
            await asyncio.sleep(CHECK_S)
            return
        self.streams.recheck(alive, keys)

    async def _follow_topics(self) -> None:
        """Tell the hub of new partitions, which are read from the start, and of new topics."""
        while True:
            await asyncio.sleep(CHECK_S)
            for topic in self.hub.seats.topics():
                try:
                    self.hub.grow(topic, await self.topology.partitions(topic))
                    epoch = await self.topology.epoch(topic)
                except (HubError, UnknownTopic):
                    continue  # Kafka is away, or the topic; the hub tells of that itself
                self.hub.check(topic, tag(epoch) if epoch else NO_EPOCH)


def build(settings: Config, limiter: Limiter, on_drain: Callable[[], None]) -> Gateway:
    """Return the gateway of this process; ``on_drain`` is told when it begins to end."""
    return Gateway(settings, limiter, on_drain)


def _limits(settings: Config) -> Limits:
    return Limits(
        log_bytes=settings.hub_log_bytes,
        catchup_readers=settings.hub_catchup_readers,
        heartbeat_s=settings.stream_heartbeat,
        write_deadline_s=settings.stream_write_deadline,
    )
