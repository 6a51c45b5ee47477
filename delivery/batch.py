"""Outcomes on their way to PostgreSQL: what one checkpoint writes, all of it or nothing (pure)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from delivery.gaps import Noticed
from delivery.lanes import Delivery, Lane, Partition
from delivery.ledger import TEST_PREFIX, AttemptRow, Dead, Later, NewlyParked, ParkedRow
from delivery.outcome import OutcomeClass
from delivery.positions import Floor, LaneRow, Place
from delivery.request import Request
from kafkahub.egress.curl import Answer

UNKNOWN_WAIT_S = 5.0
"""When a row is looked at again whose subscription was not in the snapshot."""


class Hastened(NamedTuple):
    """Subscriptions whose endpoint is back: what failed since then is due now.

    since_us  Unix time in µs on PostgreSQL's clock
    """

    subscriptions: list[str]
    since_us: int


@dataclass(slots=True)
class Batch:
    """Everything that one checkpoint makes durable, in one transaction.

    delivered, rescheduled, dead   what came of claimed parked rows
    """

    number: int
    attempts: list[AttemptRow] = field(default_factory=list)
    parked: list[NewlyParked] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    rescheduled: list[Later] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    lanes: list[LaneRow] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    hastened: list[Hastened] = field(default_factory=list)
    gaps: list[Noticed] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (
            self.attempts
            or self.parked
            or self.delivered
            or self.rescheduled
            or self.dead
            or self.lanes
            or self.floors
            or self.hastened
            or self.gaps
        )


class Outcomes:
    """Gathers outcomes until the next checkpoint takes them.

    now_us  turns the monotonic clock into Unix µs on PostgreSQL's clock
    """

    def __init__(self, owner: UUID, now_us: Callable[[float], int]) -> None:
        self._owner = owner
        self._now_us = now_us
        self._number = 0
        self._batch = Batch(0)
        self._lanes: set[Lane] = set()

    def now_us(self, now: float) -> int:
        """Return a monotonic time in Unix µs on PostgreSQL's clock."""
        return self._now_us(now)

    @property
    def count(self) -> int:
        """Outcomes that wait: what a crash now would make doubtful."""
        return len(self._batch.attempts) + len(self._batch.parked)

    @property
    def next_number(self) -> int:
        """Number of the batch that gathers now."""
        return self._number + 1

    def touch(self, lane: Lane) -> None:
        """Write the lane's row with the next checkpoint."""
        self._lanes.add(lane)

    def lose(self, place: Place) -> None:
        """Park nothing of a partition that is not ours any more: its new owner reads it again."""
        self._batch.parked = [
            row for row in self._batch.parked if (row.topic, row.partition) != place
        ]
        self._batch.gaps = [
            found for found in self._batch.gaps if (found.gap.topic, found.gap.partition) != place
        ]

    def gap(self, found: Noticed) -> None:
        """Announce offsets that a lane will never be given."""
        self._batch.gaps.append(found)

    def delivered(self, delivery: Delivery) -> None:
        """Note that a delivery is done."""
        if delivery.parked is not None:
            self._batch.delivered.append(delivery.webhook_id)

    def failed(
        self,
        delivery: Delivery,
        sent: Request,
        outcome: str,
        status: int | None,
        delay_s: float | None,
    ) -> None:
        """Park a delivery, or bury it where ``delay_s`` is None."""
        if delivery.parked is None:
            state, reason = ("dead", "exhausted") if delay_s is None else ("scheduled", "failed")
            self._park(delivery, state, reason, delay_s, sent=sent, outcome=outcome, status=status)
        elif delay_s is None:
            self._batch.dead.append(
                Dead(
                    delivery.webhook_id,
                    "exhausted",
                    outcome,
                    status,
                    delivery.attempts,
                    delivery.sends,
                )
            )
        else:
            self.put_off(delivery, outcome, status, delay_s)

    def put_off(self, delivery: Delivery, outcome: str, status: int | None, delay_s: float) -> None:
        """Let a parked delivery be tried again later."""
        self._batch.rescheduled.append(
            Later(delivery.webhook_id, delay_s, outcome, status, delivery.attempts, delivery.sends)
        )

    def hasten(self, subscriptions: list[str], since: float) -> None:
        """Let what failed since this monotonic time be tried again at once."""
        if subscriptions:
            self._batch.hastened.append(Hastened(subscriptions, self._now_us(since)))

    def give_back(self, row: ParkedRow) -> None:
        """Give back a claimed row whose subscription is not known here yet or any more."""
        self._batch.rescheduled.append(
            Later(row.id, UNKNOWN_WAIT_S, "", None, row.attempts, row.sends)
        )

    def born_dead(self, delivery: Delivery, reason: str) -> None:
        """Set aside what can never be sent as it is; a person may redrive it."""
        if delivery.parked is None:
            self._park(delivery, "dead", reason, None)
        else:
            self._batch.dead.append(
                Dead(delivery.webhook_id, reason, reason, None, delivery.attempts, delivery.sends)
            )

    def outdated(self, delivery: Delivery) -> None:
        """Set aside what was projected under a grant that has changed: it is made anew first."""
        self._park(delivery, "scheduled", "grant_changed", 0.0)

    def attempt(
        self,
        sent: Request,
        answer: Answer,
        *,
        outcome: str,
        outcome_class: OutcomeClass,
        retry_after_s: int | None,
        delay_s: float | None,
        now: float,
    ) -> None:
        """Note one request for the attempt log."""
        delivery, form = sent.delivery, sent.delivery.form
        subscription, record = form.subscription, delivery.record
        due = delivery.parked
        at_us = self._now_us(now)
        self._batch.attempts.append(
            AttemptRow(
                at_us,
                subscription.partner,
                subscription.id,
                subscription.endpoint.id,
                delivery.webhook_id,
                form.topic.name,
                form.partition,
                delivery.offset,
                record.timestamp_ms if record is not None else due and due.record_time_ms,
                _key(delivery),
                delivery.sends,
                _kind(sent),
                outcome,
                outcome_class.value,
                answer.status or None,
                answer.duration_us + sent.dns_us,
                (sent.dns_us, *answer.timings),
                answer.is_reused,
                len(sent.body),
                answer.excerpt or None,
                answer.note,
                retry_after_s,
                None if delay_s is None else at_us + int(delay_s * 1e6),
                sent.secret_ids,
            )
        )

    def take(self, partitions: list[Partition]) -> Batch:
        """Return what has gathered, with the floors of these partitions as they stand now."""
        self._number += 1
        batch, self._batch = self._batch, Batch(0)
        batch.number = self._number
        lanes, self._lanes = self._lanes, set()
        touched = {lane.partition for lane in lanes}
        parked = {(row.topic, row.partition) for row in batch.parked}
        parked |= {(found.gap.topic, found.gap.partition) for found in batch.gaps}
        for lane in lanes:
            if lane.partition.lanes.get(lane.form.subscription.id) is lane:
                batch.lanes.append(_lane_row(lane))
        for partition in partitions:
            place = (partition.topic, partition.number)
            is_due = partition in touched or place in parked
            if is_due or partition.floor.position() != partition.saved:
                batch.floors.append(self._floor(partition))
        if partitions and not batch.floors and not batch.is_empty:
            # By a floor's number a batch is known again whose COMMIT got no answer.
            batch.floors.append(self._floor(partitions[0]))
        return batch

    def _floor(self, partition: Partition) -> Floor:
        partition.saved = partition.floor.position()
        partition.checkpoint += 1
        return Floor(
            partition.topic,
            partition.number,
            partition.epoch,
            self._owner,
            partition.saved,
            partition.checkpoint,
        )

    def _park(
        self,
        delivery: Delivery,
        state: str,
        reason: str,
        delay_s: float | None,
        *,
        sent: Request | None = None,
        outcome: str = "",
        status: int | None = None,
    ) -> None:
        form, record, lane = delivery.form, delivery.record, delivery.lane
        if lane is None or record is None or lane.partition.is_lost:
            return  # its new owner reads the record again
        self._batch.parked.append(
            NewlyParked(
                delivery.webhook_id,
                form.subscription.id,
                record.topic,
                record.partition,
                record.offset,
                form.generation,
                None if form.topic.is_sensitive else record.key,
                record.timestamp_ms,
                sent.body if sent is not None else None,
                form.topic.is_sensitive,
                dict(sent.made.headers) if sent is not None else {},
                form.subscription.grants[record.topic].version,
                state,
                reason,
                delivery.attempts,
                delivery.sends,
                delay_s,
                outcome or reason,
                status,
            )
        )


def _lane_row(lane: Lane) -> LaneRow:
    state, next_offset = lane.row()
    lane.is_dirty = False
    partition = lane.partition
    return LaneRow(
        lane.form.subscription.id,
        partition.topic,
        partition.number,
        state,
        lane.reason,
        next_offset,
        seeks=lane.seeks,
    )


def _key(delivery: Delivery) -> bytes | None:
    """Return the key for the log; of a sensitive topic none is kept in the clear."""
    if delivery.form.topic.is_sensitive:
        return None
    record, due = delivery.record, delivery.parked
    if record is not None:
        return record.key
    return due.key if due is not None else None


def _kind(sent: Request) -> str:
    if sent.is_probe:
        return "probe"
    delivery = sent.delivery
    due = delivery.parked
    if due is None:
        return "first" if delivery.sends == 1 else "retry"
    if due.id.startswith(TEST_PREFIX):
        return "test"
    if due.reason == "resend":
        return "manual"
    return "first" if delivery.sends == 1 else "retry"
