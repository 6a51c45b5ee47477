"""How the hub speaks to a gRPC stream: messages of the contract, as bytes."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from gateway import received
from gateway.frames import Action, Beat, Closing, Gap, Message, Run, Text
from gateway.grpc_service import faults
from gateway.hub.connections import Ending
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb

BUFFER_BYTES = 1024 * 1024
"""Bytes that wait for a client, beside what HTTP/2 has taken."""

ACTIONS: Mapping[Action, pb.Action] = {
    "reconnect": pb.ACTION_RECONNECT,
    "backoff": pb.ACTION_BACKOFF,
    "stop": pb.ACTION_STOP,
}
ENDINGS: Mapping[str, int] = {
    "end": code_pb2.OK,
    "protocol_error": code_pb2.INVALID_ARGUMENT,
    "invalid_cursor": code_pb2.INVALID_ARGUMENT,
    "drain": code_pb2.UNAVAILABLE,
    "rotation": code_pb2.UNAVAILABLE,
    "moved": code_pb2.UNAVAILABLE,
    "unavailable": code_pb2.UNAVAILABLE,
    "overloaded": code_pb2.UNAVAILABLE,
    "token_expired": code_pb2.UNAUTHENTICATED,
    "revoked": code_pb2.PERMISSION_DENIED,
    "taken_over": code_pb2.ABORTED,
    "kicked": code_pb2.ABORTED,
    "grant_changed": code_pb2.ABORTED,
    "gap": code_pb2.OUT_OF_RANGE,
    "slow_reader": code_pb2.RESOURCE_EXHAUSTED,
    "quota_exceeded": code_pb2.RESOURCE_EXHAUSTED,
    "rate_limited": code_pb2.RESOURCE_EXHAUSTED,
}
"""The status that follows a closing, by its reason."""
END = Ending("end", "stop", 0, 0)
"""Why a stream ends that was asked to."""
RETRIED = frozenset({code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED})
"""Statuses that say when to come again."""


@dataclass(frozen=True, slots=True)
class GrpcDoor:
    """How streams are told of records; see ``frames.Door``."""

    name: str = "grpc"
    text: Text = "protobuf"

    def records(self, runs: Sequence[Run]) -> bytes:
        frames = [one for run in runs for one in run.frames]
        return received.events(frames, runs[-1].token)

    def heartbeat(self, beat: Beat, token: str, *, retry_ms: int = 0) -> bytes:  # noqa: ARG002 - the door's shape; a retry time is SSE's
        told = pb.Heartbeat(
            cursor=token,
            state=beat.state,
            lag_records=beat.lag_records,
            lag_seconds=round(beat.lag_seconds, 3),
        )
        return pb.SubscribeResponse(heartbeat=told).SerializeToString()

    def gap(self, gap: Gap, token: str, *, hides_place: bool) -> bytes:
        told = gap_of(gap, token, hides_place=hides_place)
        return pb.SubscribeResponse(gap=told).SerializeToString()

    def closing(self, closing: Closing) -> bytes:
        told = pb.Closing(
            reason=closing.reason,
            action=ACTIONS[closing.action],
            retry_after=faults.duration(closing.retry_ms),
            cursor=closing.cursor or "",
        )
        return pb.SubscribeResponse(closing=told).SerializeToString()

    def error(self, code: str, detail: str, topic: str) -> bytes:
        raise NotImplementedError(f"{code}: gRPC streams have no such message ({detail}, {topic})")

    def message(self, payload: bytes, *, is_last: bool = False) -> Message:  # noqa: ARG002 - the status is a message of its own
        return told(payload)


def told(payload: bytes) -> Message:
    """Return what goes into a mailbox to be sent."""
    return {"type": "grpc.message", "body": payload}


def ended(status: Status) -> Message:
    """Return what goes into a mailbox last."""
    return {"type": "grpc.end", "status": status, "body": b""}


def gap_of(gap: Gap, token: str, *, hides_place: bool) -> pb.Gap:
    """Return a gap as the contract has it; a filtered grant's has no place and no numbers."""
    message = pb.Gap(topic=gap.topic, reason=gap.reason, cursor=token)
    if not hides_place:
        if gap.partition is not None:
            message.partition = gap.partition
        if gap.start is not None:
            setattr(message, "from", gap.start)
        if gap.end is not None:
            message.to = gap.end
        if gap.lost is not None:
            message.lost = gap.lost
    return message


def status_of(why: Ending) -> Status:
    """Return the status that follows a closing."""
    number = ENDINGS[why.reason]
    retry_ms = why.retry_ms if number in RETRIED else None
    text = why.detail or f"The stream ended: {why.reason}."
    return faults.status_of_end(number, why.reason, text, retry_ms)


class Mailbox:
    """What waits to be sent on one stream; the outlet of its connection.

    Lives on the event loop. The hub puts in, the task of the call takes out.
    """

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self.aborted = asyncio.Event()

    def offer(self, message: Message) -> bool:
        """Take a message; False, and nothing is taken, where the buffer is full."""
        size = len(message["body"])
        if self._waiting and self._bytes + size > BUFFER_BYTES:
            self._room.clear()
            return False
        self._waiting.append(message)
        self._bytes += size
        self._more.set()
        return True

    async def send(self, message: Message) -> None:
        """Take a message once there is room."""
        while not self.offer(message):
            await self._room.wait()

    def abort(self) -> None:
        """Send nothing any more."""
        self.aborted.set()

    async def take(self) -> Message:
        """Return the next message. What was taken before it counts as sent."""
        while not self._waiting:
            self._more.clear()
            await self._more.wait()
        message = self._waiting.popleft()
        self._bytes -= len(message["body"])
        self._room.set()
        return message
