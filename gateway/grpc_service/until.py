"""``Subscribe`` without a group that ends by itself: from one position to another."""

import asyncio
from collections.abc import Mapping, Sequence

from gateway import metrics, received
from gateway.grpc_service.asked import start_of, wanted_of, wrong
from gateway.grpc_service.balance import Balance
from gateway.grpc_service.door import END, told
from gateway.grpc_service.front import Call
from gateway.grpc_service.pulling import now_ms
from gateway.grpc_service.reading import BYTES, RECORDS, WAIT_S, Reading, hear
from gateway.grpc_service.streams import DOOR, Parts
from gateway.hub.audience import shown
from gateway.hub.connections import ending
from gateway.hub.groups import RecordId, gap_of
from gateway.hub.log import Part
from gateway.hub.place import Place
from gateway.hub.reads import Haul, Reads, size_of
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.stream import Looked, Wanted
from kafkahub.errors import Invalid, Unavailable
from kafkahub.kafka.record import Record


class Bounded:
    """Serves such streams. Lives on the event loop."""

    def __init__(self, parts: Parts, reads: Reads, record_id: RecordId) -> None:
        self._parts = parts
        self._reads = reads
        self._record_id = record_id

    async def serve(self, call: Call[pb.SubscribeRequest], start: pb.Start) -> None:
        """Serve one stream up to its end."""
        wanted = wanted_of(start, now_ms())
        looked, stops = await self._look(call, start, wanted)
        stream = Reading(self._parts, call, Balance.of(start))
        self._parts.gate.admit(call.principal, call.given.address)
        reach = _Reach(stream, self._reads, looked, stops, self._record_id)
        stream.cursor = reach.token()
        stream.mailbox.offer(told(stream.ready()))
        for gap in looked.found.gaps:
            hides = looked.spec.style.hides_place
            stream.mailbox.offer(told(DOOR.gap(gap, stream.cursor, hides_place=hides)))
            metrics.gaps.labels(gap.reason).inc()
        if looked.found.gaps and wanted.on_gap_fail:
            stream.end(ending("gap"))
        await stream.follow(lambda: reach.run(call))

    async def _look(
        self, call: Call[pb.SubscribeRequest], start: pb.Start, wanted: Wanted
    ) -> tuple[Looked, Mapping[Part, int]]:
        """Return where it begins, and the offsets where it ends."""
        if start.until.WhichOneof("at") is None:
            raise Invalid([wrong("start/until", "Say where the end is.")])
        begin, cursor = start_of(start.until, now_ms(), "start/until")
        last = Wanted(topics=wanted.topics, text="protobuf", start=begin, cursor=cursor)
        streams = self._parts.streams
        looked = await streams.look(call.principal, wanted, is_live=False)
        stops = await streams.look(call.principal, last, is_live=False)
        return looked, stops.found.offsets


class _Reach:
    """Reads from one position to another, in no group."""

    def __init__(
        self,
        stream: Reading,
        reads: Reads,
        looked: Looked,
        stops: Mapping[Part, int],
        record_id: RecordId,
    ) -> None:
        self._stream = stream
        self._reads = reads
        self._looked = looked
        self._at = dict(looked.found.offsets)
        self._stops = stops
        self._record_id = record_id
        self._time_ms = looked.found.time_ms

    def token(self) -> str:
        return Place(dict(self._at), self._time_ms).token(self._looked.tokens)

    async def run(self, call: Call[pb.SubscribeRequest]) -> None:
        """Feed and hear, side by side."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed())
            await hear(call, self._stream, _no_acks)

    async def _feed(self) -> None:
        stream = self._stream
        while stream.is_open:
            left = {part: at for part, at in self._at.items() if at < self._stops.get(part, 0)}
            if not left:
                stream.end(END)
                return
            bounds = await stream.balance.room(RECORDS, BYTES, WAIT_S)
            if bounds is None:
                continue
            try:
                haul = await self._reads.read(left, bounds)
            except Unavailable as error:
                stream.end(ending("unavailable", error.detail))
                return
            if not await self._give(haul):
                return

    async def _give(self, haul: Haul) -> bool:
        """Send what was read; return whether the stream goes on."""
        stream, outs = self._stream, {(out.topic, out.partition): out for out in haul.out}
        records = self._cut(haul.records)
        for part, at in haul.after.items():
            if part not in outs:
                self._at[part] = min(at, self._stops[part])
        hides = self._looked.spec.style.hides_place
        for part, out in outs.items():
            to = max(out.offset, min(out.low, self._stops[part]))
            self._at[part] = to if out.offset < out.low else self._stops[part]
            gap = gap_of(*part, out.offset, to - out.offset, "retention")
            if not await stream.tell(DOOR.gap(gap, self.token(), hides_place=hides)):
                return False
        stream.cursor = self.token()
        if not records:
            return True
        partner = stream.connection.principal.partner
        frames = [
            received.received(one, self._record_id(one, partner) if hides else "")
            for one in records
        ]
        stream.balance.spend(len(records), sum(size_of(one) for one in records))
        paid = ((one.topic, len(frame)) for one, frame in zip(records, frames, strict=True))
        return await stream.give(frames, paid)

    def _cut(self, records: Sequence[Record]) -> list[Record]:
        """Return what is to be shown of records before their stops."""
        at_ms, spec = now_ms(), self._looked.spec
        found = []
        for record in records:
            if record.offset >= self._stops[record.topic, record.partition]:
                continue
            seen = shown(record, spec, None, at_ms)
            if seen is not None:
                found.append(seen)
                self._time_ms = max(self._time_ms, seen.timestamp_ms or 0)
        return found


def _no_acks(_: pb.AckSet) -> None:
    raise Invalid([wrong("acks", "Records without a group are not acknowledged.")])
