"""``Subscribe`` in a group: one session, its leases, and what its client says of them."""

import asyncio
import time
from contextlib import suppress
from uuid import uuid4

import structlog

from gateway.grpc_service.acks import acts_of
from gateway.grpc_service.asked import wrong
from gateway.grpc_service.balance import Balance
from gateway.grpc_service.door import told
from gateway.grpc_service.front import Call
from gateway.grpc_service.pulling import STREAMED_S, Pulling, asked_of, shares
from gateway.grpc_service.reading import BYTES, RECORDS, WAIT_S, Reading, hear
from gateway.grpc_service.streams import DOOR, Parts
from gateway.hub.connections import ending
from gateway.hub.log import Part
from gateway.hub.reads import Bounds, size_of
from gateway.leased import Handed, Member, place_of
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub.errors import Conflict, Forbidden, HubError, Invalid, NotFound, Unavailable
from subscriptions.pull.acks import Act
from subscriptions.pull.leases import TakenOver
from subscriptions.pull.rows import InstanceGone, Name

RETRY_S, GIVE_UP_S = 1.0, 20.0
"""While Kafka or PostgreSQL is away: how often is tried again, and how long."""
TAKEN = "another session has the instance"
NOTHING = Bounds(max_records=0, max_bytes=1)
"""Of a look that only says that the instance lives."""

log = structlog.get_logger()


class Grouped:
    """Serves such sessions. Lives on the event loop."""

    def __init__(self, parts: Parts, pulling: Pulling) -> None:
        self._parts = parts
        self._pulling = pulling
        self._open: dict[Name, Reading] = {}

    async def serve(self, call: Call[pb.SubscribeRequest], start: pb.Start) -> None:
        """Serve a session of a group to its end."""
        asked = asked_of(start)
        session = uuid4().hex
        instance = start.instance or f"grpc-{session[:12]}"
        asked = asked._replace(instance=instance)
        if start.HasField("until"):
            raise Invalid([wrong("start/until", "A group has no end.")])
        member = await self._pulling.member(
            call, asked, start, timeout_s=STREAMED_S, session=session
        )
        stream = Reading(self._parts, call, Balance.of(start))
        self._parts.gate.admit(call.principal, call.given.address)
        try:
            await self._pulling.leasing.join(member)
            positions = await self._pulling.leasing.positions(*member.name[:2])
        except BaseException:
            stream.leave_unopened()
            raise
        talk = _Session(
            stream, self._pulling, member, positions, is_strict=start.on_gap == pb.ON_GAP_FAIL
        )
        stream.cursor = talk.token()
        stream.mailbox.offer(told(stream.ready(asked.lease_s)))
        log.info("stream.opened", stream=stream.connection.id, topics=asked.wanted.topics)
        older, self._open[member.name] = self._open.get(member.name), stream
        if older is not None:  # one of another process sees it by its next look
            older.end(ending("taken_over", TAKEN))
        try:
            await stream.follow(lambda: talk.run(call))
        finally:
            if self._open.get(member.name) is stream:
                del self._open[member.name]
            await asyncio.shield(talk.close())


class _Session:
    """One session of a group: what is handed out, and what its client says of it."""

    def __init__(
        self,
        stream: Reading,
        pulling: Pulling,
        member: Member,
        positions: dict[Part, int],
        *,
        is_strict: bool,
    ) -> None:
        self._stream = stream
        self._pulling = pulling
        self._member = member
        self._positions = positions
        self._held: dict[Part, int] = {}
        self._is_strict = is_strict
        self._acts = list[Act]()
        self._acted = asyncio.Event()
        self._hushed_s = 0.0

    def token(self) -> str:
        """Return the cursor behind what was handed out."""
        return place_of(self._member, self._positions).token(self._member.tokens)

    async def run(self, call: Call[pb.SubscribeRequest]) -> None:
        """Feed, hear and settle, side by side."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            tasks.create_task(self._flush())
            await hear(call, self._stream, self._take)

    async def close(self) -> None:
        """Settle what the client said last, and give the rest back."""
        with suppress(HubError):
            if self._acts:
                await self._settle()
            await self._pulling.leasing.leave(self._member)

    def _take(self, acks: pb.AckSet) -> None:
        self._acts += acts_of(acks)
        self._acted.set()

    async def _flush(self) -> None:
        """Settle what was said since the last time: one statement at a time, never behind."""
        while True:
            await self._acted.wait()
            self._acted.clear()
            try:
                failed = await self._settle()
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                self._acted.set()
                continue
            if failed:
                told_of = pb.SubscribeResponse(ack_failures=pb.AckFailures(failed=failed))
                await self._stream.tell(told_of.SerializeToString())

    async def _settle(self) -> list[pb.AckFailure]:
        acts, self._acts = self._acts, []
        name = self._member.name
        try:
            failed = await self._pulling.settle(
                self._stream.connection.principal, name.group, acts, self._member.spec
            )
        except Unavailable:
            self._acts = acts + self._acts
            raise
        self._member.rung.set()
        return failed

    async def _feed(self) -> None:
        """Hand records out as long as the stream is open."""
        stream = self._stream
        while stream.is_open:
            bounds = await stream.balance.room(RECORDS, BYTES, WAIT_S)
            try:
                wait_s = WAIT_S if bounds is not None else 0.0
                handed = await self._receive(bounds or NOTHING, wait_s)
            except (TakenOver, InstanceGone):
                stream.end(ending("taken_over", TAKEN))
                return
            except (NotFound, Forbidden):
                stream.end(ending("revoked"))
                return
            except Conflict as error:
                stream.refuse(error)
                return
            if handed is None or not await self._give(handed):
                return

    async def _receive(self, bounds: Bounds, wait_s: float) -> Handed | None:
        """Return what is handed out; None where Kafka or PostgreSQL stayed away."""
        begun_s = time.monotonic()
        while True:
            try:
                handed = await self._pulling.leasing.receive(self._member, bounds, wait_s)
            except Unavailable as error:
                self._stream.is_stalled = True
                if time.monotonic() - begun_s > GIVE_UP_S:
                    self._stream.end(ending("unavailable", error.detail))
                    return None
                await asyncio.sleep(RETRY_S)
            else:
                self._stream.is_stalled = False
                return handed

    async def _give(self, handed: Handed) -> bool:
        """Send what was handed out; return whether the stream goes on."""
        stream, member = self._stream, self._member
        self._positions |= handed.after
        self._held = handed.after or self._held
        stream.is_behind = not handed.at_end
        stream.cursor = self.token()
        style = member.spec().style
        for gap in handed.gaps:
            gone = DOOR.gap(gap, stream.cursor, hides_place=style.hides_place)
            if not await stream.tell(gone):
                return False
        if handed.gaps and self._is_strict:
            stream.end(ending("gap"))
            return False
        with suppress(Unavailable):  # the last one known stands
            held = {part: self._positions[part] for part in self._held}
            last = handed.given[-1].record if handed.given else None
            stream.lag = await self._pulling.lag(member, held, last)
        if not handed.given:
            return True
        stream.balance.spend(len(handed.given), sum(size_of(one.record) for one in handed.given))
        frames = [self._pulling.frame(one, style, member.name.partner) for one in handed.given]
        return await stream.give(frames, shares(handed.given, frames))
