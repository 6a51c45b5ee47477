"""The gRPC process: the gateway's hub and writer, with the gRPC server before them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway import app, received
from gateway.consumers import Consumers
from gateway.grpc_service.account import Account
from gateway.grpc_service.front import Front
from gateway.grpc_service.grouped import Grouped
from gateway.grpc_service.messages import Messages
from gateway.grpc_service.publish import Publishing
from gateway.grpc_service.pulling import Pulling
from gateway.grpc_service.server import Server, Services
from gateway.grpc_service.streams import Parts
from gateway.grpc_service.subscribe import Subscribing
from gateway.grpc_service.topics import Topics
from gateway.grpc_service.until import Bounded
from gateway.hub.reads import Reads
from gateway.leasing import Leasing
from gateway.receipts import Once
from gateway.rest.parts import runner
from kafkahub.config import Config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, reader_options
from kafkahub.kafka.reader import Reader
from kafkahub.observability import health
from kafkahub.observability.health_server import HealthServer
from kafkahub.serving import Files
from subscriptions import limiting, sightings, usage

DATABASE_THREADS = 8


class Process:
    """Everything of one gRPC process.

    Runs   on the event loop it is made on, between ``start`` and ``stop``
    Ends   ``stop``: streams end in good order, calls under way have some seconds
    """

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        admin = Admin(admin_options(settings))
        self.watch = health.Watch(health.neighbours(settings, lambda: _ask(admin)))
        self._companions = (
            limiting.process_limiter(),
            usage.process_usage(),
            sightings.process_sightings(),
        )
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="database")
        self._gateway = app.build(settings, limiting.process_limiter(), self._note_drain)
        self._telling: asyncio.Task[None] | None = None
        self.server = Server(
            self._services(),
            self.watch,
            reflects=settings.grpc_reflection or settings.environment == "dev",
            is_open=settings.environment == "dev",
        )
        self._probes: HealthServer | None = None

    async def start(self, address: str) -> None:
        """Begin to serve. Raises OSError and RuntimeError, see ``Server.start``."""
        settings = self._settings
        for companion in self._companions:
            companion.start()
        if settings.metrics_port:
            self._probes = HealthServer(settings.metrics_address, settings.metrics_port, self.watch)
            self._probes.start()
        else:
            self.watch.start()
        await self._gateway.start()
        await self.server.start(address, _tls(settings))

    async def stop(self) -> None:
        """End; new calls are refused, those under way have some seconds."""
        if self._telling is not None:
            await self._telling
        await self.server.stop()
        await self._reads.stop()
        await self._gateway.stop()
        for companion in reversed(self._companions):
            companion.stop()
        if self._probes is not None:
            self._probes.stop()
        else:
            self.watch.stop()
        self._database.shutdown(wait=False, cancel_futures=True)

    def _make_reader(self, **hooks: Any) -> Reader:
        return Reader(reader_options(self._settings), **hooks)

    def _note_drain(self) -> None:
        """Tell probes and health at once; the streams end after that."""
        self.watch.drain()
        self._telling = asyncio.create_task(self.server.drain(), name="grpc-drain")

    def _services(self) -> Services:
        gateway = self._gateway
        account = Account(limiting.process_limiter(), usage.process_usage())
        front = Front(self._database, account)
        topics = Topics(front, gateway.snapshot, gateway.topology)
        parts = Parts(
            front, gateway.hub, gateway.streams, gateway.gate, self._settings.stream_max_age
        )
        run = runner(self._database)
        reads = self._reads = Reads(
            self._make_reader,
            readers=self._settings.rest_readers,
            log_bytes=self._settings.rest_log_bytes,
        )
        consumers = Consumers(reads, gateway.topology, run)
        leasing = Leasing(reads, gateway.topology, consumers, run, received.received)
        pulling = Pulling(front, gateway.streams, gateway.topology, leasing, gateway.record_ids.of)
        grouped = Grouped(parts, pulling)
        bounded = Bounded(parts, reads, gateway.record_ids.of)
        once = Once(gateway.writer, reads, gateway.topology, run)
        return Services(
            front=front,
            topics=topics,
            publishing=Publishing(front, gateway.writer, once),
            subscribing=Subscribing(parts, grouped.serve, bounded.serve),
            pulling=pulling,
            messages=Messages(parts),
        )


def _ask(admin: Admin) -> None:
    admin.cluster_id()


def _tls(settings: Config) -> Files | None:
    """Return the certificate to serve with; None where a proxy ends TLS. Raises OSError."""
    cert = settings.grpc_tls_cert or settings.tls_cert
    key = settings.grpc_tls_key or settings.tls_key
    return Files(cert, key) if cert and key else None
