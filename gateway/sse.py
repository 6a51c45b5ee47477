"""``/streams/``: server-sent events and NDJSON."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from gateway import metrics
from gateway.frames import Closing, Door, Message, Sse
from gateway.gate import Gate
from gateway.http import (
    Origins,
    Porter,
    Receive,
    Request,
    Scope,
    Send,
    Visitor,
    answer,
    any_origin_headers,
    cors_headers,
    encoded,
    preflight_headers,
    problem,
    refuse_misplaced,
    request_of,
)
from gateway.hub.connections import Connection, Ending, Listener, ending
from gateway.hub.transport import Outlet
from gateway.query import (
    NDJSON_TYPE,
    SSE_TYPE,
    check_names,
    cursor_of,
    door_of,
    topics_of,
    wanted_of,
)
from gateway.refusals import is_soft, manner_of, reason_of, refusal, retry_after
from gateway.stream import Opened, Streams, Wanted
from gateway.tolls import STREAM, Tolls
from gateway.turns import Opening
from kafkahub import clock
from kafkahub.dispatch import SERVER_SEND, WHO
from kafkahub.errors import (
    HubError,
    MethodNotAllowed,
    OriginNotAllowed,
    Unavailable,
)
from subscriptions.cursor import FINAL_TOKEN
from subscriptions.grants import Principal

PREFIX = "/streams/"
METHODS = "GET, HEAD, OPTIONS"
RETRY_MS = (2_000, 4_000)
"""What the opening frame tells a browser: it keeps the last value it saw."""
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Connection": "close",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Origin",
}
"""Of every stream. The connection closes, so that a reconnect may reach another worker."""

log = structlog.get_logger()


class StreamDoor:
    """Answers requests for streams.

    Lives on the event loop. The task of a request waits for its end only; the hub writes.

    max_age_s  age at which a stream is rotated, give or take a fifth; 0 for never
    """

    def __init__(
        self,
        streams: Streams,
        porter: Porter,
        gate: Gate,
        opening: Opening,
        *,
        tolls: Tolls,
        base_url: str,
        origins: Callable[[], Origins],
        max_age_s: float,
    ) -> None:
        self._hub = streams.hub
        self._streams = streams
        self._porter = porter
        self._gate = gate
        self._tolls = tolls
        self._base_url = base_url
        self._origins = origins
        self._max_age_s = max_age_s
        self._opening = opening

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, until its stream has ended."""
        await self._opening.rounds.next()
        connection = await self._connect(Call(request_of(scope), send), scope)
        if connection is None:
            return
        scope["headers"] = []  # a kilobyte that nobody reads any more
        try:
            while (await receive())["type"] != "http.disconnect":
                pass  # what a client still sends is dropped
            await self._opening.rounds.next()  # thousands may be cut at once
        finally:
            self._end(connection)

    async def _connect(self, call: "Call", scope: Scope) -> Connection | None:
        """Return the stream of a request; None where it is answered already.

        A frame of its own: a stream is open for long, and what opened it is not kept.
        """
        try:
            match call.request.method:
                case "GET" | "HEAD":
                    opened = await self._open(call)
                case "OPTIONS":
                    await answer(call.send, 204, preflight_headers(call.request, self._origins()))
                    return None
                case _:
                    raise MethodNotAllowed(f"A stream is read: {METHODS}.")
        except HubError as error:
            await self._refuse(call, error)
            return None
        finally:
            if call.visitor is not None:
                scope[WHO] = call.visitor.principal
        if opened is None or call.visitor is None:
            return None
        return await self._begin(call, call.visitor, opened, scope.get(SERVER_SEND, call.send))

    async def _open(self, call: "Call") -> Opened | None:
        """Return a seat; None where the request is answered already."""
        request = call.request
        if cursor_of(request) == FINAL_TOKEN:
            with suppress(OriginNotAllowed):
                self._cors(call)
            await answer(call.send, 204, {"Cache-Control": "no-store", **call.cors})
            return None
        call.door = door_of(request)
        if self._hub.is_draining:
            raise Unavailable("The server restarts.", retry_after_s=1)
        topics = topics_of(request.path, PREFIX)
        refuse_misplaced(request)
        check_names(request)
        async with self._opening.places:
            call.visitor = await self._porter.visitor(request, transport="sse", topics=topics)
            self._cors(call)
            self._tolls.enter(call.visitor.principal, request.address, call.door.name)
            now_ms = int(clock.now().timestamp() * 1000)
            wanted = wanted_of(request, topics, call.door, call.visitor.ticket, now_ms)
            if request.method == "HEAD":
                self._streams.spec(call.visitor.principal, wanted)
                await answer(call.send, 200, self._headers(call), is_head=True)
                return None
            return await self._take(call.visitor.principal, request.address, wanted)

    async def _take(self, principal: Principal, address: str, wanted: Wanted) -> Opened:
        """Count the stream, and find its seat; counted no more where there is none."""
        self._gate.admit(principal, address)
        try:
            return await self._streams.open(principal, wanted)
        except BaseException:
            self._gate.leave(principal, address)
            raise

    async def _begin(
        self, call: "Call", visitor: Visitor, opened: Opened, server_send: Send
    ) -> Connection:
        """Send the head and the first frames, then hand over to the hub."""
        connection = self._connection(call, visitor, Outlet(server_send))
        listener = self._streams.listener(opened, connection, call.door)
        try:
            headers = {**self._headers(call), "KafkaHub-Stream-Id": connection.id}
            start = {
                "type": "http.response.start",
                "status": 200,
                "headers": encoded(headers.items()),
            }
            await call.send(start)
            await connection.outlet.send(self._first(opened, listener))
        except BaseException:
            self._streams.release(opened)
            self._gate.leave(connection.principal, connection.address)
            raise
        self._hub.open(connection)
        self._hub.attach(listener)
        if opened.gaps and opened.on_gap_fail:
            self._hub.end(connection, ending("gap"), with_rest=False)
        elif visitor.ticket is not None:
            self._gate.settled(connection, visitor.ticket)
        metrics.open_seconds.observe(time.monotonic() - call.begun_s)
        log.info("stream.opened", stream=connection.id, topics=opened.spec.topics)
        return connection

    def _end(self, connection: Connection) -> None:
        """Give everything back: the client is gone, or the stream has ended."""
        listener = connection.listeners[0]
        self._hub.forget(connection)
        self._gate.leave(connection.principal, connection.address)
        log.info(
            "stream.closed",
            stream=connection.id,
            reason=connection.reason,
            records=listener.records,
            bytes=listener.bytes,
            paused_ms=connection.paused_ms,
        )

    def _first(self, opened: Opened, listener: Listener) -> Message:
        """Return the opening heartbeat, which gives the client a cursor, and the gaps."""
        door, retry_ms = listener.door, random.randint(*RETRY_MS)  # noqa: S311 - spreads reconnects
        beat = self._hub.beat(listener, is_first=True)
        pieces = [door.heartbeat(beat, opened.before or opened.token, retry_ms=retry_ms)]
        hides = opened.spec.style.hides_place
        for number, gap in enumerate(opened.gaps, start=1):
            is_last = number == len(opened.gaps)
            token = opened.token if is_last else opened.before or opened.token
            pieces.append(door.gap(gap, token, hides_place=hides))
            metrics.gaps.labels(gap.reason).inc()
        return door.message(b"".join(pieces))

    def _connection(self, call: "Call", visitor: Visitor, outlet: Outlet) -> Connection:
        request = call.request
        connection = Connection(
            visitor.principal, outlet, call.door.name, closing=_closing, heartbeat=self._heartbeat
        )
        connection.address = request.address
        connection.agent = request.header("user-agent") or ""
        connection.origin = request.origin or ""
        left_s = visitor.principal.expires_at_ms / 1000 - clock.now().timestamp()
        connection.ends_at(connection.opened_s + left_s, "revoked")
        if self._max_age_s:
            age_s = self._max_age_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads rotations
            connection.ends_at(connection.opened_s + age_s, "rotation")
        return connection

    def _heartbeat(self, connection: Connection, shared: dict[object, Message]) -> Message | None:
        """Return a heartbeat; those who stand at the end of one tape share it."""
        if not connection.listeners:
            return None
        listener = connection.listeners[0]
        is_shared = listener.tape.is_live and listener.seq == listener.tape.end
        key = (listener.tape, listener.door) if is_shared else listener
        message = shared.get(key)
        if message is None:
            beat = self._hub.beat(listener)
            message = listener.door.message(listener.door.heartbeat(beat, listener.cursor))
            shared[key] = message
        return message

    def _headers(self, call: "Call") -> dict[str, str]:
        kind = SSE_TYPE if call.door.text == "sse" else NDJSON_TYPE
        return {"Content-Type": kind, **HEADERS, **self._limits(call), **call.cors}

    def _limits(self, call: "Call") -> dict[str, str]:
        """Return what a known credential is told of its limits."""
        if call.visitor is None:
            return {}
        return self._tolls.headers(call.visitor.principal, STREAM)

    def _cors(self, call: "Call") -> dict[str, str]:
        """Return the headers for the page that asks, once it is known that it may."""
        partner = call.visitor.principal.partner if call.visitor else None
        has_cookie = call.request.header("cookie") is not None
        call.cors = cors_headers(call.request, self._origins(), partner, has_cookie=has_cookie)
        return call.cors

    async def _refuse(self, call: "Call", error: HubError) -> None:
        """Say no: by status, or to a browser, which would give up on a status, in a stream."""
        metrics.refused.labels(call.door.name, error.code).inc()
        try:
            self._cors(call)
        except OriginNotAllowed:
            call.cors = {}
        except Unavailable:
            # No origin is known yet. This answer says no more than that, and a page that cannot
            # read it gives up for ever.
            call.cors = any_origin_headers(call.request)
        if is_soft(error, manner_of(call.request, call.door)):
            reason = "drain" if self._hub.is_draining else reason_of(error)
            closing = refusal(ending(reason), error, cursor_of(call.request))
            await answer(call.send, 200, self._headers(call), Sse().closing(closing))
            return
        wait = retry_after(error, random.random())  # noqa: S311 - spreads returns
        headers = {**self._limits(call), **call.cors, **wait}
        await problem(call.send, error, call.request, base_url=self._base_url, headers=headers)


@dataclass(slots=True)
class Call:
    """One request on its way to a stream; ``visitor`` is None while nobody knows who it is."""

    request: Request
    send: Send
    door: Door = field(default_factory=Sse)
    visitor: Visitor | None = None
    cors: Mapping[str, str] = field(default_factory=dict)
    begun_s: float = field(default_factory=time.monotonic)


def _closing(connection: Connection, why: Ending) -> Sequence[Message]:
    """Return the last frame; whoever is to stop gets the final id, and beside it its cursor."""
    listener = connection.listeners[0]
    closing = Closing(
        reason=why.reason,
        action=why.action,
        retry_ms=why.retry_ms,
        ws_code=why.ws_code,
        token=FINAL_TOKEN if why.action == "stop" else listener.cursor,
        cursor=listener.cursor,
        detail=why.detail,
    )
    return [listener.door.message(listener.door.closing(closing), is_last=True)]
