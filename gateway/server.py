"""What uvicorn lacks: a limit on the size of a request's head and on the time it may take."""

from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 16_384
REFUSALS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
}


class GuardedProtocol(HttpToolsProtocol):
    """One connection; a head that is too large or too slow is refused, and the connection closed.

    Within a head, bytes are fed in pieces that end where the limit is; a body is fed as it comes.
    """

    head_deadline_s = 10.0
    """From the connection, or the first byte of a next request, to the end of the head."""

    _head_bytes: int | None = 0  # None while a body is read
    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows asyncio's own signature
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
        super().on_headers_complete()

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
            title = REFUSALS[status]
            body = b'{"type":"about:blank","status":%d,"title":"%b"}' % (status, title)
            head = b"content-type: application/problem+json\r\nconnection: close\r\n"
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(b"HTTP/1.1 %d %b\r\n%b%b%b" % (status, title, head, length, body))
        self.transport.close()
