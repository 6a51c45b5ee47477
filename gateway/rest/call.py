"""One REST request and its answer: head, body with its caps, and how an answer goes out.

Bare ASGI: one object a request, headers looked at once, nothing parsed that nobody asks for.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl
from uuid import uuid4

from gateway.frames import Message
from kafkahub.dispatch import ANSWER, Answer
from kafkahub.errors import BodyTooLarge, Fault, Invalid, RequestTimeout, UnsupportedMedia
from subscriptions.grants import Principal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""Of a body as it comes, and of one that is inflated."""
BODY_S: Final = 60.0
"""Longest time from the head to the last byte of a body."""
MAX_RATIO: Final = 100
"""A gzip that grows more than so is a bomb: no text of ours does."""
MAX_PARAMETERS: Final = 50
INFLATE_BYTES: Final = 256 * 1024
GZIP: Final = 31
"""zlib's window bits for gzip alone."""


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes = b""
    content_type: bytes = b"application/json"
    headers: Headers = ()


class Call:
    """One request.

    path       without a slash at its end
    principal  who it is, once that is known
    topic      what it was charged for, ``""`` for none
    """

    principal: Principal | None
    topic: str

    __slots__ = (
        "_query",
        "headers",
        "method",
        "path",
        "principal",
        "receive",
        "scope",
        "send",
        "topic",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = path[:-1] if len(path) > 1 and path[-1] == "/" else path
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self.send = send
        self.principal = None
        self.topic = ""
        self._query: dict[str, str] | None = None

    @property
    def who(self) -> Principal:
        """Who calls; to be asked once that is known."""
        if self.principal is None:
            raise RuntimeError("the caller was not identified")  # a bug: the door does so first
        return self.principal

    @property
    def address(self) -> str:
        """The caller's IP address, ``""`` where the server knows none."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def header(self, name: bytes) -> str:
        """Return a header's value, ``""`` where it is missing."""
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the URL. Raises Invalid for one that comes twice."""
        if self._query is None:
            self._query = _parsed(self.scope["query_string"])
        return self._query

    @property
    def raw_query(self) -> bytes:
        query: bytes = self.scope["query_string"]
        return query

    @property
    def expects_body(self) -> bool:
        """Whether the head tells of a body."""
        length = self.headers.get(b"content-length", b"0")
        return length != b"0" or b"transfer-encoding" in self.headers

    @property
    def length(self) -> int:
        """``Content-Length`` in bytes, 0 without one. Raises BodyTooLarge over the cap."""
        text = self.headers.get(b"content-length")
        if text is None:
            return 0
        length = int(text) if text.isdigit() else 0
        if length > MAX_BODY_BYTES:
            raise too_large()
        return length

    def fresh_id(self) -> str:
        """Return a name that nobody has."""
        return str(uuid4())

    async def body(self) -> bytes:
        """Return the whole body, inflated.

        Raises BodyTooLarge, RequestTimeout, UnsupportedMedia for another encoding than gzip,
        Invalid for a gzip that is none, and Gone when the client left.
        """
        _ = self.length  # refused before anything is read
        try:
            async with asyncio.timeout(BODY_S):
                content = await self._read()
        except TimeoutError:
            raise RequestTimeout(f"The body was not complete within {BODY_S:g} s.") from None
        encoding = self.headers.get(b"content-encoding", b"identity").lower()
        if encoding in (b"identity", b""):
            return content
        if encoding != b"gzip":
            raise UnsupportedMedia("Of content encodings only gzip is taken.")
        return inflated(content)

    async def _read(self) -> bytes:
        message = await self.receive()
        first: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if message["type"] == "http.disconnect":
                raise Gone
            return checked(first)
        parts, size = [first], len(first)
        while message.get("more_body", False):
            if size > MAX_BODY_BYTES:
                raise too_large()
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        return checked(b"".join(parts))

    async def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        headers = [
            (b"content-type", reply.content_type),
            (b"content-length", b"%d" % len(reply.body)),
            *reply.headers,
        ]
        if reply.status == NO_CONTENT:
            del headers[:2]
        answer: Answer | None = self.scope.get(ANSWER)
        if answer is not None:
            await answer(reply.status, headers, reply.body)
            return
        await self.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": reply.body})


NO_CONTENT: Final = 204


class Gone(Exception):
    """The client left before its request was complete; nobody waits for an answer."""


def checked(body: bytes) -> bytes:
    """Return a body that is not over the cap. Raises BodyTooLarge."""
    if len(body) > MAX_BODY_BYTES:
        raise too_large()
    return body


def too_large() -> BodyTooLarge:
    return BodyTooLarge(f"A body has {MAX_BODY_BYTES} bytes at most, also when it is inflated.")


def inflated(content: bytes) -> bytes:
    """Return a gzip's content. Raises BodyTooLarge for a bomb, Invalid for what is no gzip."""
    stream = zlib.decompressobj(GZIP)
    parts: list[bytes] = []
    size, rest = 0, content
    try:
        while rest and not stream.eof:
            parts.append(stream.decompress(rest, INFLATE_BYTES))
            size += len(parts[-1])
            rest = stream.unconsumed_tail
            if size > MAX_BODY_BYTES or size > MAX_RATIO * max(len(content), INFLATE_BYTES):
                raise too_large()
    except zlib.error:
        raise _wrong("invalid_json", "The body is not gzip.") from None
    if not stream.eof or stream.unused_data:
        raise _wrong("invalid_json", "The gzip is cut, or something follows it.")
    return b"".join(parts)


def _parsed(query: bytes) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_PARAMETERS,
            errors="strict",
        )
    except ValueError:
        text = "The query is no UTF-8, or has too many parameters."
        raise _wrong("invalid_parameter", text) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise _wrong("invalid_parameter", f"{name}: it may come once.")
        found[name] = value
    return found


def _wrong(code: str, text: str) -> Invalid:
    return Invalid([Fault("", code, text)])
