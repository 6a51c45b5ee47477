"""The REST doors of one process, put together and taken apart."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway import received
from gateway.consumers import Consumers
from gateway.hub.groups import RecordId
from gateway.hub.reads import Reads
from gateway.leasing import Leasing
from gateway.produce import Writer
from gateway.receipts import Once
from gateway.rest.call import Receive, Scope, Send
from gateway.rest.door import RestDoor
from gateway.rest.parts import Parts, runner
from gateway.rest.waiting import Waiting
from gateway.topology import Topology
from kafkahub.config import Config
from kafkahub.crypto import KeyRing
from kafkahub.kafka.reader import Reader
from kafkahub.limits.limiter import Limiter
from subscriptions.live import Snapshot

DATABASE_THREADS = 8
"""Statements of the REST doors at once; each takes some hundred µs, and holds a connection."""


class Rest:
    """Answers REST requests of one process.

    Runs   on the event loop, between ``start`` and ``stop``
    Owns   the readers of those who poll, and the threads in which SQL runs
    Ends   ``stop``; the writer and the topology are others' to end
    """

    def __init__(
        self,
        settings: Config,
        *,
        snapshot: Callable[[], Snapshot],
        writer: Writer,
        topology: Topology,
        limiter: Limiter,
        make_reader: Callable[..., Reader],
        ring: KeyRing,
        record_id: RecordId,
        is_draining: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._snapshot = snapshot
        self._writer = writer
        self._topology = topology
        self._limiter = limiter
        self._make_reader = make_reader
        self._ring = ring
        self._record_id = record_id
        self._is_draining = is_draining
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="rest-database")
        self._parts: Parts | None = None
        self._door: RestDoor | None = None
        self._leasing: Leasing | None = None

    def start(self) -> None:
        """Begin; needs the running event loop. Readers are made at the first read."""
        settings, run = self._settings, runner(self._database)
        reads = Reads(
            self._make_reader,
            readers=settings.rest_readers,
            log_bytes=settings.rest_log_bytes,
        )
        self._parts = Parts(
            snapshot=self._snapshot,
            writer=self._writer,
            reads=reads,
            topology=self._topology,
            limiter=self._limiter,
            database=self._database,
            run=run,
            base_url=settings.base_url,
            public_url=settings.public_url or settings.base_url,
            cluster_id=settings.cluster_id,
            consumers=Consumers(reads, self._topology, run),
            once=Once(self._writer, reads, self._topology, run),
            waiting=Waiting(settings.rest_waiting),
            ring=self._ring,
            record_id=self._record_id,
            is_draining=self._is_draining,
        )
        self._door = RestDoor(self._parts)
        consumers = self._parts.consumers
        self._leasing = Leasing(reads, self._topology, consumers, run, received.received)

    @property
    def leasing(self) -> Leasing:
        """The use case of groups, for doors beside REST; there from ``start`` on."""
        if self._leasing is None:
            raise RuntimeError("the doors are not open yet")  # a bug: requests come after start
        return self._leasing

    async def stop(self) -> None:
        """End; what was sent is told to PostgreSQL first, so that it is not handed out again."""
        if self._parts is not None:
            await self._parts.consumers.sent.close()
            await self._parts.reads.stop()
        await asyncio.to_thread(self._database.shutdown)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._door is None:
            raise RuntimeError("the doors are not open yet")  # a bug: requests come after start
        await self._door.serve(scope, receive, send)
