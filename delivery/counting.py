"""The dry run of a replay: how many records match, read in slices by a job."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection, transaction

from delivery import missing, replays
from delivery.attempts import possible_ms
from delivery.matcher import hit
from delivery.models import DeliveryGap
from delivery.reread import granted, live_of, open_reader
from kafkahub.errors import NotFound
from kafkahub.failpoints import failpoint
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from subscriptions.audit import Actor, ActorKind
from subscriptions.live import LiveSubscription, LiveTopic
from subscriptions.models import Replay, ReplayLane
from subscriptions.rows import narrowed

SLICE = 5_000
"""Records of one slice: a second or two."""
EXACT_TO = 1_000_000
"""Matches that are counted one by one; what lies beyond is estimated."""
SAMPLES, SAMPLE = 10, 100
"""Places looked at in the rest of a partition, and records at each."""
WAIT_S = 0.5
READ_S = 8.0
"""Longest read of one slice."""
SYSTEM = Actor(ActorKind.SYSTEM, "delivery.count_replays")

# The place is compared, so that a slice that two processes have read counts once.
ADVANCE = """
UPDATE replay_lane SET counted_to = %(after)s WHERE id = %(id)s AND counted_to = %(before)s
"""  # the primary key
ADD = """
UPDATE replay_progress
   SET count = count + %(count)s, bytes = bytes + %(bytes)s,
       already_delivered = already_delivered + %(already)s,
       first_at = least(first_at, %(first_at)s), last_at = greatest(last_at, %(last_at)s),
       is_exact = is_exact AND %(is_exact)s, updated_at = now()
 WHERE replay_id = %(replay)s
"""  # the primary key


@dataclass(slots=True)
class Slice:
    """What one slice found, up to ``after``.

    lost  how many offsets from its beginning on are not in Kafka any more
    """

    after: int
    lost: int = 0
    count: int = 0
    bytes: int = 0
    already: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    is_exact: bool = True

    def add(self, records: Sequence[Record]) -> None:
        """Count records that match."""
        self.count += len(records)
        self.bytes += sum(len(record.value or b"") for record in records)
        times = [ms for record in records if (ms := possible_ms(record.timestamp_ms)) is not None]
        self.first_ms = min([*times, *_known(self.first_ms)], default=None)
        self.last_ms = max([*times, *_known(self.last_ms)], default=None)


def _known(ms: int | None) -> list[int]:
    return [] if ms is None else [ms]


def count(run_s: float, monotonic: Callable[[], float] = time.monotonic) -> int:
    """Count what waits to be counted, for so many seconds; return how many slices that took.

    Asks Kafka, so it must not run inside a transaction.
    """
    slices, deadline = 0, monotonic() + run_s
    while monotonic() < deadline:
        replay = (
            Replay.objects.filter(state=Replay.State.COUNTING, kind=Replay.Source.KAFKA)
            .select_related("subscription__endpoint", "progress")
            .order_by("id")
            .first()
        )
        if replay is None:
            return slices
        lane = _next_lane(replay)
        if lane is None:
            replays.counted(replay)
            continue
        try:
            _count_slice(replay, lane)
        except NotFound:
            replays.fail(SYSTEM, replay, f"There is no grant on {lane.topic} any more.")
        failpoint("job.mid_slice")
        slices += 1
    return slices


def _next_lane(replay: Replay) -> ReplayLane | None:
    lanes = ReplayLane.objects.filter(replay=replay).order_by("topic", "partition")
    return next((lane for lane in lanes if lane.counted_to < lane.end_offset), None)


def _count_slice(replay: Replay, lane: ReplayLane) -> None:
    grant, topic = granted(replay.subscription, lane.topic)
    live, _ = narrowed(live_of(replay.subscription, grant), replay.filter, replay.pk)
    counting = _Counting(replay, lane, live, topic)
    is_whole = replay.progress.count < EXACT_TO
    _keep(replay, lane, counting.exactly() if is_whole else counting.estimated())


@dataclass(frozen=True, slots=True)
class _Counting:
    """One slice of one lane."""

    replay: Replay
    lane: ReplayLane
    live: LiveSubscription
    topic: LiveTopic

    def exactly(self) -> Slice:
        """Read the next records and count those that match."""
        lane = self.lane
        with open_reader() as (reader, out_of_range):
            reader.assign([Position(lane.topic, lane.partition, lane.counted_to)])
            records = self._read(reader, lane.counted_to + SLICE, SLICE)
            if out_of_range:
                gap = out_of_range[0]
                is_shorter = gap.offset > gap.high
                after = lane.end_offset if is_shorter else min(gap.low, lane.end_offset)
                return Slice(after, lost=after - lane.counted_to)
            place = min(reader.position(lane.topic, lane.partition), lane.end_offset)
        found = Slice(place)
        matched = [record for record in records if self._matches(record)]
        delivered = self._delivered(matched)
        found.already = len(delivered)
        if self.replay.only_missing:
            matched = [record for record in matched if record.offset not in delivered]
        found.add(matched)
        return found

    def estimated(self) -> Slice:
        """Look at a few places of the rest and say how many match in all of it."""
        lane = self.lane
        left = lane.end_offset - lane.counted_to
        looked = 0
        sample = Slice(lane.end_offset, is_exact=False)
        with open_reader() as (reader, _):
            for number in range(SAMPLES):
                first = lane.counted_to + left * number // SAMPLES
                reader.assign([Position(lane.topic, lane.partition, first)])
                records = self._read(reader, first + SAMPLE, SAMPLE)
                looked += max(0, reader.position(lane.topic, lane.partition) - first)
                sample.add([record for record in records if self._matches(record)])
        share = left / looked if looked else 0.0
        sample.count, sample.bytes = round(sample.count * share), round(sample.bytes * share)
        return sample

    def _read(self, reader: Reader, end: int, most: int) -> list[Record]:
        """Return records below ``end``; fewer than there are when Kafka is slow."""
        lane, records = self.lane, list[Record]()
        deadline = time.monotonic() + READ_S
        end = min(end, lane.end_offset)
        while reader.position(lane.topic, lane.partition) < end and time.monotonic() < deadline:
            records += reader.read(most - len(records) or 1, WAIT_S)
            if reader.is_at_end(lane.topic, lane.partition):
                break
        return [record for record in records if record.offset < lane.end_offset]

    def _matches(self, record: Record) -> bool:
        return hit(record, self.live, self.topic, time.time_ns() // 1_000_000) is not None

    def _delivered(self, matched: Sequence[Record]) -> frozenset[int]:
        if not matched:
            return frozenset()
        values: dict[str, str | int] = {
            "subscription": self.replay.subscription_id,
            "topic": self.lane.topic,
            "partition": self.lane.partition,
            "first": matched[0].offset,
            "last": matched[-1].offset,
        }
        with connection.cursor() as cursor:
            cursor.execute(missing.DELIVERED, values)
            found = {offset for (offset,) in cursor.fetchall()}
        return frozenset(found & {record.offset for record in matched})


def _keep(replay: Replay, lane: ReplayLane, found: Slice) -> None:
    """Write a slice, unless another process was first."""
    with transaction.atomic(), connection.cursor() as cursor:
        place = {"id": lane.pk, "before": lane.counted_to, "after": found.after}
        cursor.execute(ADVANCE, place)
        if cursor.rowcount != 1:
            return
        if found.lost:
            _note_gap(replay, lane, found.after)
        figures: dict[str, str | int | datetime | None] = {
            "replay": replay.pk,
            "count": found.count,
            "bytes": found.bytes,
            "already": found.already,
            "first_at": _moment(found.first_ms),
            "last_at": _moment(found.last_ms),
            "is_exact": found.is_exact,
        }
        cursor.execute(ADD, figures)


def _note_gap(replay: Replay, lane: ReplayLane, end: int) -> None:
    DeliveryGap.objects.get_or_create(
        subscription=replay.subscription,
        topic=lane.topic,
        partition=lane.partition,
        from_offset=lane.counted_to,
        replay=replay.pk,
        defaults={"to_offset": end, "reason": DeliveryGap.Reason.RETENTION},
    )


def _moment(unix_ms: int | None) -> datetime | None:
    return None if unix_ms is None else datetime.fromtimestamp(unix_ms / 1000, UTC)
