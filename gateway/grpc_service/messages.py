"""``ReceiveMessages``: one topic as a plain stream, each record a message with its own cursor."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message as Proto

from gateway.asked import read_start
from gateway.frames import Beat, Closing, Gap, Message, Run, Text
from gateway.grpc_service.asked import check_topic
from gateway.grpc_service.door import END, ended, status_of
from gateway.grpc_service.front import Call
from gateway.grpc_service.streams import Parts, Stream, refuse_while_draining
from gateway.grpc_service.subscribe import now_ms, open_seat, tell_gaps
from gateway.hub.connections import Connection, Ending, Listener
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.stream import Wanted
from kafkahub.limits.policies import cost

LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class MessagesDoor:
    """How such a stream is told of records; a write holds several messages."""

    name: str = "grpc"
    text: Text = "protobuf"

    def records(self, runs: Sequence[Run]) -> bytes:
        return b"".join(_delimited(_message(one, run.token)) for run in runs for one in run.frames)

    def heartbeat(self, beat: Beat, token: str, *, retry_ms: int = 0) -> bytes:  # noqa: ARG002 - the door's shape; there are no heartbeats here
        return b""

    def gap(self, gap: Gap, token: str, *, hides_place: bool) -> bytes:  # noqa: ARG002 - a gap has no place here
        told = pb.ReceiveMessagesResponse(topic=gap.topic, cursor=token, gap=gap.reason)
        return _delimited(told)

    def closing(self, closing: Closing) -> bytes:  # noqa: ARG002 - the status says it
        return b""

    def error(self, code: str, detail: str, topic: str) -> bytes:  # noqa: ARG002 - there is no such message
        return b""

    def message(self, payload: bytes, *, is_last: bool = False) -> Message:  # noqa: ARG002 - the status is a message of its own
        return {"type": "grpc.messages", "body": payload}


def split(payload: bytes) -> list[bytes]:
    """Return the messages that a write holds."""
    found, at = [], 0
    while at < len(payload):
        size = int.from_bytes(payload[at : at + LENGTH_BYTES], "big")
        at += LENGTH_BYTES + size
        found.append(payload[at - size : at])
    return found


def _delimited(message: Proto) -> bytes:
    content = message.SerializeToString()
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def _message(frame: bytes, cursor: str) -> pb.ReceiveMessagesResponse:
    """Return a record as this door has it; names and values that are no UTF-8 lose what is not."""
    record = pb.Events.FromString(frame).records[0]
    return pb.ReceiveMessagesResponse(
        id=record.id,
        topic=record.topic,
        key=record.key.decode(errors="replace"),
        message=record.value,
        headers={one.key: one.value.decode(errors="replace") for one in record.headers},
        timestamp=record.timestamp if record.HasField("timestamp") else None,
        cursor=cursor,
    )


class _Stream(Stream):
    """Has no messages but records and gaps: its status says the rest."""

    def _messages(self, message: Message) -> Sequence[bytes]:
        return split(message["body"])

    def _closing(self, connection: Connection, why: Ending) -> Sequence[Message]:  # noqa: ARG002 - the hub's shape
        return [ended(status_of(why))]

    def _heartbeat(self, connection: Connection, shared: dict[object, Message]) -> Message | None:  # noqa: ARG002 - the hub's shape
        return None


class Messages:
    """Opens such streams. Lives on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._door = MessagesDoor()

    async def receive(self, call: Call[pb.ReceiveMessagesRequest]) -> None:
        """Serve one stream to its end."""
        refuse_while_draining(self._parts.hub)
        asked = call.request
        check_topic(asked.topic)
        self._parts.front.admit(call, cost(requests=1, bytes_in=call.size))
        wanted = Wanted(
            topics=(asked.topic,),
            text="protobuf",
            start=read_start(getattr(asked, "from") or None, None, now_ms()),
            cursor=asked.cursor or None,
            every=True,
        )
        opened = await open_seat(self._parts, call, wanted)
        listener: Listener
        stream = _Stream(self._parts, call, lambda: listener.cursor)
        listener = self._parts.streams.listener(opened, stream.connection, self._door)
        if asked.max_messages:
            listener.allowance = asked.max_messages
            listener.on_written = lambda one, _: self._count(stream, one)
        tell_gaps(stream, opened, self._door)
        self._parts.hub.attach(listener)
        await stream.follow(_nothing)

    def _count(self, stream: Stream, listener: Listener) -> None:
        if listener.allowance == 0:
            stream.end(END)


async def _nothing() -> None:
    """Hear nothing: the request was all that the client says."""
