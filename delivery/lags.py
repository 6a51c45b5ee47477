"""How far lanes are behind, as metrics: computed every few seconds in the dispatcher's thread."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from delivery import metrics
from delivery.inbox import Place
from delivery.lanes import Lane, LaneState, Partition

MAX_SERIES = 5_000
"""Subscriptions with series of their own; the rest is one, called ``other``."""
OTHER = ("other", "other")
FOREVER = float("inf")

Owner = tuple[str, str]
"""A partner and one of its subscriptions."""


@dataclass(slots=True)
class Debt:
    """What one subscription owes on the partitions of this engine.

    oldest_ms    Unix time in ms of the oldest record that is known to be owed, or None
    headroom_ms  least time until retention may overtake that, or None
    """

    records: int = 0
    oldest_ms: int | None = None
    headroom_ms: float | None = None


@dataclass(slots=True)
class Lags:
    """Remembers what the next look needs: since when floors stand, and how old what is owed is."""

    _floors: dict[Place, tuple[int, float]] = field(default_factory=dict)
    _oldest: dict[Lane, int] = field(default_factory=dict)
    _shown: set[Owner] = field(default_factory=set)
    _places: set[Place] = field(default_factory=set)

    def show(
        self,
        partitions: Iterable[Partition],
        ends: Mapping[Place, int],
        *,
        kept_ms: Mapping[str, int],
        now: float,
        unix_ms: int,
    ) -> None:
        """Set the gauges.

        ends     the offset the next record gets, where it is known
        kept_ms  how long topics keep records; those that keep them for ever are not in it
        now      monotonic time, ``unix_ms`` the wall clock's
        """
        states = dict.fromkeys(LaneState, 0)
        debts: dict[Owner, Debt] = {}
        oldest_floor = 0.0
        places = set()
        for partition in partitions:
            place = (partition.topic, partition.number)
            end = ends.get(place)
            for lane in partition.lanes.values():
                states[lane.state] += 1
                if end is not None and not lane.replay:
                    self._add(debts, lane, end, kept_ms.get(partition.topic), unix_ms)
            if end is not None:
                places.add(place)
                lag = max(0, end - partition.floor.position())
                metrics.partition_lag.labels(partition.topic, str(partition.number)).set(lag)
                oldest_floor = max(oldest_floor, self._floor_age_s(partition, place, lag, now))
        self._zero(places)
        for state, number in states.items():
            metrics.lanes.labels(state).set(number)
        metrics.floor_age.set(oldest_floor)
        self._show_debts(debts, unix_ms)

    def _add(
        self,
        debts: dict[Owner, Debt],
        lane: Lane,
        end: int,
        kept_ms: int | None,
        unix_ms: int,
    ) -> None:
        live = lane.form.subscription
        owner = (live.partner, live.id)
        if owner not in debts and len(debts) >= MAX_SERIES:
            owner = OTHER
        debt = debts.setdefault(owner, Debt())
        state, next_offset = lane.row()
        if state is LaneState.LIVE:
            next_offset = max(next_offset, lane.partition.floor.position())
        behind = max(0, end - next_offset)
        debt.records += behind
        oldest_ms = self._oldest_of(lane) if behind else None
        if oldest_ms is None:
            self._oldest.pop(lane, None)
            return
        self._oldest[lane] = oldest_ms
        debt.oldest_ms = min(oldest_ms, debt.oldest_ms or oldest_ms)
        if kept_ms is not None:
            left = oldest_ms + kept_ms - unix_ms
            debt.headroom_ms = left if debt.headroom_ms is None else min(left, debt.headroom_ms)

    def _oldest_of(self, lane: Lane) -> int | None:
        """Return the time of the oldest record in memory, or the one that was known last."""
        heads = [*list(lane.in_flight)[:1], *list(lane.returned)[:1], *list(lane.queue)[:1]]
        times = [
            head.record.timestamp_ms
            for head in heads
            if head.record is not None and head.record.timestamp_ms is not None
        ]
        return min(times, default=self._oldest.get(lane))

    def _floor_age_s(self, partition: Partition, place: Place, lag: int, now: float) -> float:
        position = partition.floor.position()
        known = self._floors.get(place)
        if known is None or known[0] != position or not lag:
            self._floors[place] = (position, now)
            return 0.0
        return now - known[1]

    def _zero(self, places: set[Place]) -> None:
        """Let partitions that went to another engine owe nothing here."""
        for topic, number in self._places - places:
            metrics.partition_lag.labels(topic, str(number)).set(0)
            self._floors.pop((topic, number), None)
        self._places = places
        self._oldest = {lane: at for lane, at in self._oldest.items() if lane.is_ours}

    def _show_debts(self, debts: Mapping[Owner, Debt], unix_ms: int) -> None:
        for owner in self._shown | debts.keys():
            debt = debts.get(owner, Debt())
            age_ms = 0 if debt.oldest_ms is None else max(0, unix_ms - debt.oldest_ms)
            left = FOREVER if debt.headroom_ms is None else max(0.0, debt.headroom_ms / 1000)
            metrics.lane_lag.labels(*owner).set(debt.records)
            metrics.oldest_undelivered.labels(*owner).set(age_ms / 1000)
            metrics.headroom.labels(*owner).set(left)
        self._shown = set(debts)
