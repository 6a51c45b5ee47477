"""What every call goes through: its bytes read, its caller known, its limits, its errors told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status

from gateway.grpc_service import faults
from gateway.grpc_service.account import Account
from kafkahub import config
from kafkahub.dispatch import as_trusted
from kafkahub.errors import Fault, HubError, Invalid, Unauthenticated
from kafkahub.limits.policies import ONE_REQUEST, Cost
from kafkahub.observability import logs, metrics
from subscriptions import sightings
from subscriptions.authentication import apart, chain
from subscriptions.grants import Principal

UNARY_S = 30.0
"""How long a call without a deadline of its own may take."""
DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

OK, BAD, NOT_FOUND = 200, 400, 404
STATUSES = {
    grpc.StatusCode.NOT_FOUND.value[0]: NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT.value[0]: BAD,
    grpc.StatusCode.PERMISSION_DENIED.value[0]: BAD,
    grpc.StatusCode.FAILED_PRECONDITION.value[0]: BAD,
    grpc.StatusCode.OUT_OF_RANGE.value[0]: BAD,
}
"""What the caller did wrong, as HTTP would say it; all else counts as answered."""
TOLD = ("x-forwarded-for", "client-cert")
"""What a proxy tells of a caller."""
STREAMS = frozenset({"Subscribe", "PublishStream", "ReceiveMessages"})

log = structlog.get_logger()
calls = metrics.counter("grpc_calls_total", "gRPC calls that ended.", ["method", "code"])
call_seconds = metrics.histogram("grpc_call_seconds", "Length of unary gRPC calls.", ["method"])

Given = TypeVar("Given", bound=Message)


class Context(Protocol):
    """What is used of grpc.aio's context, which carries no types for bytes."""

    def invocation_metadata(self) -> Sequence[tuple[str, Any]] | None: ...
    def peer(self) -> str: ...
    def time_remaining(self) -> float | None: ...
    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...
    async def abort(
        self, code: Any, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn: ...
    async def read(self) -> Any: ...
    async def write(self, message: Any) -> None: ...


@dataclass(slots=True)
class Call(Generic[Given]):
    """One call of somebody who is known.

    size  bytes of the request
    cost  what it was charged; its limits are told at the end
    """

    context: Context
    request: Given
    size: int
    principal: Principal
    given: "Metadata"
    cost: Cost = ONE_REQUEST


Work = Callable[[Call[Given]], Awaitable[Message]]
StreamWork = Callable[[Call[Given]], Awaitable[None]]


class Failed(Exception):
    """A call that ends with this status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class Front:
    """Receives calls. Lives on the event loop; credentials are verified in ``executor``."""

    def __init__(self, executor: Executor, account: Account) -> None:
        self.account = account
        self._executor = executor
        self._trusted = config.load().trusted_proxies

    def unary(self, name: str, kind: type[Given], work: Work[Given]) -> Any:
        """Return the handler of a method with one request and one answer."""

        async def handle(raw: bytes, context: Context) -> bytes:
            begun_s = time.perf_counter()
            given = Metadata(context, self._trusted)
            async with Told(context, name, given):
                answer = await self._in_time(raw, context, given, kind, work)
            call_seconds.labels(name).observe(time.perf_counter() - begun_s)
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def answering(self, name: str, kind: type[Given], work: StreamWork[Given]) -> Any:
        """Return the handler of a method with one request and a stream of answers."""

        async def handle(raw: bytes, context: Context) -> None:
            given = Metadata(context, self._trusted)
            async with Told(context, name, given):
                await work(await self._call(raw, context, given, kind))

        return grpc.unary_stream_rpc_method_handler(handle)

    def talking(self, name: str, kind: type[Given], work: StreamWork[Given]) -> Any:
        """Return the handler of a method that streams both ways; its call has no request yet."""

        async def handle(_: object, context: Context) -> None:
            given = Metadata(context, self._trusted)
            async with Told(context, name, given):
                await work(await self._call(b"", context, given, kind))

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _call(
        self, raw: bytes, context: Context, given: "Metadata", kind: type[Given]
    ) -> Call[Given]:
        principal = await self.principal(given)
        return Call(context, parse(raw, kind), len(raw), principal, given)

    async def principal(self, given: "Metadata", authorization: str | None = None) -> Principal:
        """Return who calls; memory tells where it can.

        authorization  another one than that of the metadata, to go on with
        Raises as ``chain.authenticate`` does; who is not known pays with the address.
        """
        header = authorization if authorization is not None else given.authorization
        given.who = chain.glance(header, given.address, given.agent, given.certificate)
        if given.who is not None:
            return given.who
        try:
            found = given.who = await asyncio.get_running_loop().run_in_executor(
                self._executor,
                apart.authenticate,
                header,
                given.address,
                given.agent,
                given.certificate,
            )
        except Unauthenticated:
            if refusal := self.account.stranger(given.address):
                raise refusal from None
            raise
        return found

    def admit(self, call: Call[Any], cost: Cost) -> None:
        """Charge what a call costs. Raises RateLimited, and charges nothing."""
        call.cost = cost
        self.account.enter(call.principal, call.given.address, cost)

    def trailing(self, call: Call[Any]) -> list[tuple[str, str]]:
        """Return what goes behind every answer."""
        told = self.account.headers(call.principal, call.cost)
        return [
            (REQUEST_ID_KEY, call.given.request_id),
            *((name.lower(), text) for name, text in told),
        ]

    async def _in_time(
        self,
        raw: bytes,
        context: Context,
        given: "Metadata",
        kind: type[Given],
        work: Work[Given],
    ) -> bytes:
        remaining_s = context.time_remaining()
        limit_s = UNARY_S if remaining_s is None else min(remaining_s, UNARY_S)
        try:
            async with asyncio.timeout(limit_s):
                call = await self._call(raw, context, given, kind)
                answer = await work(call)
        except TimeoutError:
            raise Failed(_late()) from None
        context.set_trailing_metadata(tuple(self.trailing(call)))
        return answer.SerializeToString()


class Metadata:
    """What a caller says of itself, and where it calls from.

    address      the caller's IP address, behind trusted proxies the one they tell
    certificate  the ``Client-Cert`` they tell, ``""`` for none
    who          None until it is known
    """

    __slots__ = (
        "address",
        "agent",
        "authorization",
        "begun_s",
        "certificate",
        "request_id",
        "who",
    )

    def __init__(self, context: Context, trusted: Any) -> None:
        self.begun_s = time.monotonic()
        self.who: Principal | None = None
        named: dict[str, list[str]] = {}
        for key, value in context.invocation_metadata() or ():
            if isinstance(value, str):
                named.setdefault(key, []).append(value)
        # Two of them are two credentials, which ``credentials.parse`` sees by the comma.
        given = named.get("authorization")
        self.authorization = ", ".join(given) if given else None
        self.agent = named.get("user-agent", [""])[0]
        self.request_id = logs.bind_request(named.get(REQUEST_ID_KEY, [""])[0])
        self.address, self.certificate = _caller(context.peer(), named, trusted)


async def hear(context: Context) -> bytes | None:
    """Return the next message of a client, None when it says no more; ``b""`` is a message."""
    raw = await context.read()
    return raw if isinstance(raw, bytes) else None  # grpc's end of stream is an object of its own


def parse(raw: bytes, kind: type[Given]) -> Given:
    """Return a message from its bytes. Raises Invalid."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        text = f"This is no {kind.DESCRIPTOR.name}."
        raise Invalid([Fault("", "invalid_parameter", text)]) from None


class Told:
    """Turns what goes wrong in a call into its status, counts it, and logs what is our fault."""

    __slots__ = ("_context", "_given", "_method")

    def __init__(self, context: Context, method: str, given: Metadata) -> None:
        self._context = context
        self._method = method
        self._given = given

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, asyncio.CancelledError):
            calls.labels(self._method, "OK" if error is None else "CANCELLED").inc()
            self._note(OK)
            return
        status = _status_of(error)
        self._note(STATUSES.get(status.code, OK), status.message)
        code = _CODES[status.code]
        calls.labels(self._method, code.name).inc()
        if code is grpc.StatusCode.INTERNAL:
            log.error("grpc.failed", method=self._method, exc_info=error)
        told = (
            (REQUEST_ID_KEY, self._given.request_id),
            (DETAILS_KEY, status.SerializeToString()),
        )
        await self._context.abort(code, status.message, told)

    def _note(self, status: int, asked: str = "") -> None:
        """Count the call, so that unusual use is told from it."""
        given = self._given
        if given.who is None:
            return
        answered = sightings.Answered(
            status=status,
            path=f"{self._method} {asked}",
            address=given.address,
            agent=given.agent,
            lasted_s=time.monotonic() - given.begun_s,
            is_stream=self._method in STREAMS,
        )
        sightings.process_sightings().answered(given.who, answered)


def _status_of(error: BaseException) -> Status:
    if isinstance(error, Failed):
        return error.status
    return faults.status_of(error) if isinstance(error, HubError) else faults.internal()


def _late() -> Status:
    number = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    return faults.status_of_end(number, "deadline_exceeded", "The call took too long.")


def _caller(peer: str, named: Mapping[str, list[str]], trusted: Any) -> tuple[str, str]:
    """Return the caller's IP address, ``""`` for one on a Unix socket, and its ``Client-Cert``.

    What only a trusted proxy may tell is believed from nobody else.
    """
    family, _, rest = unquote(peer).partition(":")
    if family not in {"ipv4", "ipv6"}:
        return "", ""
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    told = [(name, each) for name in TOLD for each in named.get(name, ())]
    if not told:
        return host, ""
    scope = {
        "client": (host, int(port) if port.isdigit() else 0),
        "headers": [(name.encode(), each.encode("latin-1", "replace")) for name, each in told],
    }
    client, headers = as_trusted(scope, trusted)
    certificate = dict(headers).get(TOLD[1].encode(), b"").decode("latin-1")
    return client[0] if client else "", certificate
