"""What uvicorn lacks: limits on the head of a request, and on what a WebSocket may cost.

Contract tests pin both classes to the locked uvicorn.
"""

import asyncio
from asyncio import TimerHandle
from collections.abc import Sequence
from functools import partial
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import (
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidUpgrade,
    RequestLineTooLong,
    TooManyHeaders,
)
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from kafkahub.dispatch import ANSWER
from kafkahub.hosts import is_unclear

MAX_HEAD_BYTES = 16_384
MAX_FRAGMENTS = 4_096
"""Fragments of one WebSocket message: what is cut finer is sent to cost, not to say something."""
VERSION_HEADER = "Sec-WebSocket-Version"
LINGER_S = 2.0
"""How long a refused WebSocket is still read: bytes left unread would make the kernel reset the
connection, and the close code would be lost on its way."""
REFUSALS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    426: b"Upgrade Required",
    431: b"Request Header Fields Too Large",
}


class Latch:
    """``asyncio.Event`` in 64 bytes instead of 760: that one keeps a deque for its waiters.

    A connection has two, and thousands of connections wait for years.
    """

    __slots__ = ("_is_set", "_waiters")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> bool:
        if self._is_set:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters += (waiter,)
        try:
            await waiter
        finally:
            self._waiters = tuple(other for other in self._waiters if other is not waiter)
        return True


class Pipeline(list[Any]):
    """Requests that came before their turn: as a rule none, for which a deque is 760 bytes."""

    __slots__ = ()

    def appendleft(self, item: object) -> None:
        self.insert(0, item)


class GuardedProtocol(HttpToolsProtocol):
    """One connection; a head that is too large or too slow is refused, and the connection closed.

    Within a head, bytes are fed in pieces that end where the limit is; a body is fed as it comes.
    """

    # What is set after the constructor has its place here, ``url`` for uvicorn: one attribute more
    # would give every connection a dictionary of its own, 1.5 KB instead of 0.3.
    __slots__ = ("_head_bytes", "_head_timer", "url")

    head_deadline_s = 10.0
    """From the connection, or the first byte of a next request, to the end of the head."""

    _head_bytes: int | None  # None while a body is read
    _head_timer: TimerHandle | None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._head_timer = None
        self.pipeline = Pipeline()  # type: ignore[assignment]  # has what is used of a deque

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows asyncio's own signature
        _lighten(self.flow)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            if self._head_bytes is None:
                super().data_received(data)
                return
            self._await_head()
            piece = data[: MAX_HEAD_BYTES + 1 - self._head_bytes]
            data = data[len(piece) :]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._head_bytes is not None and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431)

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._end_timer()
        if is_unclear(self.url, self.headers):
            raise ValueError(
                "the head can be read in two ways"
            )  # the parser stops: 400, and closed
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # its task has not run yet: nobody waits for the event
            self.cycle.message_event = Latch()  # type: ignore[assignment]  # has what is used of an Event
            self.scope[ANSWER] = partial(answer, self.cycle)  # type: ignore[literal-required]  # a key of ours

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text is not for our callers
        self._refuse(400)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_deadline_s, self._refuse, 408)

    def _end_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(refusal(status))
        self.transport.close()


async def answer(
    cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> None:
    """Write a whole answer: what ``cycle.send`` does with two messages, in one go.

    headers  in lower case, with a Content-Length that is true or for 204 with none

    Raises RuntimeError for a header with a line break, and for a second answer.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    if cycle.response_started:
        raise RuntimeError("there is an answer already")
    pairs = [*cycle.default_headers, *headers]
    if any(pair[0] == b"connection" for pair in headers):
        cycle.keep_alive = False  # the doors name it to close one only
    elif not cycle.keep_alive:
        pairs.append((b"connection", b"close"))
    if cycle.scope["method"] == "HEAD":
        body = b""
    lines = [b"%b: %b\r\n" % pair for pair in pairs]
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise RuntimeError("a header has a line break")
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket; what breaks the protocol gets its close code, and costs nothing further."""

    _is_failed = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A head that the parser gave up; uvicorn would let the client wait for ever.
            self._refuse(_status_of(self.conn.handshake_exc))

    def handle_connect(self, event: Request) -> None:
        try:
            self.conn.process_request(event)
        except InvalidUpgrade:
            self._refuse(426)
        except InvalidHandshake as error:
            is_version = isinstance(error, InvalidHeader) and error.name == VERSION_HEADER
            self._refuse(426 if is_version else 400)
        else:
            super().handle_connect(event)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail(CloseCode.MESSAGE_TOO_BIG)
        elif not self._is_failed:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # Nobody reads: only the newest ping needs an answer, and a heap of them would grow.
            self.conn.data_to_send()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames):
            self.frames = []
            self._fail(CloseCode.INVALID_DATA)
        elif not self._is_failed:
            super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Say why, once, and read on for a while without looking at what comes."""
        if self._is_failed:
            return
        self._is_failed = True
        close = self.conn.close_sent
        self.queue.put_nowait(_disconnected(close.code if close else CloseCode.ABNORMAL_CLOSURE))
        self.close_sent = True
        self.stop_keepalive()
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.close_timer is None:
            self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _fail(self, code: CloseCode) -> None:
        self.conn.fail(code)
        self.handle_parser_exception()

    def _refuse(self, status: int) -> None:
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(refusal(status))
        self.transport.close()


def _lighten(flow: FlowControl) -> None:
    flow._is_writable_event = Latch(is_set=True)  # type: ignore[assignment]  # noqa: SLF001 - has what is used of an Event; there is no other way to it


def refusal(status: int) -> bytes:
    """Return a whole answer that closes the connection."""
    title = REFUSALS[status]
    body = b'{"type":"about:blank","status":%d,"title":"%b"}' % (status, title)
    upgrade = b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    head = b"content-type: application/problem+json\r\nconnection: close\r\n"
    more = upgrade if status == 426 else b""  # noqa: PLR2004 - the only one that names an upgrade
    return b"HTTP/1.1 %d %b\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
        status,
        title,
        head,
        more,
        len(body),
        body,
    )


def _status_of(fault: Exception) -> int:
    if isinstance(fault, RequestLineTooLong):
        return 414
    return 431 if isinstance(fault, HeaderLineTooLong | TooManyHeaders) else 400


def _is_utf8(frames: list[bytes]) -> bool:
    try:
        (frames[0] if len(frames) == 1 else b"".join(frames)).decode()
    except UnicodeDecodeError:
        return False
    return True


def _disconnected(code: int) -> Any:
    return {"type": "websocket.disconnect", "code": int(code), "reason": ""}
