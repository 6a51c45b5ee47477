"""The server: its methods, its limits, health and reflection, and how it ends."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from gateway.grpc_service.front import Context, Front, Metadata, Told
from gateway.grpc_service.messages import Messages
from gateway.grpc_service.publish import Publishing
from gateway.grpc_service.pulling import Pulling
from gateway.grpc_service.subscribe import Subscribing
from gateway.grpc_service.topics import Topics
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub.observability.health import Watch
from kafkahub.serving import Files

MESSAGE_BYTES = 4 * 1024 * 1024
METADATA_BYTES = 16 * 1024
MAX_STREAMS = 100
"""Streams of one connection."""
MAX_CONNECTIONS = 10_000
PING_MS = 10_000
"""Pings of a client that come faster end its connection."""
KEEPALIVE_MS, KEEPALIVE_WAIT_MS = 30_000, 20_000
STOP_S = 10.0
"""How long calls under way may take at the end."""
LOOK_S = 1.0
SERVICES = ("kafkahub.v1.KafkaHub", "kafkahub.v1.KafkaProxy")

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_WAIT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_MS),
    ("grpc.http2.max_ping_strikes", 2),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases behind the methods."""

    front: Front
    topics: Topics
    publishing: Publishing
    subscribing: Subscribing
    pulling: Pulling
    messages: Messages


class Server:
    """Serves gRPC on one port.

    Runs   on the event loop, between ``start`` and ``stop``
    Owns   the port, and the task that keeps health true
    Ends   ``stop``; health says so from ``drain`` on

    port  the one it listens on, which was chosen by the system where 0 was asked for
    """

    def __init__(self, services: Services, watch: Watch, *, reflects: bool, is_open: bool) -> None:
        """``is_open``: reflection needs no credential."""
        self._server = grpc.aio.server(options=OPTIONS)
        self._health = health.aio.HealthServicer()
        self._watch = watch
        self._looking: asyncio.Task[None] | None = None
        self.port = 0
        self._server.add_generic_rpc_handlers(handlers(services))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if reflects:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            servicer = Reflection(names, None if is_open else services.front)
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, self._server)

    async def start(self, address: str, tls: Files | None = None) -> None:
        """Listen. Raises OSError for a certificate that cannot be used, RuntimeError for a port
        that is taken.
        """
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, _credentials(tls))
        self._looking = asyncio.create_task(self._look(), name="grpc-health")
        await self._server.start()
        log.info("grpc.started", port=self.port, tls=tls is not None)

    async def drain(self) -> None:
        """Tell who asks that nothing new shall come."""
        if self._looking is not None:
            self._looking.cancel()
        await self._health.enter_graceful_shutdown()

    async def stop(self) -> None:
        """Take no more calls, and give those under way ``STOP_S``."""
        await self.drain()
        await self._server.stop(STOP_S)
        log.info("grpc.stopped")

    async def _look(self) -> None:
        while not self._watch.is_draining:
            is_up = self._watch.readiness().status != "unready"
            kinds = health_pb2.HealthCheckResponse
            status = kinds.SERVING if is_up else kinds.NOT_SERVING
            for name in ("", *SERVICES):
                await self._health.set(name, status)
            await asyncio.sleep(LOOK_S)
        await self._health.enter_graceful_shutdown()


def _credentials(files: Files) -> grpc.ServerCredentials:
    """Return credentials by which each handshake is made with the files as they are then."""

    def pair() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([files.pem])

    def renewed() -> Any:  # None stands for "as before", which the stubs leave out
        return pair() if files.has_changed() else None

    return grpc.dynamic_ssl_server_credentials(pair(), renewed)


def handlers(services: Services) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return the methods of both services; requests come and answers go as bytes."""
    front, pulling = services.front, services.pulling
    hub: dict[str, Any] = {
        "ListTopics": front.unary("ListTopics", pb.ListTopicsRequest, services.topics.list),
        "Publish": front.unary("Publish", pb.PublishRequest, services.publishing.publish),
        "PublishStream": front.talking(
            "PublishStream", pb.PublishStreamRequest, services.publishing.stream
        ),
        "Subscribe": front.talking(
            "Subscribe", pb.SubscribeRequest, services.subscribing.subscribe
        ),
        "Receive": front.unary("Receive", pb.ReceiveRequest, pulling.receive),
        "Ack": front.unary("Ack", pb.AckRequest, pulling.ack),
        "Seek": front.unary("Seek", pb.SeekRequest, pulling.seek),
        "GetPositions": front.unary("GetPositions", pb.GetPositionsRequest, pulling.positions),
    }
    proxy: dict[str, Any] = {
        "SendMessage": front.unary("SendMessage", pb.SendMessageRequest, services.publishing.send),
        "ReceiveMessages": front.answering(
            "ReceiveMessages", pb.ReceiveMessagesRequest, services.messages.receive
        ),
    }
    return tuple(
        grpc.method_handlers_generic_handler(name, methods)
        for name, methods in zip(SERVICES, (hub, proxy), strict=True)
    )


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # it carries no types
    """Tells what there is to call; outside of development only to who has a credential."""

    def __init__(self, names: Sequence[str], front: Front | None) -> None:
        super().__init__(names)
        self._front = front

    async def ServerReflectionInfo(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802 - gRPC's own name
        await self._admit(context)
        async for answer in super().ServerReflectionInfo(request_iterator, context):
            yield answer

    async def _admit(self, context: Context) -> None:
        if self._front is None:
            return
        given = Metadata(context, ())
        async with Told(context, "ServerReflectionInfo", given):
            await self._front.principal(given)
