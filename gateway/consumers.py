"""The use case READ in groups: begin, wait, hand out, settle; any process serves any instance."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog

from gateway.hub.log import Part
from gateway.hub.reads import Bounds, Haul, Reads
from gateway.receipts import Run
from gateway.topology import Topology
from kafkahub.errors import HubError, Unavailable
from kafkahub.kafka.faults import OutOfRange
from kafkahub.kafka.record import Record
from kafkahub.observability import metrics
from subscriptions.access import authorize_and_project
from subscriptions.grants import Grant
from subscriptions.pull import lists, positions, reads
from subscriptions.pull.groups import Start
from subscriptions.pull.positions import Commit
from subscriptions.pull.reads import Begun, Range
from subscriptions.pull.rows import IllegalState, Name, NotSettled

LOOK_AGAIN_S: Final = 0.02
"""How soon to look again whether another process marked the last answer as sent."""
LOOK_S: Final = 2.0
"""Longest time of that; a lease a second old is handed out again."""
MAX_REMEMBERED: Final = 20_000
AGAIN = Bounds(max_records=100_000, max_bytes=64 * 1024 * 1024, marks_large=True)
"""What is handed out again comes whole, whatever the new request's bounds."""

log = structlog.get_logger()
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


class Sent:
    """Notes which answers were sent, and tells PostgreSQL: one statement at a time, never behind.

    Lives on the event loop. What is known here need not be read back: the next read of the same
    instance in this process settles without waiting.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: OrderedDict[Name, tuple[UUID, int]] = OrderedDict()
        self._waiting: list[tuple[UUID, int]] = []
        self._task: asyncio.Task[None] | None = None

    def note(self, name: Name, instance: UUID, seq: int) -> None:
        """Note an answer whose last byte was accepted while its peer was there."""
        self._known[name] = (instance, seq)
        self._known.move_to_end(name)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        self._waiting.append((instance, seq))
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="pull-sent")

    def of(self, name: Name) -> tuple[UUID, int] | None:
        """Return the last answer of an instance that this process sent."""
        return self._known.get(name)

    async def close(self) -> None:
        """Wait until everything noted is told."""
        if self._task is not None:
            await self._task

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._run(reads.mark_sent, batch)
        except HubError as error:  # what is not marked is handed out again
            log.warning("pull.sent_not_marked", reason=error.detail)
        finally:
            self._task = None


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
        if begun.again:
            return await self._hand_again(begun, ask)
        if begun.instance.is_paused:
            await asyncio.sleep(ask.wait_s)
            return Handed([], begun.seq)
        offsets = _readable(begun, ask)
        haul, gaps = await self._wait(begun, ask, offsets, is_gone)
        if is_gone():
            return None
        return await self._hand_out(begun, ask, offsets, haul, gaps)

    async def begin(self, name: Name, receipt: int | None) -> Begun:
        """Settle the last read and begin another (T1).

        receipt  number of the last answer that really came, None where the client does not tell

        Raises InstanceGone, Unavailable.
        """
        deadline_s = time.monotonic() + LOOK_S
        while True:
            try:
                return await self._run(
                    reads.begin, name, receipt=receipt, sent_here=self.sent.of(name)
                )
            except NotSettled:
                if time.monotonic() > deadline_s:
                    raise Unavailable("The last read is not settled yet.") from None
                await asyncio.sleep(LOOK_AGAIN_S)

    async def commit(self, name: Name, commits: Sequence[Commit] | None) -> None:
        """Commit offsets, or with None all that arrived."""
        deadline_s = time.monotonic() + LOOK_S
        while True:
            try:
                await self._run(positions.commit, name, commits, sent_here=self.sent.of(name))
            except NotSettled:
                if time.monotonic() > deadline_s:
                    raise Unavailable("The last read is not settled yet.") from None
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                return

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
            if not await self._run(reads.skip, begun, gap, reason, at):
                raise Unavailable("Another read of this instance has begun.", retry_after_s=1)
            pull_gaps.labels(reason).inc()
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

    async def _hand_again(self, begun: Begun, ask: Ask) -> Handed:
        """Return exactly the ranges that were handed out and did not arrive."""
        ranges = [one for one in begun.again if one.topic in ask.grants]
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


def _readable(begun: Begun, ask: Ask) -> dict[Part, int]:
    """Return the positions of what may be read now."""
    offsets: dict[Part, int] = {}
    for part, position in begun.positions.items():
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
