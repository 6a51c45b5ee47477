"""The use case READ in groups: begin, wait, hand out, settle; any process serves any instance."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from gateway.hub.log import Part
from gateway.hub.reads import Bounds, Haul, Reads
from gateway.receipts import Run
from gateway.sent import Sent
from gateway.topology import Topology
from kafkahub.errors import Unavailable
from kafkahub.kafka.faults import OutOfRange
from kafkahub.kafka.record import Record
from kafkahub.observability import metrics
from subscriptions.access import authorize_and_project
from subscriptions.grants import Grant
from subscriptions.pull import groups, lists, positions, reads
from subscriptions.pull.groups import Start
from subscriptions.pull.positions import Answer, Commit
from subscriptions.pull.reads import Begun, Range
from subscriptions.pull.rows import IllegalState, Name, NotSettled

LOOK_AGAIN_S: Final = 0.02
"""How soon to look again whether another process marked the last answer as sent."""
LOOK_S: Final = 2.0
"""Longest time of that; a lease a second old is handed out again."""
AGAIN = Bounds(max_records=100_000, max_bytes=64 * 1024 * 1024, marks_large=True)
"""What is handed out again comes whole, whatever the new request's bounds."""

R = TypeVar("R")

pull_records = metrics.counter("pull_records_total", "Records handed out to instances of groups.")
pull_again = metrics.counter("pull_redelivered_total", "Answers that were handed out again.")
pull_gaps = metrics.counter(
    "pull_gaps_total", "Gaps that groups were told of, by reason.", ["reason"]
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What one read asks for.

    grants  those that let the partner read now, by topic
    reset   what to do where Kafka no longer has a position
    """

    wait_s: float
    min_bytes: int
    bounds: Bounds
    grants: Mapping[str, Grant]
    reset: str


@dataclass(slots=True)
class Handed:
    """What a read hands out.

    seq     number of the answer; that of the one before where nothing new is in it
    again   it was handed out before
    gaps    what will never come, each with its reason
    lease   whether the answer must be marked once it is sent
    """

    records: list[Record]
    seq: int
    again: bool = False
    gaps: list[tuple[Range, str]] = field(default_factory=list)
    lease: bool = False


class NoPosition(IllegalState):
    """Nothing says where to read, and the instance asked to be told so."""


class Consumers:
    """Reads for instances of groups.

    Lives on the event loop; SQL runs by ``run``, in threads, and never while a read waits.
    """

    def __init__(self, source: Reads, topology: Topology, run: Run) -> None:
        self.sent = Sent(run)
        self._source = source
        self._topology = topology
        self._run = run
        self._counts: dict[int, dict[str, int]] = {}

    async def read(self, begun: Begun, ask: Ask, is_gone: Callable[[], bool]) -> Handed | None:
        """Return what there is for an instance, after waiting for it; None when the peer is gone.

        Raises NoPosition, Unavailable.
        """
        renewed, gaps = await self._renew(begun, ask)
        if again := [one for one in begun.again if (one.topic, one.partition) not in renewed]:
            return await self._hand_again(begun, ask, again)
        if begun.instance.is_paused:
            await asyncio.sleep(ask.wait_s)
            return Handed([], begun.seq)
        offsets = _readable({**begun.positions, **renewed}, ask)
        haul, more = await self._wait(begun, ask, offsets, is_gone)
        if is_gone():
            return None
        return await self._hand_out(begun, ask, offsets, haul, gaps + more)

    async def _renew(
        self, begun: Begun, ask: Ask
    ) -> tuple[dict[Part, int | None], list[tuple[Range, str]]]:
        """Begin partitions anew whose topic is another one of its name by now.

        Returns where they begin, and what to tell of them. Where the old log ended nobody knows.
        """
        renewed: dict[Part, int | None] = {}
        gaps: list[tuple[Range, str]] = []
        for part, epoch in begun.epochs.items():
            now = await self._topology.epoch(part[0]) if part[0] in ask.grants else ""
            if now in {"", epoch}:
                continue
            marks = await self._topology.marks(part[0], fresh=True)
            low, high = marks.get(part[1], (0, 0))
            at = {"earliest": low, "latest": high}.get(ask.reset)
            stood = begun.positions[part] or 0
            gap = Range(*part, stood, stood)
            await self._go_on(begun, gap, "recreated", at, now)
            renewed[part] = at
            gaps.append((gap, "recreated"))
        return renewed, gaps

    async def _go_on(
        self, begun: Begun, gap: Range, reason: str, at: int | None, epoch: str = ""
    ) -> None:
        if not await self._run(reads.skip, begun, gap, reason, at, epoch):
            raise Unavailable("Another read of this instance has begun.", retry_after_s=1)
        pull_gaps.labels(reason).inc()

    async def begin(self, name: Name, receipt: int | None) -> Begun:
        """Settle the last read and begin another (T1).

        receipt  number of the last answer that really came, None where the client does not tell

        Raises InstanceGone, Unavailable.
        """
        return await self._settled(
            name, lambda sent: reads.begin(name, receipt=receipt, sent_here=sent)
        )

    async def commit(self, name: Name, commits: Sequence[Commit] | None) -> None:
        """Commit offsets, or with None all that arrived."""
        await self._settled(name, lambda sent: positions.commit(name, commits, sent_here=sent))

    async def delete(self, name: Name) -> None:
        """End an instance; with auto-commit, what arrived is committed. Raises InstanceGone."""
        await self._settled(name, lambda sent: groups.delete(name, sent_here=sent))

    async def unsubscribe(self, name: Name) -> None:
        """Let an instance read nothing any more; with auto-commit as ``delete``."""
        await self._settled(name, lambda sent: groups.unsubscribe(name, sent_here=sent))

    async def _settled(self, name: Name, work: Callable[[Answer | None], R]) -> R:
        """Do what needs to know whether the last answer arrived, once somebody can tell."""
        deadline_s = time.monotonic() + LOOK_S
        while True:
            try:
                return await self._run(work, self.sent.of(name))
            except NotSettled:
                if time.monotonic() > deadline_s:
                    raise Unavailable("The last read is not settled yet.") from None
                await asyncio.sleep(LOOK_AGAIN_S)

    async def starts(self, topics: Sequence[str], reset: str) -> dict[Part, Start]:
        """Return where all partitions of these topics begin for whoever has no position."""
        found: dict[Part, Start] = {}
        for topic in topics:
            if await self._topology.partitions(topic):
                marks = await self._topology.marks(topic, fresh=reset == "latest")
                epoch = await self._topology.epoch(topic)
                for number, (low, high) in marks.items():
                    at = {"latest": high, "earliest": low}.get(reset)
                    found[topic, number] = Start(at, epoch)
        return found

    async def fresh_parts(self, group: int, topics: Sequence[str], reset: str) -> dict[Part, Start]:
        """Return partitions that a group does not know yet; those of known topics from 0."""
        counts = {topic: await self._topology.partitions(topic) for topic in topics}
        known = self._counts.get(group)
        if known is None or any(count > known.get(topic, 0) for topic, count in counts.items()):
            known = await self._known(group)
        fresh: dict[Part, Start] = {}
        for topic, count in counts.items():
            if count and topic not in known:
                fresh |= await self.starts([topic], reset)
            else:
                epoch = await self._topology.epoch(topic) if count > known.get(topic, 0) else ""
                for number in range(known.get(topic, 0), count):
                    fresh[topic, number] = Start(0, epoch)
        return fresh

    def forget(self, group: int) -> None:
        """Look anew at what a group knows: it was subscribed just now."""
        self._counts.pop(group, None)

    async def _known(self, group: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in await self._run(lists.positions, group):
            counts[row.topic] = max(counts.get(row.topic, 0), row.partition + 1)
        self._counts[group] = counts
        return counts

    async def _wait(
        self, begun: Begun, ask: Ask, offsets: Mapping[Part, int], is_gone: Callable[[], bool]
    ) -> tuple[Haul, list[tuple[Range, str]]]:
        """Read until there is enough, the time is up, or the peer has gone."""
        deadline_s = time.monotonic() + ask.wait_s
        haul = Haul(dict(offsets))
        gaps: list[tuple[Range, str]] = []
        while True:
            left = replace(
                ask.bounds,
                max_records=ask.bounds.max_records - len(haul.records),
                max_bytes=max(1, ask.bounds.max_bytes - haul.bytes),
            )
            found = await self._source.read(haul.after, left)
            _join(haul, found)
            if found.out:
                gaps += await self._skip(begun, ask, found.out, haul)
                continue
            wait_s = deadline_s - time.monotonic()
            is_full = len(haul.records) >= ask.bounds.max_records or len(found.at_end) < len(
                haul.after
            )
            if is_full or haul.bytes >= ask.min_bytes or wait_s <= 0 or is_gone():
                return haul, gaps
            if haul.records and haul.bytes == 0:
                return haul, gaps  # tombstones, or records that are only told of
            await self._source.news(haul.after, wait_s)

    async def _skip(
        self, begun: Begun, ask: Ask, outs: Sequence[OutOfRange], haul: Haul
    ) -> list[tuple[Range, str]]:
        """Go on where Kafka still has something, as the instance wishes, and note what is lost."""
        gaps = []
        for out in outs:
            if ask.reset == "none":
                raise NoPosition(f"the position of {out.topic}/{out.partition} is gone from Kafka")
            is_below = out.offset < out.low
            at = out.low if ask.reset == "earliest" else out.high
            stop = at if is_below else max(out.high, 0)
            gap = Range(out.topic, out.partition, out.offset, stop)
            reason = "retention" if is_below else "truncated"
            await self._go_on(begun, gap, reason, at)
            haul.after[out.topic, out.partition] = at
            gaps.append((gap, reason))
        return gaps

    async def _hand_out(
        self,
        begun: Begun,
        ask: Ask,
        offsets: Mapping[Part, int],
        haul: Haul,
        gaps: list[tuple[Range, str]],
    ) -> Handed:
        moved = {(gap.topic, gap.partition) for gap, _ in gaps}
        ranges = [
            Range(*part, _begin(part, offsets, moved, haul), haul.after[part])
            for part, at in offsets.items()
            if haul.after[part] != at
        ]
        ranges = [one for one in ranges if one.stop > one.start]
        if not haul.records or not ranges:
            return Handed([], begun.seq, gaps=gaps)
        seq = await self._run(reads.hand_out, begun, ranges)
        if seq is None:
            return Handed([], begun.seq, gaps=gaps)
        seen = _seen(haul.records, ask.grants)
        pull_records.inc(len(seen))
        return Handed(seen, seq, gaps=gaps, lease=True)

    async def _hand_again(self, begun: Begun, ask: Ask, again: Sequence[Range]) -> Handed:
        """Return exactly the ranges that were handed out and did not arrive."""
        ranges = [one for one in again if one.topic in ask.grants]
        stops = {(one.topic, one.partition): one.stop for one in ranges}
        haul = Haul({(one.topic, one.partition): one.start for one in ranges})
        pending = dict(haul.after)
        while pending:
            found = await self._source.read(pending, AGAIN)
            _join(haul, found)
            over = {(out.topic, out.partition) for out in found.out} | found.at_end
            pending = {
                part: at
                for part, at in found.after.items()
                if at < stops[part] and part not in over
            }
        records = [one for one in haul.records if one.offset < stops[one.topic, one.partition]]
        seq = await self._run(reads.hand_out, begun, ranges) if ranges else None
        if seq is None:
            return Handed([], begun.seq)
        pull_again.inc()
        seen = _seen(records, ask.grants)
        return Handed(seen, seq, again=True, lease=True)


def _readable(positions: Mapping[Part, int | None], ask: Ask) -> dict[Part, int]:
    """Return the positions of what may be read now."""
    offsets: dict[Part, int] = {}
    for part, position in positions.items():
        if part[0] not in ask.grants:
            continue
        if position is None:
            raise NoPosition(f"{part[0]}/{part[1]} has no position")
        offsets[part] = position
    return offsets


def _begin(part: Part, offsets: Mapping[Part, int], moved: set[Part], haul: Haul) -> int:
    """Return where the lease of a partition begins: behind a gap, or where the read began."""
    if part not in moved:
        return offsets[part]
    first = [one.offset for one in haul.records if (one.topic, one.partition) == part]
    return min(first, default=haul.after[part])


def _join(haul: Haul, found: Haul) -> None:
    haul.records += found.records
    haul.bytes += found.bytes
    haul.after |= found.after
    haul.at_end = found.at_end


def _seen(records: Sequence[Record], grants: Mapping[str, Grant]) -> list[Record]:
    now_ms = time.time_ns() // 1_000_000
    seen = (authorize_and_project(one, grants[one.topic], now_ms) for one in records)
    return [one for one in seen if one is not None]
