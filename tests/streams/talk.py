"""A server that talks with WebSocket clients on a real Kafka, and a client to talk with it."""

import asyncio
import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway import server
from gateway.dialogue import Dialogue, Parts
from gateway.hub.connections import ending
from gateway.hub.fanout import Hub, Limits
from gateway.hub.groups import Frames
from gateway.hub.transport import Outlet
from gateway.messages import SUBPROTOCOL
from gateway.produce import HandOver, Writer
from gateway.stream import Streams
from gateway.tolls import Tolls
from gateway.topology import Topology
from kafkahub import config, crypto
from kafkahub.dispatch import Receive, Scope, Send
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, producer_options, reader_options
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.reader import Reader
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from subscriptions.grants import Grant, Principal
from subscriptions.live import NOTHING, LiveTopic, Snapshot
from subscriptions.usage import Usage

DEADLINE_S = 15.0
ALICE = Principal(
    partner="acme",
    kind="key",
    id="key_1",
    name="alice",
    mode="live",
    scopes=frozenset({"topic:*:read", "topic:*:write"}),
    topics=None,
    expires_at_ms=2**50,
    limits=policies.limits(
        policies.Rule(policies.KEY, policy, 1e9, 10**9) for policy in policies.POLICIES
    ),
)
"""No test meets a limit by accident."""


def world(*topics: str) -> Snapshot:
    """Return a world in which acme may read and write these topics."""
    grants = {
        ("acme", topic, action): Grant(f"grt_{topic}_{action}", "acme", topic, action, version=1)
        for topic in topics
        for action in ("read", "write")
    }
    facts = {
        topic: LiveTopic(
            name=topic,
            format="json",
            content_type="application/json",
            type_source="constant",
            type_value="",
            is_sandbox=False,
            is_sensitive=False,
            is_enabled=True,
        )
        for topic in topics
    }
    return replace(NOTHING, grants=grants, topics=facts)


class Talking:
    """A server in a thread of its own; use ``serving``."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        idle_s: float,
        write_deadline_s: float,
        principal: Principal = ALICE,
    ) -> None:
        self.snapshot = snapshot
        self.principal = principal
        self.usage = Usage()
        url = config.load().redis_url.get_secret_value()
        self.tolls = Tolls(Limiter(url, processes=1), self.usage)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._idle_s = idle_s
        self._limits = Limits(
            log_bytes=32 * 1024 * 1024,
            catchup_readers=1,
            heartbeat_s=2,
            write_deadline_s=write_deadline_s,
        )
        self._listens = threading.Event()
        options = uvicorn.Config(
            self._app,
            port=0,
            loop="uvloop",
            http=server.GuardedProtocol,
            ws=server.GuardedWebSocket,
            ws_max_size=1024 * 1024,
            ws_per_message_deflate=False,
            lifespan="on",
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
        )
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._server.run)

    @property
    def port(self) -> int:
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def start(self) -> None:
        self._thread.start()
        assert self._listens.wait(DEADLINE_S), "the server did not start"
        while not self._server.started:
            self._listens.wait(0.01)
            assert self._thread.is_alive(), "the server did not start"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)

    def expose(self, *topics: str) -> int:
        """Let alice read and write these topics and no others; return the port."""
        self.snapshot = world(*topics)
        return self.port

    def end_all(self, reason: str) -> None:
        """End every connection, as drain, kick and revocation do."""
        assert self.loop is not None
        for one in self.hub.connections:
            self.loop.call_soon_threadsafe(self.hub.end, one, ending(reason))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        await receive()
        parts = Parts(self.hub, self.streams, self.writer, self.tolls, idle_s=self._idle_s)
        dialogue = Dialogue(parts, self.principal, Outlet(send), receive)
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        self.hub.open(dialogue.connection)
        try:
            await dialogue.run(None)
        finally:
            self.hub.forget(dialogue.connection)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        settings = config.load()
        admin = Admin(admin_options(settings))
        self.loop = asyncio.get_running_loop()
        reader = functools.partial(Reader, reader_options(settings))
        frames = Frames("http://hub.test", lambda *_: "evt")
        self.hub = Hub(reader, frames, self._limits, self.tolls.sent)
        await self.hub.start()
        topology = Topology(admin)
        ring = crypto.parse_ring(settings.encryption_keys.get_secret_value())
        self.streams = Streams(self.hub, lambda: self.snapshot, topology, ring)
        self.writer = Writer(lambda: self.snapshot, _producer, admin)
        self._listens.set()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.writer.close()
        await self.hub.stop()
        topology.close()
        await send({"type": "lifespan.shutdown.complete"})


def _producer(hand_over: HandOver) -> Producer:
    return Producer(producer_options(config.load()), hand_over=hand_over)


@contextmanager
def serving(
    *topics: str,
    idle_s: float = 60,
    write_deadline_s: float = 30,
    principal: Principal = ALICE,
) -> Iterator[Talking]:
    """Serve these topics to whoever connects, who is always alice."""
    made = Talking(
        world(*topics), idle_s=idle_s, write_deadline_s=write_deadline_s, principal=principal
    )
    made.start()
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Client:
    """One WebSocket client; everything received is kept in ``received``."""

    line: ClientConnection

    def say(self, kind: str, **members: Any) -> None:
        self.line.send(json.dumps({"type": kind, **members}))

    def hear(self, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Return the next message."""
        heard: dict[str, Any] = json.loads(self.line.recv(deadline_s))
        return heard

    def hear_until(self, kind: str, *more: str) -> dict[str, Any]:
        """Return the next message of one of these kinds, skipping heartbeats only."""
        while (heard := self.hear())["type"] == "heartbeat" not in {kind, *more}:
            continue
        assert heard["type"] in {kind, *more}, heard
        return heard

    def subscribe(self, sub: str, *topics: str, **members: Any) -> dict[str, Any]:
        self.say("subscribe", id=f"s-{sub}", sub=sub, topics=list(topics), **members)
        return self.hear_until("subscribed", "error")

    def events(self, count: int) -> list[dict[str, Any]]:
        """Return so many records."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += self.hear_until("events")["events"]
        return found

    def produce(self, ref: str, topic: str, records: Sequence[Mapping[str, Any]]) -> None:
        self.say("produce", id=ref, topic=topic, records=records)

    def code(self) -> int | None:
        """Return the code that the server closes with, after everything it says before."""
        self.rest()
        return self.line.protocol.close_code

    def rest(self) -> list[dict[str, Any]]:
        """Return everything until the server closes."""
        heard: list[dict[str, Any]] = []
        with suppress(ConnectionClosed):
            while True:
                heard.append(self.hear())
        return heard


@contextmanager
def client(port: int) -> Iterator[Client]:
    """Give a client that was greeted."""
    url = f"ws://127.0.0.1:{port}/ws"
    with connect(
        url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, close_timeout=1
    ) as line:
        made = Client(line)
        assert made.hear()["type"] == "hello"
        yield made


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait for something on the server's side that gives no signal."""
    waiting = threading.Event()
    for _ in range(int(DEADLINE_S / 0.02)):
        if holds():
            return
        waiting.wait(0.02)
    raise AssertionError(what)


@contextmanager
def greeted(port: int, key: str) -> Iterator[Client]:
    """Give a connection to a web process, greeted."""
    with connect(
        f"ws://127.0.0.1:{port}/ws",
        additional_headers={"Authorization": f"Bearer {key}"},
        compression=None,
        close_timeout=1,
    ) as line:
        made = Client(line)
        assert made.hear()["type"] == "hello"
        yield made
