"""The use case READ with leases: records of a group handed out, and taken as done one by one."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from gateway.consumers import Consumers
from gateway.frames import Gap
from gateway.hub.audience import Spec, shown
from gateway.hub.groups import gap_of
from gateway.hub.log import Part
from gateway.hub.reads import Bounds, Haul, Reads, size_of
from gateway.leased import Given, Handed, Member
from gateway.receipts import Run
from gateway.topology import Topology
from kafkahub import clock
from kafkahub.errors import Conflict, NotFound
from kafkahub.kafka.faults import OutOfRange
from kafkahub.kafka.record import Record
from subscriptions.pull import acks, groups, leases, lists, members
from subscriptions.pull.acks import Act, Failed
from subscriptions.pull.groups import Start
from subscriptions.pull.leases import Due, Grab, Held, Turn
from subscriptions.pull.reads import Range
from subscriptions.pull.rows import IllegalState, InstanceGone

MAX_UNACKED, MAX_UNACKED_BYTES = 1_000, 16 * 1024 * 1024
"""What may be out of one partition without an acknowledgement."""
MAX_ATTEMPTS: Final = 20
"""After so many a record of a parallel group is dead."""
LOOK_S: Final = 5.0
"""Longest wait between two looks at what came back, and at who owns what."""
FULL_S: Final = 0.1
"""Wait while nothing may be handed out: acknowledgements do not ring."""
ONE = Bounds(max_records=1, max_bytes=1 << 30)
PAYLOAD_BYTES: Final = 1024 * 1024

Encode = Callable[[Record], bytes]
"""Given a record as the partner sees it, returns what is kept of a dead one."""


class Leasing:
    """Hands records out. Lives on the event loop; SQL runs by ``run``, in threads."""

    def __init__(
        self, source: Reads, topology: Topology, consumers: Consumers, run: Run, encode: Encode
    ) -> None:
        self._source = source
        self._topology = topology
        self._consumers = consumers
        self._run = run
        self._encode = encode

    async def join(self, member: Member) -> None:
        """Let a member read in its group. Raises Conflict, QuotaExceeded, Unavailable."""
        starts = {
            part: Start(offset, await self._topology.epoch(part[0]))
            for part, offset in member.found.offsets.items()
        }
        topics = member.spec().topics
        try:
            await self._run(
                members.join,
                member.actor,
                member.name,
                topics=topics,
                order_mode=member.mode,
                starts=starts,
                timeout=timedelta(seconds=member.timeout_s),
                session=member.session,
            )
        except IllegalState as error:
            raise Conflict(f"{error}.") from None

    async def leave(self, member: Member) -> None:
        """Give everything back to the group."""
        await self._run(members.leave, member.name, member.session)

    async def receive(self, member: Member, bounds: Bounds, wait_s: float) -> Handed:
        """Return records, after waiting for the first one.

        Raises leases.TakenOver, Conflict, InstanceGone, Unavailable, and what authorising raises.
        """
        deadline_s = time.monotonic() + wait_s
        handed = Handed()
        while True:
            spec = member.spec()
            turn = await self._renew(await self._take(member), handed)
            readable = {} if turn.instance.is_paused else _readable(turn, spec)
            await self._again(member, spec, turn, handed)
            haul = await self._read(readable, bounds, turn, handed)
            await self._hand_out(member, spec, turn, haul, handed)
            left_s = deadline_s - time.monotonic()
            if handed.given or handed.gaps or left_s <= 0:
                return handed
            if not readable:
                await _room(member, min(FULL_S, left_s))
            elif handed.at_end:
                await self._source.news(handed.after, min(LOOK_S, left_s))

    async def _renew(self, turn: Turn, handed: Handed) -> Turn:
        """Begin partitions anew whose topic is another one of its name by now."""
        held = dict(turn.held)
        for part, one in turn.held.items():
            now = await self._topology.epoch(part[0]) if one.epoch else ""
            if now in {"", one.epoch} or one.position is None:
                continue
            low, _ = (await self._topology.marks(part[0], fresh=True)).get(part[1], (0, 0))
            gap = Range(*part, one.position, one.position)
            if await self._run(leases.skip, turn.instance, gap, "recreated", low, now):
                resumed_at = clock.rfc3339(clock.now())
                handed.gaps.append(Gap(*part, one.position, None, None, "recreated", resumed_at))
                handed.after[part] = low
                held[part] = Held(low, 0, 0, now)
        return replace(turn, held=held)

    async def settle(
        self, partner: str, group: str, acts: Sequence[Act], spec: Callable[[], Spec] | None = None
    ) -> Sequence[Failed]:
        """Do what a client says of records; return what was not taken.

        spec  what the partner may see, to keep rejected records by; None keeps no payload

        Raises NotFound for a group that is not there, Unavailable.
        """
        try:
            settled = await self._run(acks.settle, partner, group, acts)
        except InstanceGone:
            raise NotFound from None
        for dead in settled.dead:
            if spec is None:
                break
            payload = await self._payload((dead.topic, dead.partition), dead.offset, spec())
            await self._run(acks.store, dead, payload)
        return settled.failed

    async def positions(self, partner: str, group: str) -> dict[Part, int]:
        """Return where a group stands. Raises NotFound."""
        found = await self._run(lists.groups, partner, group)
        if not found:
            raise NotFound
        rows = await self._run(lists.positions, found[0].id)
        return {(row.topic, row.partition): row.position or 0 for row in rows}

    async def oldest_ms(self, offsets: Mapping[Part, int]) -> int | None:
        """Return the least timestamp of the records at or behind these offsets; None for none."""
        stamps = []
        for part, offset in offsets.items():
            haul = await self._source.read({part: offset}, ONE)
            stamps += [one.timestamp_ms for one in haul.records if one.timestamp_ms is not None]
        return min(stamps, default=None)

    async def seek(self, partner: str, group: str, wanted: Mapping[Part, int]) -> None:
        """Move a group. Raises NotFound."""
        try:
            await self._run(members.seek, partner, group, wanted)
        except InstanceGone:
            raise NotFound from None

    async def _take(self, member: Member) -> Turn:
        try:
            turn = await self._run(leases.take, member.name, member.session)
        except InstanceGone:
            if member.session:
                raise  # a stream touches its instance; nobody ends it by mistake
            await self.join(member)
            turn = await self._run(leases.take, member.name, member.session)
        except IllegalState as error:
            raise Conflict(f"{error}.") from None
        if set(turn.instance.topics) != set(member.spec().topics):
            await self.join(member)
            turn = await self._run(leases.take, member.name, member.session)
        if member.mode and turn.instance.order_mode != member.mode:
            raise Conflict(f"The group's mode is {turn.instance.order_mode}.")
        group, topics = turn.instance.group, turn.instance.topics
        fresh = await self._consumers.fresh_parts(group, topics, "earliest")
        if fresh:
            self._consumers.forget(group)
            await self._run(groups.widen, member.name, topics, fresh)
        return turn

    async def _read(
        self, readable: Mapping[Part, int], bounds: Bounds, turn: Turn, handed: Handed
    ) -> Haul:
        """Return what is there from the positions on; gaps are noted, and passed."""
        if not readable or len(handed.given) >= bounds.max_records:
            return Haul({})
        haul = await self._source.read(readable, bounds)
        for out in haul.out:
            await self._skip(turn, out, handed)
        handed.at_end = len(haul.at_end) == len(readable)
        return haul

    async def _skip(self, turn: Turn, out: OutOfRange, handed: Handed) -> None:
        is_below = out.offset < out.low
        at = out.low if is_below else out.high
        stop = at if is_below else out.offset
        reason = "retention" if is_below else "truncated"
        gap = Range(out.topic, out.partition, out.offset, stop)
        if await self._run(leases.skip, turn.instance, gap, reason, at):
            lost = max(0, at - out.offset)
            handed.gaps.append(gap_of(out.topic, out.partition, out.offset, lost, reason))
            handed.after[out.topic, out.partition] = at

    async def _hand_out(
        self, member: Member, spec: Spec, turn: Turn, haul: Haul, handed: Handed
    ) -> None:
        """Lease what was read; what another call has leased meanwhile is left to it."""
        seen = _shown(haul.records, spec)
        outs = {(out.topic, out.partition) for out in haul.out}
        grabs = [
            _grab(part, turn.held[part], haul.after[part], seen.get(part, []))
            for part in haul.after
            if part not in outs and haul.after[part] != turn.held[part].position
        ]
        if not grabs:
            handed.after |= {part: at for part, at in haul.after.items() if part not in outs}
            return
        ids = await self._run(leases.lease, turn.instance, grabs, [], member.lease_s)
        by_part = {part: {one.offset: one for one in records} for part, records in seen.items()}
        order = {(one.topic, one.partition, one.offset): n for n, one in enumerate(haul.records)}
        found: list[Given] = []
        for grab, lease in zip(grabs, ids, strict=True):
            part = (grab.topic, grab.partition)
            handed.after[part] = grab.stop
            if lease is None:
                continue
            for index, offset in enumerate(grab.offsets):
                attempt = 1 + turn.attempts.get((*part, offset), 0)
                record = by_part[part][offset]
                found.append(Given(record, acks.ack_id(lease, index), attempt))
        # As they were read, so that the records of one partition do not all come first.
        found.sort(key=lambda one: order[one.record.topic, one.record.partition, one.record.offset])
        handed.given += found

    async def _again(self, member: Member, spec: Spec, turn: Turn, handed: Handed) -> None:
        """Hand out what is to come again, or bury what came often enough."""
        grabs: list[tuple[Due, Grab, Record | None]] = []
        for due in turn.due:
            part = (due.topic, due.partition)
            record = await self._one(part, due.offset, spec)
            if due.attempt >= MAX_ATTEMPTS:
                payload = b"" if record is None else self._encode(record)[:PAYLOAD_BYTES]
                reason = f"given back {due.attempt} times"
                await self._run(acks.bury, turn.instance, part, due.offset, payload, reason)
                continue
            offsets = [] if record is None else [due.offset]
            size = 0 if record is None else size_of(record)
            grabs.append((due, Grab(*part, due.offset, due.offset + 1, offsets, size), record))
        if not grabs:
            return
        ids = await self._run(
            leases.lease, turn.instance, [], [grab for _, grab, _ in grabs], member.lease_s
        )
        for (due, _, record), lease in zip(grabs, ids, strict=True):
            if lease is not None and record is not None:
                handed.given.append(Given(record, acks.ack_id(lease, 0), due.attempt + 1))

    async def _one(self, part: Part, offset: int, spec: Spec) -> Record | None:
        """Return one record as the partner sees it, None where it is gone or hidden."""
        if part[0] not in spec.topics:
            return None
        haul = await self._source.read({part: offset}, ONE)
        if not haul.records or haul.records[0].offset != offset:
            return None
        return shown(haul.records[0], spec, None, _now_ms())

    async def _payload(self, part: Part, offset: int, spec: Spec) -> bytes:
        record = await self._one(part, offset, spec)
        return b"" if record is None else self._encode(record)[:PAYLOAD_BYTES]


async def _room(member: Member, wait_s: float) -> None:
    """Return once something was acknowledged, or the time is up."""
    member.rung.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await member.rung.wait()


def _readable(turn: Turn, spec: Spec) -> dict[Part, int]:
    return {
        part: held.position
        for part, held in turn.held.items()
        if held.position is not None
        and part[0] in spec.topics
        and held.records < MAX_UNACKED
        and held.bytes < MAX_UNACKED_BYTES
    }


def _shown(records: Sequence[Record], spec: Spec) -> dict[Part, list[Record]]:
    """Return by partition what the partner sees of records."""
    found: dict[Part, list[Record]] = {}
    now_ms = _now_ms()
    for record in records:
        seen = shown(record, spec, None, now_ms)
        if seen is not None:
            found.setdefault((record.topic, record.partition), []).append(seen)
    return found


def _grab(part: Part, held: Held, stop: int, seen: Sequence[Record]) -> Grab:
    """Return what may be handed out of a partition, as far as its bounds let it."""
    room = MAX_UNACKED - held.records
    if len(seen) > room:
        stop = seen[room].offset
        seen = seen[:room]
    size = sum(size_of(one) for one in seen)
    return Grab(*part, held.position or 0, stop, [one.offset for one in seen], size)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
