"""Judges a run: nothing lost, few doubles, order kept, ids stable, nothing foreign (pure).

The formulas are those of the promises: see docs/promises.md. Every record that Kafka holds is
owed, acknowledged or not; an acknowledged one that Kafka does not hold is counted by itself.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.torture.history import (
    DELIVERED,
    WAITING,
    Arrival,
    Fault,
    History,
    Lane,
    Parked,
    Place,
    Produced,
)

SETTLE_S = 0.5
"""What arrives so soon after a kill was on its way before it, and tells nothing of recovery."""
UNWRITTEN_S = 2.0
"""What was delivered so long before a crash may not have been written yet."""
EXAMPLES = 5
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found; the names are those of the result line."""

    missing: int
    phantom: int
    duplicates: int
    duplicate_bound: int
    overdrawn: Sequence[str]
    order_violations: int
    id_violations: int
    bad_signatures: int
    foreign_canaries: int
    gap_violations: int
    acked_lost: int
    late: Sequence[str]
    recovery_s: Mapping[str, float]
    deliveries: int
    distinct: int
    parked: int
    gap_records: int
    is_settled: bool
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def is_pass(self) -> bool:
        """Whether every promise held."""
        wrong = (
            self.missing,
            self.phantom,
            self.order_violations,
            self.id_violations,
            self.bad_signatures,
            self.foreign_canaries,
            self.gap_violations,
            self.acked_lost,
            len(self.overdrawn),
            len(self.late),
        )
        return not any(wrong) and self.duplicates <= self.duplicate_bound and self.is_settled


@dataclass(frozen=True, slots=True)
class View:
    """One lane with what belongs to it."""

    lane: Lane
    owed: Mapping[int, Produced]
    arrivals: Mapping[int, Sequence[Arrival]]
    parked: Mapping[Place, Parked]
    gaps: frozenset[Place]

    def settled_at(self, record: Produced) -> float:
        """Return when later records of its order might go out; NEVER while it is owed."""
        arrivals = self.arrivals.get(record.seq, ())
        delivered = first_delivery(arrivals)
        if delivered is not None:
            return delivered
        row = self.parked.get(record.place)
        if row is not None and row.state in WAITING:
            return NEVER
        if row is not None and row.died_at is not None:
            return row.died_at  # an engine that woke up late may have tried it once more since
        # Given up, announced or missing: what follows must at least have waited for its attempts.
        return max((arrival.at for arrival in arrivals), default=0.0)


def judge(history: History, slack: float = 1.0) -> Verdict:
    """Return the verdict on a run.

    slack  what limits of recovery are multiplied with on a busy machine
    """
    views = [_view(history, lane) for lane in history.lanes]
    missing = [_name(view, one) for view in views for one in missing_of(view)]
    phantom = [name for view in views for name in phantoms_of(view)]
    order = [name for view in views for name in order_violations(view)]
    ids = [name for view in views for name in id_violations(view)]
    gaps = [name for view in views for name in _wrong_gaps(view, history)]
    arrivals = [one for view in views for many in view.arrivals.values() for one in many]
    doubles = sorted(at for view in views for many in view.arrivals.values() for at in copies(many))
    recovery, late = recoveries(history, slack)
    return Verdict(
        missing=len(missing),
        phantom=len(phantom),
        duplicates=len(doubles),
        duplicate_bound=sum(fault.doubles for fault in history.faults),
        overdrawn=overdrawn(doubles, history.faults),
        order_violations=len(order),
        id_violations=len(ids),
        bad_signatures=sum(not one.is_signed for one in arrivals),
        foreign_canaries=sum(one.foreign for one in arrivals) + history.leaked_canaries,
        gap_violations=len(gaps),
        acked_lost=len(history.acked - {one.place for one in history.records} - history.missing_at),
        late=late,
        recovery_s=recovery,
        deliveries=sum(one.status in DELIVERED for one in arrivals),
        distinct=sum(
            first_delivery(many) is not None for view in views for many in view.arrivals.values()
        ),
        parked=len(history.parked),
        gap_records=sum(gap.last - gap.first + 1 for gap in history.gaps),
        is_settled=history.is_settled,
        examples=_examples(missing=missing, phantom=phantom, order=order, ids=ids, gaps=gaps),
    )


def first_delivery(arrivals: Iterable[Arrival]) -> float | None:
    """Return when a record was first answered with 2xx; None when it never was."""
    return next((one.at for one in arrivals if one.status in DELIVERED), None)


def copies(arrivals: Iterable[Arrival]) -> list[float]:
    """Return when each delivery of one record was made that came again.

    An answer that the sink itself lost makes the next delivery a rightful one. What counts is when
    the delivery was made that was not remembered: its copy may come minutes later, once the
    endpoint is back or the head of its key is settled.
    """
    times: list[float] = []
    known_at: float | None = None
    for one in arrivals:
        if one.status in DELIVERED:
            if known_at is not None:
                times.append(known_at)
            known_at = None if one.is_lost else one.at
    return times


def missing_of(view: View) -> list[Produced]:
    """Return the records that the lane owes to this day."""
    return [
        record
        for seq, record in view.owed.items()
        if first_delivery(view.arrivals.get(seq, ())) is None
        and record.place not in view.parked
        and record.place not in view.gaps
    ]


def phantoms_of(view: View) -> list[str]:
    """Return what was delivered and never produced for this lane."""
    return [f"{view.lane.subscription} #{seq}" for seq in view.arrivals if seq not in view.owed]


def order_violations(view: View) -> list[str]:
    """Return the records that were attempted before an earlier one of their order was settled."""
    if view.lane.ordering == "none":
        return []
    chains: dict[object, list[Produced]] = defaultdict(list)
    for record in view.owed.values():
        _, partition, _ = record.place
        is_keyed = view.lane.ordering == "key"
        chains[(partition, record.key) if is_keyed else partition].append(record)
    return [name for chain in chains.values() for name in _overtaken(view, chain)]


def _overtaken(view: View, chain: list[Produced]) -> list[str]:
    found = []
    barrier, before = 0.0, ""
    for record in sorted(chain, key=lambda one: one.place):
        arrivals = view.arrivals.get(record.seq, ())
        if arrivals and arrivals[0].at < barrier:
            found.append(f"{_name(view, record)} overtook {before}")
        settled = view.settled_at(record)
        if settled > barrier:
            barrier, before = settled, _name(view, record)
    return found


def id_violations(view: View) -> list[str]:
    """Return records with two ids or two bodies, and ids of two records."""
    found = []
    records_of: dict[str, set[int]] = defaultdict(set)
    for seq, arrivals in view.arrivals.items():
        for one in arrivals:
            records_of[one.webhook_id].add(seq)
        if len({(one.webhook_id, one.body) for one in arrivals}) > 1:
            found.append(f"{view.lane.subscription} #{seq} came under two ids or with two bodies")
    found += [
        f"{name} names {len(seqs)} records" for name, seqs in records_of.items() if len(seqs) > 1
    ]
    return found


def overdrawn(doubles: Sequence[float], faults: Sequence[Fault]) -> list[str]:
    """Return the faults in whose time more was forgotten than those that overlap it may cost."""
    found = []
    for fault in faults:
        begun = fault.at - UNWRITTEN_S
        allowed = sum(
            other.doubles
            for other in faults
            if other.at - UNWRITTEN_S < fault.until and begun < other.until
        )
        seen = sum(begun <= at < fault.until for at in doubles)
        if seen > allowed:
            found.append(f"{fault.id}: {seen} copies, {allowed} allowed")
    return found


def recoveries(history: History, slack: float) -> tuple[dict[str, float], list[str]]:
    """Return the median and longest recovery in seconds, and the faults that took too long."""
    taken, late = [], []
    for fault in history.faults:
        if fault.limit_s is None or _is_overlapped(fault, history.faults):
            continue
        seconds = max(
            (
                _recovery(history.arrivals.get(lane.tenant, ()), lane, fault)
                for lane in history.lanes
                if not fault.tenants or lane.tenant in fault.tenants
            ),
            default=0.0,
        )
        taken.append(seconds)
        if seconds > fault.limit_s * slack:
            late.append(f"{fault.id}: {seconds:.1f} s, {fault.limit_s * slack:.0f} allowed")
    ordered = sorted(taken) or [0.0]
    figures = {"p50": round(ordered[len(ordered) // 2], 2), "max": round(ordered[-1], 2)}
    return figures, late


def _is_overlapped(fault: Fault, faults: Sequence[Fault]) -> bool:
    """Whether another fault began, that touches the same lanes, before this one could be over."""
    end = fault.healed + (fault.limit_s or 0.0)
    return any(
        other is not fault
        and other.at < end
        and other.until > fault.healed
        and (not fault.tenants or not other.tenants or set(fault.tenants) & set(other.tenants))
        for other in faults
    )


def _recovery(arrivals: Sequence[Arrival], lane: Lane, fault: Fault) -> float:
    """Return the seconds from healing to the first delivery of a lane; 0 where none was due."""
    start = bisect_left(arrivals, fault.healed + SETTLE_S, key=lambda one: one.at)
    first = next(
        (
            arrivals[number].at
            for number in range(start, len(arrivals))
            if arrivals[number].subscription == lane.subscription
            and arrivals[number].status in DELIVERED
        ),
        None,
    )
    return 0.0 if first is None else first - fault.healed


def _wrong_gaps(view: View, history: History) -> list[str]:
    """Return announced offsets that could be had, and such that came nevertheless."""
    there = {record.place for record in history.records}
    return [
        f"{view.lane.subscription} {place} was announced and is there"
        for place in view.gaps
        if place in there
    ]


def _view(history: History, lane: Lane) -> View:
    arrivals: dict[int, list[Arrival]] = defaultdict(list)
    for one in history.arrivals.get(lane.tenant, ()):
        if one.subscription == lane.subscription:
            arrivals[one.seq].append(one)
    return View(
        lane,
        {
            record.seq: record
            for record in history.records
            if record.place[0] == lane.topic and lane.wants(record)
        },
        arrivals,
        {row.place: row for row in history.parked if row.subscription == lane.subscription},
        frozenset(
            (gap.topic, gap.partition, offset)
            for gap in history.gaps
            if gap.subscription == lane.subscription
            for offset in range(gap.first, gap.last + 1)
        ),
    )


def _name(view: View, record: Produced) -> str:
    topic, partition, offset = record.place
    return f"{view.lane.subscription} {topic}[{partition}]@{offset} #{record.seq} {record.key}"


def _examples(**found: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the first few of each kind of fault, so that a failed run can be looked into."""
    return {kind: names[:EXAMPLES] for kind, names in found.items() if names}


def fault_counts(faults: Iterable[Fault]) -> dict[str, int]:
    """Return how often each fault was injected, by id."""
    return dict(sorted(Counter(fault.id for fault in faults).items()))
