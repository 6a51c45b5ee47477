"""A stream that is read for one client alone, and what such a client says."""

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway import received
from gateway.frames import Beat, Message, State
from gateway.grpc_service import faults, front
from gateway.grpc_service.account import Given
from gateway.grpc_service.asked import wrong
from gateway.grpc_service.balance import Balance
from gateway.grpc_service.door import told
from gateway.grpc_service.front import Call, parse
from gateway.grpc_service.streams import DOOR, Parts, Stream
from gateway.hub.connections import Connection, ending
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub import clock
from kafkahub.errors import HubError, Invalid

RECORDS, BYTES = 500, 1024 * 1024
"""Of one message."""
WAIT_S = 5.0
"""Longest time without a look: in a group it is the instance's sign of life."""


class Reading(Stream):
    """A stream that is fed by reads of its own; it says itself where it stands."""

    def __init__(self, parts: Parts, call: "Call[pb.SubscribeRequest]", balance: Balance) -> None:
        super().__init__(parts, call, lambda: self.cursor)
        self.balance = balance
        self.cursor = ""
        self.is_behind = False
        self.is_stalled = False
        self.lag: tuple[int | None, float] = (None, 0.0)

    async def tell(self, payload: bytes) -> bool:
        """Send a message; False where the client takes nothing, and the stream ends."""
        try:
            async with asyncio.timeout(self._parts.hub.limits.write_deadline_s):
                await self.mailbox.send(told(payload))
        except TimeoutError:
            self.end(ending("slow_reader"))
            return False
        self.connection.last_write_s = time.monotonic()
        return True

    async def give(self, frames: Sequence[bytes], paid: Given) -> bool:
        """Send records, charge them, and wait where their reader is over its rate.

        Returns False as ``tell`` does.
        """
        if not await self.tell(received.events(frames, self.cursor)):
            return False
        wait_s = self._parts.front.account.gave(self.connection.principal, paid)
        if wait_s:  # in pieces, so that the end of the stream is seen
            await asyncio.sleep(min(wait_s, WAIT_S))
        return True

    def ready(self, lease_s: float | None = None) -> bytes:
        """Return the first message."""
        heartbeat_ms = int(self._parts.hub.limits.heartbeat_s * 1_000)
        ready = pb.Ready(
            session=self.connection.id,
            cursor=self.cursor,
            ack_lease=None if lease_s is None else faults.duration(int(lease_s * 1_000)),
            heartbeat=faults.duration(heartbeat_ms),
        )
        return pb.SubscribeResponse(ready=ready).SerializeToString()

    @property
    def is_open(self) -> bool:
        return self.connection.state in {"open", "paused"}

    def _heartbeat(self, connection: Connection, shared: dict[object, Message]) -> Message | None:  # noqa: ARG002 - the hub's shape
        state: State = "stalled" if self.is_stalled else "catching_up" if self.is_behind else "live"
        beat = Beat(clock.rfc3339(clock.now()), state, *self.lag)
        message = pb.SubscribeResponse.FromString(DOOR.heartbeat(beat, self.cursor))
        message.heartbeat.token_expires.FromMilliseconds(connection.principal.expires_at_ms)
        return told(message.SerializeToString())


async def hear(
    call: Call[pb.SubscribeRequest], stream: Reading, on_acks: Callable[[pb.AckSet], None]
) -> None:
    """Do what the client says, until it has nothing more to say."""
    while (raw := await front.hear(call.context)) is not None:
        try:
            request = parse(raw, pb.SubscribeRequest)
            match request.WhichOneof("kind"):
                case "credit":
                    stream.balance.add(request.credit)
                case "acks":
                    on_acks(request.acks)
                case "renew_token":
                    await stream.renew(request.renew_token)
                case "start":
                    raise Invalid([wrong("start", "The stream has started already.")])
                case None:
                    raise Invalid([wrong("kind", "The message says nothing.")])
        except HubError as error:
            stream.refuse(error)
            return
