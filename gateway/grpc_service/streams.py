"""What every stream of a call has: its start, its connection, its writing, its end."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from gateway import metrics
from gateway.frames import Closing, Message
from gateway.gate import Gate
from gateway.grpc_service import faults
from gateway.grpc_service.asked import wrong
from gateway.grpc_service.door import GrpcDoor, Mailbox, ended, status_of, told
from gateway.grpc_service.front import Call, Failed, Front, hear, parse
from gateway.hub.connections import Connection, Ending, ending
from gateway.hub.fanout import Hub
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.stream import Streams
from kafkahub import clock
from kafkahub.errors import HubError, Invalid, Unauthenticated, Unavailable
from subscriptions.grants import Principal

START_S = 10.0
"""How long the first message may take."""
DOOR = GrpcDoor()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What streams of a process share; ``max_age_s`` 0 for no rotation."""

    front: Front
    hub: Hub
    streams: Streams
    gate: Gate
    max_age_s: float


class Stream:
    """One open stream of a call.

    Runs   in the task of its call; ``follow`` writes until the end
    Owns   its connection and mailbox
    Ends   when the hub says so, the client is gone, or it takes nothing

    cursor_of  returns where it resumes
    """

    def __init__(self, parts: Parts, call: Call[Any], cursor_of: Callable[[], str]) -> None:
        self.mailbox = Mailbox()
        self.fault: HubError | None = None
        self._parts = parts
        self._call = call
        self._cursor_of = cursor_of
        self._payer = call.principal
        self.connection = Connection(
            call.principal,
            self.mailbox,
            DOOR.name,
            closing=self._closing,
            heartbeat=self._heartbeat,
        )
        self.connection.address = call.given.address
        self.connection.agent = call.given.agent
        age_s = parts.max_age_s * random.uniform(0.8, 1.2)  # noqa: S311 - spreads rotations
        self._rotates_s = self.connection.opened_s + age_s if age_s else float("inf")
        self._end_with(call.principal)

    def end(self, why: Ending, fault: HubError | None = None) -> None:
        """End it: the closing, then the status; that of ``fault`` where there is one."""
        self.fault = fault
        with_rest = fault is None and why.reason != "gap"
        self._parts.hub.end(self.connection, why, with_rest=with_rest)

    def refuse(self, error: HubError) -> None:
        """End it for what its client did."""
        self.end(ending("protocol_error", error.detail), error)

    async def renew(self, token: str) -> None:
        """Go on with another credential of the same partner, or end."""
        try:
            principal = await self._parts.front.principal(self._call.given, f"Bearer {token}")
            if principal.partner != self.connection.principal.partner:
                raise Unauthenticated("The credential is not accepted.")
            for listener in self.connection.listeners:
                self._parts.streams.authorize(principal, listener.spec.topics)
        except HubError as error:
            self.refuse(error)
            return
        self.connection.principal = principal
        self._end_with(principal)

    async def follow(self, hear: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Write what comes until the end, while ``hear`` listens to the client.

        Raises Failed with the status of the end; returns for the one that is good.
        """
        parts, begun_s = self._parts, self._call.given.begun_s
        parts.hub.open(self.connection)
        metrics.open_seconds.observe(time.monotonic() - begun_s)
        work = [
            asyncio.create_task(self._write(), name="grpc-write"),
            asyncio.create_task(self.mailbox.aborted.wait(), name="grpc-abort"),
        ]
        hearing = asyncio.create_task(hear(), name="grpc-hear")
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*work, hearing):
                task.cancel()
            await asyncio.gather(*work, hearing, return_exceptions=True)
            self._leave()
        if work[0] not in done:
            raise Failed(status_of(ending("slow_reader")))
        status = work[0].result()
        if isinstance(status, Status) and status.code != code_pb2.OK:
            raise Failed(status)

    def leave_unopened(self) -> None:
        """Give back what ``admit`` counted, where it was never opened."""
        self._parts.gate.leave(self._payer, self.connection.address)

    def _leave(self) -> None:
        connection = self.connection
        listeners = list(connection.listeners)
        self._parts.hub.forget(connection)
        self.leave_unopened()
        log.info(
            "stream.closed",
            stream=connection.id,
            reason=connection.reason,
            records=sum(one.records for one in listeners),
            bytes=sum(one.bytes for one in listeners),
            paused_ms=connection.paused_ms,
        )

    async def _write(self) -> Status:
        while True:
            message = await self.mailbox.take()
            if message["type"] == "grpc.end":
                status: Status = message["status"]
                return status
            for each in self._messages(message):
                await self._call.context.write(each)

    def _messages(self, message: Message) -> Sequence[bytes]:
        """Return what a message of the hub is on the wire."""
        return (message["body"],)

    def _end_with(self, principal: Principal) -> None:
        """Let it end by its age, or with its credential if that is sooner."""
        left_s = principal.expires_at_ms / 1_000 - clock.now().timestamp()
        self.connection.ends_s, self.connection.ends_reason = self._rotates_s, "rotation"
        reason = "revoked" if principal.kind == "key" else "token_expired"
        self.connection.ends_at(time.monotonic() + left_s, reason)

    def _closing(self, connection: Connection, why: Ending) -> Sequence[Message]:  # noqa: ARG002 - the hub's shape
        cursor = None if why.reason == "revoked" else self._cursor_of()
        last = Closing(why.reason, why.action, why.retry_ms, 0, cursor=cursor, detail=why.detail)
        status = status_of(why) if self.fault is None else faults.status_of(self.fault)
        return [told(DOOR.closing(last)), ended(status)]

    def _heartbeat(self, connection: Connection, shared: dict[object, Message]) -> Message | None:  # noqa: ARG002 - the hub's shape
        if not connection.listeners:
            return None
        listener = connection.listeners[0]
        beat = self._parts.hub.beat(listener)
        message = pb.SubscribeResponse.FromString(DOOR.heartbeat(beat, listener.cursor))
        expires_ms = connection.principal.expires_at_ms
        message.heartbeat.token_expires.FromMilliseconds(expires_ms)
        return told(message.SerializeToString())


async def first(call: Call[pb.SubscribeRequest]) -> pb.Start:
    """Return the start that a stream begins with. Raises Invalid."""
    try:
        async with asyncio.timeout(START_S):
            raw = await hear(call.context)
    except TimeoutError:
        raise Invalid([wrong("start", f"No start came within {START_S:g} s.")]) from None
    request = parse(raw, pb.SubscribeRequest) if raw else pb.SubscribeRequest()
    if request.WhichOneof("kind") != "start":
        raise Invalid([wrong("start", "The first message is a start.")])
    call.size = len(raw or b"")
    return request.start


def refuse_while_draining(hub: Hub) -> None:
    """Raise Unavailable once the process is about to end."""
    if hub.is_draining:
        raise Unavailable("The server restarts.", retry_after_s=1)
