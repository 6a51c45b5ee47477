"""``Subscribe`` without a group: the hub's records as they come, nothing kept for the client."""

from collections.abc import Awaitable, Callable

import structlog

from gateway import metrics
from gateway.frames import Door
from gateway.grpc_service import faults
from gateway.grpc_service.asked import wanted_of, wrong
from gateway.grpc_service.balance import check_credit, counted, raised
from gateway.grpc_service.door import told
from gateway.grpc_service.front import Call, hear, parse
from gateway.grpc_service.streams import DOOR, Parts, Stream, first, refuse_while_draining
from gateway.hub.connections import Listener, ending
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.stream import Opened, Wanted
from kafkahub import clock
from kafkahub.errors import HubError, Invalid
from kafkahub.limits.policies import cost

Bounded = Callable[[Call[pb.SubscribeRequest], pb.Start], Awaitable[None]]
"""Serves a start that the hub cannot: in a group, or with an end."""

log = structlog.get_logger()


class Subscribing:
    """Opens streams. Lives on the event loop.

    grouped  serves a start with a group
    until    serves one that ends by itself
    """

    def __init__(self, parts: Parts, grouped: Bounded, until: Bounded) -> None:
        self._parts = parts
        self._grouped = grouped
        self._until = until

    async def subscribe(self, call: Call[pb.SubscribeRequest]) -> None:
        """Serve one stream to its end."""
        start = await first(call)
        refuse_while_draining(self._parts.hub)
        self._parts.front.admit(call, cost(requests=1, bytes_in=call.size))
        check_credit(start)
        if start.group:
            await self._grouped(call, start)
        elif start.HasField("until"):
            await self._until(call, start)
        else:
            await self._live(call, start)

    async def _live(self, call: Call[pb.SubscribeRequest], start: pb.Start) -> None:
        wanted = wanted_of(start, now_ms())
        opened = await open_seat(self._parts, call, wanted)
        # The closing asks it where it stands; it is there before anything can end.
        listener: Listener
        stream = Stream(self._parts, call, lambda: listener.cursor)
        listener = self._parts.streams.listener(opened, stream.connection, DOOR)
        listener.allowance, listener.bytes_left = counted(start)
        stream.mailbox.offer(told(self._ready(stream, opened)))
        tell_gaps(stream, opened)
        self._parts.hub.attach(listener)
        if opened.gaps and opened.on_gap_fail:
            stream.end(ending("gap"))
        log.info("stream.opened", stream=stream.connection.id, topics=opened.spec.topics)
        await stream.follow(lambda: self._hear(call, stream, listener))

    def _ready(self, stream: Stream, opened: Opened) -> bytes:
        heartbeat_ms = int(self._parts.hub.limits.heartbeat_s * 1_000)
        ready = pb.Ready(
            session=stream.connection.id,
            cursor=opened.before or opened.token,
            heartbeat=faults.duration(heartbeat_ms),
        )
        return pb.SubscribeResponse(ready=ready).SerializeToString()

    async def _hear(
        self, call: Call[pb.SubscribeRequest], stream: Stream, listener: Listener
    ) -> None:
        """Do what the client says, until it has nothing more to say."""
        while (raw := await hear(call.context)) is not None:
            try:
                request = parse(raw, pb.SubscribeRequest)
                await self._do(request, stream, listener)
            except HubError as error:
                stream.refuse(error)
                return

    async def _do(self, request: pb.SubscribeRequest, stream: Stream, listener: Listener) -> None:
        match request.WhichOneof("kind"):
            case "credit":
                listener.allowance, listener.bytes_left = raised(
                    listener.allowance, listener.bytes_left, request.credit
                )
                self._parts.hub.resume(listener)
            case "acks":
                failed = [unknown(ack_id) for ack_id in ids_of(request.acks)]
                failures = pb.SubscribeResponse(ack_failures=pb.AckFailures(failed=failed))
                await stream.mailbox.send(told(failures.SerializeToString()))
            case "renew_token":
                await stream.renew(request.renew_token)
            case "start":
                raise Invalid([wrong("start", "The stream has started already.")])
            case None:
                raise Invalid([wrong("kind", "The message says nothing.")])


async def open_seat(
    parts: Parts, call: Call[pb.SubscribeRequest] | Call[pb.ReceiveMessagesRequest], wanted: Wanted
) -> Opened:
    """Return a seat, counted as an open stream of its principal."""
    parts.gate.admit(call.principal, call.given.address)
    try:
        return await parts.streams.open(call.principal, wanted)
    except BaseException:
        parts.gate.leave(call.principal, call.given.address)
        raise


def tell_gaps(stream: Stream, opened: Opened, door: Door = DOOR) -> None:
    """Say what is missing; the cursor passes a gap with the last one."""
    for number, gap in enumerate(opened.gaps, 1):
        is_last = number == len(opened.gaps)
        token = opened.token if is_last else opened.before or opened.token
        hides = opened.spec.style.hides_place
        stream.mailbox.offer(door.message(door.gap(gap, token, hides_place=hides)))
        metrics.gaps.labels(gap.reason).inc()


def ids_of(acks: pb.AckSet) -> list[bytes]:
    """Return every ``ack_id`` that a set names."""
    others = (
        [one.ack_id for one in acks.nack],
        [one.ack_id for one in acks.extend],
        [one.ack_id for one in acks.reject],
    )
    return [*acks.ack, *(ack_id for ids in others for ack_id in ids)]


def unknown(ack_id: bytes) -> pb.AckFailure:
    """Return the failure of an id that is none of ours."""
    status = faults.status_of_ack("UNKNOWN_ACK_ID", "No record was given under this ack_id.")
    return pb.AckFailure(ack_id=ack_id, status=status)


def now_ms() -> int:
    return int(clock.now().timestamp() * 1_000)
