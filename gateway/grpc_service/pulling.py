"""``Receive``, ``Ack``, ``Seek`` and ``GetPositions``: records of a group, one call at a time."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gateway import received
from gateway.frames import Style
from gateway.grpc_service import faults
from gateway.grpc_service.acks import MAX_LEASE_S, MIN_LEASE_S, acts_of, failure_of
from gateway.grpc_service.asked import seconds_of, start_of, wanted_of, wrong
from gateway.grpc_service.door import gap_of
from gateway.grpc_service.front import Call, Front
from gateway.hub.audience import Spec
from gateway.hub.groups import RecordId
from gateway.hub.log import Part
from gateway.hub.place import Place
from gateway.hub.reads import Bounds, size_of
from gateway.leased import Given, Handed, Member, place_of
from gateway.leasing import Leasing
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.stream import Looked, Streams, Wanted
from gateway.topology import Topology
from kafkahub import clock
from kafkahub.errors import CursorExpired, Fault, Invalid, NotFound, RecordTooLarge
from kafkahub.kafka.record import Record
from kafkahub.limits.policies import cost
from subscriptions.audit import Actor, ActorKind
from subscriptions.grants import Principal
from subscriptions.pull.acks import Act
from subscriptions.pull.rows import Name

NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
LEASE_S = 60.0
CALLED_S = 300.0
"""How long an instance of calls lives without one."""
STREAMED_S = 30.0
"""How long an instance of a stream lives without a sign of its process."""
CALLER = "receive"
"""Name of the instance of calls that name none: all of them share one."""
RECORDS, MAX_RECORDS = 100, 1_000
BYTES, MAX_BYTES = 1024 * 1024, 3 * 1024 * 1024
MAX_WAIT_S = 30.0
ANSWER_S = 1.0
"""Kept of a call's time for the answer: leases of one that comes too late would be lost time."""
GIVEN_BYTES = 1_572_864
"""Key and value of the largest record that is given; of a larger one only the place is."""
LOOKED_S, MAX_LOOKED = 30.0, 1_000
MODES: Final = {
    pb.GROUP_MODE_UNSPECIFIED: "",
    pb.GROUP_MODE_ORDERED: "ordered",
    pb.GROUP_MODE_PARALLEL: "parallel",
}


class Asked(NamedTuple):
    """A start in a group, looked through."""

    wanted: Wanted
    group: str
    instance: str
    mode: str
    lease_s: float


class Pulling:
    """Serves groups. Lives on the event loop."""

    def __init__(
        self,
        front: Front,
        streams: Streams,
        topology: Topology,
        leasing: Leasing,
        record_id: RecordId,
    ) -> None:
        self.leasing = leasing
        self._front = front
        self._streams = streams
        self._topology = topology
        self._record_id = record_id
        self._looked: OrderedDict[tuple[str, bytes], tuple[Looked, float]] = OrderedDict()

    async def receive(self, call: Call[pb.ReceiveRequest]) -> pb.ReceiveResponse:
        """Hand records out, after waiting for the first one."""
        asked = call.request
        bounds, wait_s = bounds_of(asked), self._wait_s(call)
        start = asked_of(asked.start)
        self._front.admit(call, cost(requests=1, bytes_in=call.size))
        member = await self.member(call, start, asked.start, timeout_s=CALLED_S)
        handed = await self.leasing.receive(member, bounds, wait_s)
        if handed.gaps and asked.start.on_gap == pb.ON_GAP_FAIL:
            await self._give_back(member, handed)
            cursor = place_of(member, handed.after).token(member.tokens)
            raise CursorExpired({"topic": handed.gaps[0].topic}, cursor)
        style = member.spec().style
        frames = [self.frame(one, style, member.name.partner) for one in handed.given]
        self._front.account.gave(call.principal, shares(handed.given, frames))
        answer = pb.ReceiveResponse.FromString(b"".join(frames))
        answer.cursor = place_of(member, handed.after).token(member.tokens)
        answer.gaps.extend(
            gap_of(gap, answer.cursor, hides_place=style.hides_place) for gap in handed.gaps
        )
        await self._tell_lag(answer, member, handed.after)
        return answer

    async def _give_back(self, member: Member, handed: Handed) -> None:
        """Let what a failing call does not tell come again at once; the gap is passed."""
        acts = [Act(one.ack_id, "nack") for one in handed.given]
        if acts:
            await self.leasing.settle(member.name.partner, member.name.group, acts)

    async def ack(self, call: Call[pb.AckRequest]) -> pb.AckResponse:
        """Settle records, at whatever process they were handed out."""
        acts = acts_of(call.request.acks)
        name_of(call.request.group, "group")
        self._front.admit(call, cost(requests=1, bytes_in=call.size))
        failed = await self.settle(call.principal, call.request.group, acts)
        return pb.AckResponse(failed=failed)

    async def settle(
        self, principal: Principal, group: str, acts: Sequence[Act], spec: "SpecOf | None" = None
    ) -> list[pb.AckFailure]:
        """Do what acts say; return those that were not taken."""
        done = await self.leasing.settle(principal.partner, group, acts, spec)
        return [failure_of(one) for one in done]

    async def seek(self, call: Call[pb.SeekRequest]) -> pb.SeekResponse:
        """Move a group on some of its topics, or on all of them."""
        asked = call.request
        name_of(asked.group, "group")
        self._front.admit(call, cost(requests=1, bytes_in=call.size))
        if asked.to.WhichOneof("at") is None:
            raise Invalid([wrong("to", "Say where to go.")])
        partner = call.principal.partner
        before = await self.leasing.positions(partner, asked.group)
        topics = tuple(asked.topics) or tuple({topic for topic, _ in before})
        if not topics:
            raise NotFound
        begin, cursor = start_of(asked.to, now_ms(), "to")
        wanted = Wanted(topics=topics, text="protobuf", start=begin, cursor=cursor)
        looked = await self._streams.look(call.principal, wanted, is_live=False)
        wished = {part: at for part, at in looked.found.offsets.items() if part in before}
        await self.leasing.seek(partner, asked.group, wished)
        return pb.SeekResponse(
            before=token(looked, before), after=token(looked, {**before, **wished})
        )

    async def positions(self, call: Call[pb.GetPositionsRequest]) -> pb.GetPositionsResponse:
        """Tell where a group stands."""
        name_of(call.request.group, "group")
        self._front.admit(call, cost(requests=1, bytes_in=call.size))
        found = await self.leasing.positions(call.principal.partner, call.request.group)
        topics = tuple(sorted({topic for topic, _ in found}))
        if not topics:
            return pb.GetPositionsResponse()
        wanted = Wanted(topics=topics, text="protobuf")
        looked = await self._streams.look(call.principal, wanted, is_live=False)
        answer = pb.GetPositionsResponse(cursor=token(looked, found))
        ends = looked.found.ends.highs
        for topic in topics:
            own = {part: at for part, at in found.items() if part[0] == topic}
            behind = {part: ends[part] - at for part, at in own.items() if ends.get(part, 0) > at}
            lag_s = _age_s(await self.leasing.oldest_ms({part: own[part] for part in behind}))
            lag = None if looked.spec.style.hides_place else sum(behind.values())
            answer.topics.add(topic=topic, lag_records=lag, lag_seconds=lag_s)
        return answer

    async def member(
        self,
        call: "Call[pb.ReceiveRequest] | Call[pb.SubscribeRequest]",
        asked: Asked,
        start: pb.Start,
        *,
        timeout_s: float,
        session: str = "",
    ) -> Member:
        """Return who reads in a group; what it may see is asked anew for every read."""
        principal = call.principal
        looked = await self._look(principal, asked.wanted, start)
        actor = Actor(
            kind=ActorKind.KEY,
            id=principal.id,
            partner=principal.partner,
            address=call.given.address or None,
            request_id=call.given.request_id,
        )
        return Member(
            actor=actor,
            name=Name(principal.partner, asked.group, asked.instance),
            mode=asked.mode,
            spec=lambda: self._streams.spec(call.principal, asked.wanted),
            tokens=looked.tokens,
            found=looked.found,
            lease_s=asked.lease_s,
            timeout_s=timeout_s,
            session=session,
        )

    def frame(self, given: Given, style: Style, partner: str) -> bytes:
        """Return a record that is handed out, as one entry of ``Events.records``."""
        record = given.record
        own = self._record_id(record, partner) if style.hides_place else ""
        tail = received.leased(given.ack_id, given.attempt)
        if size_of(record) > GIVEN_BYTES:
            text = f"The record has more than {GIVEN_BYTES} bytes; REST gives it."
            fault = pb.ReceivedRecord(error=faults.status_of(RecordTooLarge(text)))
            tail += fault.SerializeToString()
            record = Record(
                record.topic, record.partition, record.offset, record.timestamp_ms, None, None
            )
        return received.received(record, own, tail)

    async def _look(self, principal: Principal, wanted: Wanted, start: pb.Start) -> Looked:
        """Return where the topics begin and end; asked of Kafka twice a minute for equal starts."""
        self._streams.authorize(principal, wanted.topics)
        key = (principal.partner, start.SerializeToString(deterministic=True))
        known = self._looked.get(key)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        looked = await self._streams.look(principal, wanted, is_live=False)
        self._looked[key] = (looked, time.monotonic() + LOOKED_S)
        if len(self._looked) > MAX_LOOKED:
            self._looked.popitem(last=False)
        return looked

    def _wait_s(self, call: Call[pb.ReceiveRequest]) -> float:
        wait_s = seconds_of(call.request.wait)
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise Invalid([wrong("wait", f"It is 0 to {MAX_WAIT_S:g} s.")])
        remaining_s = call.context.time_remaining()
        limit_s = MAX_WAIT_S if remaining_s is None else min(remaining_s, MAX_WAIT_S)
        return max(0.0, min(wait_s, limit_s - ANSWER_S))

    async def _tell_lag(
        self, answer: pb.ReceiveResponse, member: Member, after: Mapping[Part, int]
    ) -> None:
        """Add how far behind the answer is, by ends that are at most 5 s old."""
        behind = await self._behind(member, after)
        if not member.spec().style.hides_place:
            answer.lag_records = sum(behind.values())
        if behind and answer.records:
            answer.lag_seconds = age_s(answer.records[0])

    async def lag(
        self, member: Member, positions: Mapping[Part, int], last: Record | None
    ) -> tuple[int | None, float]:
        """Return how far behind positions are, in records and seconds.

        last  what was handed out just now, whose time is near enough; None: Kafka is asked

        Records are None where the grant hides some. Raises Unavailable.
        """
        behind = await self._behind(member, positions)
        stamp = None if last is None else last.timestamp_ms
        if behind and stamp is None:
            stamp = await self.leasing.oldest_ms({part: positions[part] for part in behind})
        lag_s = _age_s(stamp) if behind else 0.0
        return (None if member.spec().style.hides_place else sum(behind.values())), lag_s

    async def _behind(self, member: Member, positions: Mapping[Part, int]) -> dict[Part, int]:
        """Return by partition how many records are behind a position, where there are any."""
        behind: dict[Part, int] = {}
        for topic in member.spec().topics:
            marks = await self._topology.marks(topic)
            for (name, number), at in positions.items():
                if name == topic and number in marks and marks[number][1] > at:
                    behind[name, number] = marks[number][1] - at
        return behind


SpecOf = Callable[[], Spec]


def shares(given: Sequence[Given], frames: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    """Yield what each record that is handed out costs its reader, by topic."""
    for one, frame in zip(given, frames, strict=True):
        yield one.record.topic, len(frame)


def token(looked: Looked, positions: dict[Part, int]) -> str:
    """Return positions as a cursor; where there is none, it is where Kafka begins."""
    lows = looked.found.ends.lows
    offsets = {part: positions.get(part, low) for part, low in lows.items()}
    return Place(offsets, now_ms()).token(looked.tokens)


def asked_of(start: pb.Start) -> Asked:
    """Return what a start in a group asks for. Raises Invalid."""
    if not start.group:
        raise Invalid([wrong("start/group", "Receive reads in a group; name one.")])
    lease_s = seconds_of(start.ack_lease) if start.HasField("ack_lease") else LEASE_S
    faults_of = []
    if not MIN_LEASE_S <= lease_s <= MAX_LEASE_S:
        text = f"It is {MIN_LEASE_S:g} to {MAX_LEASE_S:g} s."
        faults_of.append(wrong("start/ack_lease", text))
    faults_of += _name_faults(start.group, "start/group")
    faults_of += _name_faults(start.instance or CALLER, "start/instance")
    if faults_of:
        raise Invalid(faults_of)
    wanted = wanted_of(start, now_ms())
    return Asked(wanted, start.group, start.instance or CALLER, MODES[start.mode], lease_s)


def bounds_of(asked: pb.ReceiveRequest) -> Bounds:
    """Return how much a Receive gives at most. Raises Invalid."""
    records, size = asked.max_records or RECORDS, asked.max_bytes or BYTES
    if records > MAX_RECORDS:
        raise Invalid([wrong("max_records", f"It is 1 to {MAX_RECORDS}.")])
    if size > MAX_BYTES:
        raise Invalid([wrong("max_bytes", f"It is 1 to {MAX_BYTES}.")])
    return Bounds(max_records=records, max_bytes=size)


def name_of(text: str, field: str) -> str:
    """Return the name of a group. Raises Invalid."""
    if found := _name_faults(text, field):
        raise Invalid(found)
    return text


def _name_faults(text: str, field: str) -> list[Fault]:
    if NAME.fullmatch(text):
        return []
    return [wrong(field, "A name has 1 to 200 of A-Z, a-z, 0-9, `.`, `_` and `-`.")]


def _age_s(stamp_ms: int | None) -> float:
    """Return how long ago a time is; 0.0 for none."""
    if stamp_ms is None:
        return 0.0
    return max(0.0, round(clock.now().timestamp() - stamp_ms / 1_000, 3))


def age_s(record: pb.ReceivedRecord) -> float:
    """Return how old a record is."""
    seconds = record.timestamp.seconds + record.timestamp.nanos / 1e9
    return max(0.0, round(clock.now().timestamp() - seconds, 3)) if seconds else 0.0


def now_ms() -> int:
    return int(clock.now().timestamp() * 1_000)
