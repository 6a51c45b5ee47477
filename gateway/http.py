"""What every door of the gateway does with HTTP: read the head, say who it is, answer, refuse.

The doors are bare ASGI: no Django handler, no middleware. Queries of authentication run in a few
threads, so that the event loop never waits for PostgreSQL.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from gateway.frames import Message
from gateway.tickets import TicketDesk
from gateway.tolls import Tolls
from kafkahub import clock
from kafkahub.errors import Fault, HubError, Invalid, OriginNotAllowed, Unauthenticated
from kafkahub.problems import MEDIA_TYPE, describe
from subscriptions import cors
from subscriptions.authentication import apart, chain, ticket_cookie, verifiers
from subscriptions.authentication.tickets import Ticket, Use
from subscriptions.grants import Principal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Pairs = Sequence[tuple[str, str]]
Origins = Mapping[str, Collection[str]]
"""Allowed page origins by partner."""

MAX_PARAMETERS = 32


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one request, behind trusted proxies already.

    query       names and values in their order; none where it is garbled
    address     the caller's IP address, ``""`` where the server knows none
    is_garbled  the query is no UTF-8, or far too long a list
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Pairs
    address: str
    is_garbled: bool = False

    def header(self, name: str) -> str | None:
        """Return a header's value; one that came twice is joined by a comma."""
        return self.headers.get(name)

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def origin(self) -> str | None:
        return self.headers.get("origin")

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query, None where it is missing."""
        return next((value for key, value in self.query if key == name), None)


def request_of(scope: Scope) -> Request:
    """Return the head of an HTTP request or WebSocket handshake."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    query = _pairs(scope["query_string"])
    client = scope.get("client")
    return Request(
        method=scope.get("method", "GET"),
        path=scope["path"],
        headers=headers,
        query=query or (),
        address=client[0] if client else "",
        is_garbled=query is None,
    )


def _pairs(query: bytes) -> Pairs | None:
    """Return the names and values of a query, None where it cannot be read."""
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_PARAMETERS,
            errors="strict",
        )
    except ValueError:
        return None


def refuse_misplaced(request: Request) -> None:
    """Refuse a credential in the URL, other than a ticket; raise Unauthenticated with a hint."""
    if any(text.startswith(verifiers.FRONTS) for _, text in request.query):
        text = "A credential must not be in a URL; send it in the Authorization header."
        raise Unauthenticated(text)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is there; ``ticket`` is None for an API key."""

    principal: Principal
    ticket: Ticket | None = None


class Porter:
    """Says who a request comes from.

    Lives on the event loop; verification runs in ``executor``.

    tolls      an address pays for credentials that are refused
    is_secure  the installation has TLS, which decides the ticket cookie's name
    """

    def __init__(
        self, executor: Executor, desk: TicketDesk, tolls: Tolls, *, is_secure: bool
    ) -> None:
        self._executor = executor
        self._desk = desk
        self._tolls = tolls
        self._is_secure = is_secure

    async def visitor(
        self, request: Request, *, transport: str, topics: Sequence[str] | None
    ) -> Visitor:
        """Return who this is: by ``Authorization``, by a ticket in the URL, or in the cookie.

        transport  ``sse`` or ``ws``, as tickets name it
        topics     of the URL; None where they are named later

        Raises Unauthenticated, KeyExpired, OriginNotAllowed, RateLimited, Unavailable, and Invalid
        ``two_credentials`` or ``fixed_by_ticket``.
        """
        try:
            return await self._visitor(request, transport, topics)
        except Unauthenticated:
            self._tolls.stranger(request.address)
            raise

    async def _visitor(
        self, request: Request, transport: str, topics: Sequence[str] | None
    ) -> Visitor:
        authorization = request.header("authorization")
        in_url = request.parameter("ticket")
        cookie = ticket_cookie.read(request.header("cookie"), is_secure=self._is_secure)
        if authorization is not None and in_url is not None:
            fault = "There are a ticket and an Authorization header; send one."
            raise Invalid([Fault("", "two_credentials", fault)])
        text = in_url if in_url is not None else cookie
        if authorization is None and text is not None:
            use = Use(
                topics=topics,
                transport=transport,
                parameters=[name for name, _ in request.query],
                origin=request.origin,
                fetch_site=request.header("sec-fetch-site"),
                in_cookie=in_url is None,
            )
            now_ms = int(clock.now().timestamp() * 1000)
            ticket = await self._desk.admit(text, use, now_ms)
            return Visitor(ticket.principal, ticket)
        return Visitor(await self.authenticate(request))

    async def authenticate(self, request: Request) -> Principal:
        """Return whose API key this is; see ``chain.authenticate`` for what it raises.

        A thread only for a key that memory does not know: when thousands come back at once, threads
        would take turns with the loop.
        """
        agent = request.header("user-agent") or ""
        authorization = request.header("authorization")
        certificate = request.header("client-cert") or ""
        known = chain.glance(authorization, request.address, agent, certificate)
        if known is not None:
            return known
        return await asyncio.get_running_loop().run_in_executor(
            self._executor,
            apart.authenticate,
            authorization,
            request.address,
            agent,
            certificate,
        )


def cors_headers(
    request: Request, origins: Origins, partner: str | None, *, has_cookie: bool = False
) -> dict[str, str]:
    """Return the headers that let a page read an answer; none for a request without ``Origin``.

    partner  None while it is not known: then a page of any partner may read why

    Raises OriginNotAllowed for a page that may not.
    """
    if request.origin is None:
        return {}
    allowed = _all(origins) if partner is None else origins.get(partner, ())
    if cors.is_allowed(request.origin, allowed):
        return cors.answer_headers(request.origin, has_cookie=has_cookie)
    if request.header("sec-fetch-site") == "same-origin":
        return {}
    raise OriginNotAllowed


def any_origin_headers(request: Request) -> dict[str, str]:
    """Return the headers that let any page read an answer which tells nothing of anybody."""
    if request.origin is None:
        return {}
    return cors.answer_headers(request.origin, has_cookie=request.header("cookie") is not None)


def preflight_headers(request: Request, origins: Origins) -> dict[str, str]:
    """Return the headers of the 204 to a preflight. Raises OriginNotAllowed."""
    if request.origin is None or not cors.is_allowed(request.origin, _all(origins)):
        raise OriginNotAllowed
    return cors.preflight_headers(request.origin)


def _all(origins: Origins) -> set[str]:
    return {origin for allowed in origins.values() for origin in allowed}


async def answer(
    send: Send, status: int, headers: Mapping[str, str], body: bytes = b"", *, is_head: bool = False
) -> None:
    """Send one whole answer."""
    told = dict(headers)
    if body or status not in {204, 304}:
        told["Content-Length"] = str(len(body))
    await send({"type": "http.response.start", "status": status, "headers": encoded(told.items())})
    await send({"type": "http.response.body", "body": b"" if is_head else body})


async def problem(
    send: Send,
    error: HubError,
    request: Request,
    *,
    base_url: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer with the problem document of an error."""
    told = describe(error, base_url=base_url, instance=request.path, request_id=request.request_id)
    all_headers = {
        "Content-Type": MEDIA_TYPE,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **told.headers,
        **(headers or {}),
    }
    body = msgspec.json.encode(told.body)
    await answer(send, told.status, all_headers, body, is_head=request.method == "HEAD")


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI wants them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
