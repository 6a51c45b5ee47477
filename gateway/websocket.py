"""``/ws``: the handshake of a WebSocket; what follows is said in ``dialogue``.

``/ws/echo`` sends back what comes, for conformance runs, where the setting allows it.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from gateway import messages, metrics
from gateway.dialogue import Dialogue, Parts
from gateway.frames import Message
from gateway.gate import Gate
from gateway.http import (
    Origins,
    Porter,
    Receive,
    Request,
    Scope,
    Send,
    Visitor,
    cors_headers,
    encoded,
    problem,
    refuse_misplaced,
    request_of,
)
from gateway.hub.connections import Connection
from gateway.hub.transport import Outlet
from gateway.producing import DOOR
from gateway.query import PARAMETERS, check_names, topics_of, wanted_of
from gateway.refusals import retry_after
from gateway.stream import Wanted
from gateway.tolls import SOCKET, Tolls
from gateway.turns import Opening
from kafkahub import clock
from kafkahub.errors import Fault, HubError, Invalid, NotFound, Unavailable, UpgradeRequired
from subscriptions.grants import Principal

PATH = "/ws"
ECHO_PATH = "/ws/echo"
PATHS = frozenset({PATH, ECHO_PATH})
KNOWN = PARAMETERS | {"topics"}
RESPONSE_TYPES: Mapping[str, str] = {
    "http.response.start": "websocket.http.response.start",
    "http.response.body": "websocket.http.response.body",
}
"""How ASGI names an answer that refuses a handshake."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Doorstep:
    """What handshakes are judged by; ``max_age_s`` 0 lets connections grow old."""

    porter: Porter
    gate: Gate
    opening: Opening
    tolls: Tolls
    origins: Callable[[], Origins]
    base_url: str
    max_age_s: float
    has_echo: bool = False


class SocketDoor:
    """Answers handshakes.

    Lives on the event loop; each connection keeps the task that the server made for it.
    """

    def __init__(self, parts: Parts, doorstep: Doorstep) -> None:
        self._parts = parts
        self._at = doorstep

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or one plain HTTP request, which is told to upgrade."""
        if scope["type"] == "http":
            await self._refuse(scope, send, UpgradeRequired("This address is a WebSocket."))
            return
        await receive()  # websocket.connect
        await self._at.opening.rounds.next()
        if scope["path"] == ECHO_PATH and self._at.has_echo:
            await echo(receive, send)
            return
        try:
            if scope["path"] != PATH:
                raise NotFound
            await self._open(scope, receive, send)
        except HubError as error:
            metrics.refused.labels(DOOR, error.code).inc()
            await self._refuse(scope, _refusing(send), error)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun_s = time.monotonic()
        request = request_of(scope)
        subprotocol = _subprotocol(scope["subprotocols"])
        refuse_misplaced(request)
        check_names(request, KNOWN)
        if self._parts.hub.is_draining:
            raise Unavailable("The server restarts.", retry_after_s=1)
        async with self._at.opening.places:
            visitor = await self._at.porter.visitor(request, transport=DOOR, topics=None)
        principal = visitor.principal
        try:
            first = self._admit(request, visitor)
        except HubError as error:
            metrics.refused.labels(DOOR, error.code).inc()
            await self._refuse(scope, _refusing(send), error, principal)
            return
        try:
            dialogue = Dialogue(self._parts, principal, Outlet(send), receive, visitor.ticket)
            connection = dialogue.connection
            self._describe(connection, request)
            await send(_accept(connection, request, subprotocol, self._limits(principal)))
            await self._talk(dialogue, visitor, first, begun_s)
        finally:
            self._at.gate.leave(principal, request.address)

    def _admit(self, request: Request, visitor: Visitor) -> Wanted | None:
        """Count one more connection, or raise; return what its URL subscribes to."""
        self._check_origin(request, visitor)
        self._at.tolls.enter(visitor.principal, request.address, DOOR)
        first = _first(request, visitor)
        self._at.gate.admit(visitor.principal, request.address)
        return first

    def _limits(self, principal: Principal) -> dict[str, str]:
        return self._at.tolls.headers(principal, SOCKET)

    async def _talk(
        self, dialogue: Dialogue, visitor: Visitor, first: Wanted | None, begun_s: float
    ) -> None:
        connection, hub = dialogue.connection, self._parts.hub
        hub.open(connection)
        metrics.open_seconds.observe(time.monotonic() - begun_s)
        log.info("websocket.opened", stream=connection.id)
        try:
            if visitor.ticket is not None:
                self._at.gate.settled(connection, visitor.ticket)
            await dialogue.run(first)
        finally:
            hub.forget(connection)
            log.info(
                "websocket.closed",
                stream=connection.id,
                reason=connection.reason,
                records=dialogue.records,
                produced=dialogue.produced,
                paused_ms=connection.paused_ms,
            )

    def _describe(self, connection: Connection, request: Request) -> None:
        """Note who it is, and when it ends."""
        connection.address = request.address
        connection.agent = request.header("user-agent") or ""
        connection.origin = request.origin or ""
        now_s = connection.opened_s
        left_s = connection.principal.expires_at_ms / 1_000 - clock.now().timestamp()
        connection.ends_at(now_s + left_s, "revoked")
        if self._at.max_age_s:
            age_s = self._at.max_age_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads rotations
            connection.ends_at(now_s + age_s, "rotation")

    def _check_origin(self, request: Request, visitor: Visitor) -> None:
        """Raise OriginNotAllowed for a page that may not: cookies do not guard this door, but a
        key typed into a page of somebody else would be used from there.
        """
        if request.origin is not None and request.origin == self._at.base_url:
            return
        cors_headers(request, self._at.origins(), visitor.principal.partner)

    async def _refuse(
        self, scope: Scope, send: Send, error: HubError, principal: Principal | None = None
    ) -> None:
        """Answer a handshake with no; a known credential is told of its limits."""
        request = request_of({**scope, "query_string": b""})
        headers = {} if principal is None else self._limits(principal)
        headers |= retry_after(error, random.random())  # noqa: S311 - spreads returns
        if isinstance(error, UpgradeRequired):
            headers |= {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        await problem(send, error, request, base_url=self._at.base_url, headers=headers)


def _subprotocol(offered: list[str]) -> str | None:
    """Return what to select: ours where it is offered, none where none is."""
    if offered and messages.SUBPROTOCOL not in offered:
        text = f"The subprotocol here is {messages.SUBPROTOCOL}."
        raise Invalid([Fault("", "invalid_parameter", text)])
    return messages.SUBPROTOCOL if offered else None


def _first(request: Request, visitor: Visitor) -> Wanted | None:
    """Return the subscription that the URL asks for, if it names topics."""
    given = request.parameter("topics")
    if given is None:
        return None
    door = messages.WebSocketDoor(messages.FIRST_SUB)
    now_ms = int(clock.now().timestamp() * 1_000)
    return wanted_of(request, topics_of(given, ""), door, visitor.ticket, now_ms)


def _accept(
    connection: Connection, request: Request, subprotocol: str | None, limits: Mapping[str, str]
) -> Message:
    headers = {"KafkaHub-Stream-Id": connection.id, "X-Request-Id": request.request_id, **limits}
    return {
        "type": "websocket.accept",
        "subprotocol": subprotocol,
        "headers": encoded(headers.items()),
    }


def _refusing(send: Send) -> Send:
    """Return a ``send`` that answers a handshake as a request."""

    async def answer(message: Message) -> None:
        await send({**message, "type": RESPONSE_TYPES[message["type"]]})

    return answer


async def echo(receive: Receive, send: Send) -> None:
    """Send back whatever comes; the caller has taken the event of the connection."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
