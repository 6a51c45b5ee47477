"""Who answers a request of the web process, and what every answer carries.

Gives every request its id and its access line, answers the probes from memory, and hands all else
to Django. Wire protocols that must not pay for Django's handler take their paths here.
"""

import functools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog

from kafkahub.hosts import IsOurs, is_addressed
from kafkahub.observability import health, logs, metrics

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Networks = tuple[IPv4Network | IPv6Network, ...]

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
MAX_URL_BYTES = 8_192
"""Longest path and query; every one of ours is far shorter."""

FORWARDED = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"forwarded",
        b"client-cert",  # RFC 9440
        b"client-cert-chain",
    }
)
"""Headers that only a trusted proxy may set."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are a label of their own; whatever else is sent counts as ``other``."""

Log = structlog.typing.FilteringBoundLogger

log = structlog.get_logger()
requests = metrics.counter(
    "requests_total", "Requests answered, by door, method and status.", ["door", "method", "status"]
)
request_seconds = metrics.histogram(
    "request_seconds", "Time from a request's head to its whole answer.", ["door"]
)


class Companion(Protocol):
    """Something that runs as long as the process serves, in threads of its own."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End, within some seconds."""


class Doors(Protocol):
    """Wire protocols that speak bare ASGI; see ``gateway.app``."""

    def takes(self, path: str) -> bool:
        """Return whether a path is theirs."""

    async def start(self) -> None:
        """Begin; may be called once."""

    async def stop(self) -> None:
        """End, within some seconds."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request, or serve one WebSocket."""


SERVER_SEND = "kafkahub.server_send"
"""Key of a door's scope under which the server's own ``send`` stands.

A door that writes bodies by the thousand uses it past the exchange, which needs the head only.
"""


ANSWER = "kafkahub.answer"
"""Key of a scope under which stands what writes a whole answer at once: status, headers, body.

``gateway.server`` puts it there; a door whose answers are small saves two messages by it.
"""
Headers = list[tuple[bytes, bytes]]
Answer = Callable[[int, Headers, bytes], Awaitable[None]]

WHO = "kafkahub.who"
"""Key of a scope under which doors leave the principal of its request, once it is known."""

OnAnswered = Callable[[Scope, int, float], None]
"""Told of each answer: the scope, the status, how long it took in s. Must not wait."""


class Application:
    """Dispatches the requests of one web process.

    Runs   on the server's event loop; the watch and the companions in threads of their own
    Ends   with the lifespan: the companions, last started first, and the watch are stopped

    is_ours  tells of a ``Host`` whether we answer by that name; probes are answered by any
    """

    def __init__(
        self,
        django: Asgi,
        watch: health.Watch,
        *,
        trusted: Networks,
        public_host: str,
        is_ours: IsOurs = lambda _: True,
        companions: Sequence[Companion] = (),
        doors: Doors | None = None,
        on_answered: OnAnswered | None = None,
    ) -> None:
        self._django = django
        self._on_answered = on_answered
        self._doors = doors
        self._watch = watch
        self._companions = companions
        self._trusted = trusted
        self._public_host = public_host
        self._is_ours = is_ours
        # Bound once: the module's own is bound anew for each line, also for one nobody writes.
        self._log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._websocket(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._watch.start()
        for companion in self._companions:
            companion.start()
        if self._doors is not None:
            await self._doors.start()
        log.info("web.started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._doors is not None:
            await self._doors.stop()
        for companion in reversed(self._companions):
            companion.stop()
        self._watch.stop()
        log.info("web.stopped")
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_probe = scope["path"] in PROBES
        is_internal = is_probe and self._is_internal(scope)
        given: list[object] = scope["headers"]
        scope["client"], scope["headers"] = as_trusted(scope, self._trusted)
        if is_probe:
            scope.pop(ANSWER, None)
            await self._probe(scope, send, is_internal=is_internal)
            return
        request_id = _identify(scope)
        exchange = Exchange(scope, send, request_id, self._log)
        try:
            if not is_addressed(scope, self._is_ours):
                await reply(
                    exchange.send, 400, b'{"status":400,"title":"Bad Request"}', closes=True
                )
            elif len(scope.get("raw_path", b"")) + len(scope["query_string"]) > MAX_URL_BYTES:
                await reply(exchange.send, 414, b'{"status":414,"title":"URI Too Long"}')
            elif scope["path"] == "/" and b"text/html" not in _accept(scope):
                await reply(exchange.send, 200, b"{}", "application/json")
            elif self._doors is not None and self._doors.takes(scope["path"]):
                scope[SERVER_SEND] = send
                given.clear()  # the server's own list would stay as long as the stream
                await self._doors(scope, receive, exchange.send)
            else:
                await self._django(scope, receive, exchange.send)
        finally:
            exchange.tell()
            if self._on_answered is not None:
                self._on_answered(scope, exchange.status, exchange.duration_s)
            logs.unbind_request()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket; on a path that is nobody's, its handshake gets 403."""
        is_taken = self._doors is not None and self._doors.takes(scope["path"])
        if self._doors is None or not is_taken or not is_addressed(scope, self._is_ours):
            await send({"type": "websocket.close", "code": 1000})
            return
        scope["client"], scope["headers"] = as_trusted(scope, self._trusted)
        _identify(scope)
        try:
            await self._doors(scope, receive, send)
        finally:
            logs.unbind_request()

    async def _probe(self, scope: Scope, send: Send, *, is_internal: bool) -> None:
        path = scope["path"] if is_internal or scope["path"] != "/metrics" else "/"
        answer = health.answer(path, self._watch, with_parts=is_internal)
        await reply(send, answer.status, answer.body, answer.content_type)

    def _is_internal(self, scope: Scope) -> bool:
        """Return whether the caller came past the public door: not forwarded, from near, by
        another name than the public one. Only such a caller sees numbers and parts.
        """
        if any(name in FORWARDED for name, _ in scope["headers"]) or not scope.get("client"):
            return False
        host = urlsplit(f"//{header(scope, b'host') or ''}").hostname
        peer = ip_address(scope["client"][0])
        return peer.is_loopback or (peer.is_private and host != self._public_host)


def _accept(scope: Scope) -> bytes:
    """Return what the caller accepts; browsers name HTML, and clients of Kafka proxies do not."""
    return b",".join(value for name, value in scope["headers"] if name == b"accept")


class Exchange:
    """One request and its answer: adds the request id to the one, tells of both at the end."""

    __slots__ = (
        "_answer",
        "_begun",
        "_body_bytes",
        "_log",
        "_request_id",
        "_scope",
        "_send",
        "duration_s",
        "status",
    )

    def __init__(self, scope: Scope, send: Send, request_id: str, log: Log) -> None:
        self._scope = scope
        self._send = send
        self._log = log
        self._request_id = request_id.encode()
        # What is in the scope refers to it in turn: without ``tell`` only the collector frees both.
        self._answer: Answer | None = scope.pop(ANSWER, None)
        if self._answer is not None:
            scope[ANSWER] = self.answer
        self._begun = time.perf_counter()
        self._body_bytes = 0
        self.status = 0
        self.duration_s = 0.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message.get("headers", [])
            kept = [pair for pair in given if pair[0].lower() != b"x-request-id"]
            message = {**message, "headers": [*kept, (b"x-request-id", self._request_id)]}
        else:
            self._body_bytes += len(message.get("body", b""))
        await self._send(message)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer of a door of ours, which never gives an id itself."""
        if self._answer is None:
            raise RuntimeError("the server writes no whole answers")  # a bug: the scope has none
        self.status = status
        self._body_bytes = len(body)
        headers.append((b"x-request-id", self._request_id))
        await self._answer(status, headers, body)

    def tell(self) -> None:
        self._scope.pop(ANSWER, None)
        self.duration_s = time.perf_counter() - self._begun
        method = self._scope["method"]
        labels = ("web", method if method in METHODS else "other", str(self.status))
        _counted(*labels).inc()
        _timed.observe(self.duration_s)
        self._log.info(
            "request.answered",
            method=method,
            path=self._scope["path"],
            status=self.status,
            duration_ms=round(self.duration_s * 1000, 1),
            body_bytes=self._body_bytes,
            address=self._scope["client"][0] if self._scope.get("client") else None,
        )


_counted = functools.lru_cache(maxsize=500)(requests.labels)
"""The counter of some labels; looking one up costs more than counting."""
_timed = request_seconds.labels("web")


def _identify(scope: Scope) -> str:
    """Bind the id of a request or WebSocket to its log lines, and put it into its headers."""
    headers = scope["headers"]
    given = [pair[1] for pair in headers if pair[0] == b"x-request-id"]
    request_id = logs.bind_request(given[0].decode("latin-1") if len(given) == 1 else None)
    if given:
        headers = [pair for pair in headers if pair[0] != b"x-request-id"]
    headers.append((b"x-request-id", request_id.encode()))
    scope["headers"] = headers
    return request_id


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    """Return the value of a header that stands there exactly once, else None."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def as_trusted(
    scope: Mapping[str, Any], trusted: Networks
) -> tuple[tuple[str, int] | None, list[tuple[bytes, bytes]]]:
    """Return the caller's address and the headers that may be believed.

    Behind a trusted proxy the caller is the last address in ``X-Forwarded-For`` that is no trusted
    proxy itself. From anybody else these headers are taken away.
    """
    client, headers = scope.get("client"), scope["headers"]
    if not client or not _is_in(client[0], trusted):
        return client, [pair for pair in headers if pair[0] not in FORWARDED]
    forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    for hop in reversed(forwarded.decode("latin-1").split(",")):
        address = hop.strip()
        if not _is_address(address):
            break
        client = (address, 0)
        if not _is_in(address, trusted):
            break
    return client, list(headers)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: Networks) -> bool:
    return (
        bool(networks)
        and _is_address(address)
        and any(ip_address(address) in network for network in networks)
    )


async def reply(
    send: Send,
    status: int,
    body: bytes,
    content_type: str = "application/problem+json",
    *,
    closes: bool = False,
) -> None:
    """Send one whole answer; ``closes`` the connection behind it."""
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *([(b"connection", b"close")] if closes else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
