"""Outcomes on their way to PostgreSQL: what one checkpoint writes, all of it or nothing (pure)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from delivery.gaps import Noticed
from delivery.lanes import Delivery, Lane, Partition
from delivery.ledger import TEST_PREFIX, AttemptRow, Dead, Later, NewlyParked, ParkedRow
from delivery.outcome import OutcomeClass
from delivery.positions import Floor, LaneRow, Place
from delivery.request import Request
from delivery.succession import Order
from kafkahub.egress.curl import Answer
from kafkahub.kafka.envelope import Body

NO_VERSION = -1
"""Grant version of what was not projected under any that stands."""
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
    unclaimed  claimed rows that go on waiting behind their head
    orders     that rows of this batch were added to or ended of
    dissolved  lanes (subscription, topic, partition) whose parked rows keep no order any more
    """

    number: int
    attempts: list[AttemptRow] = field(default_factory=list)
    parked: list[NewlyParked] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    rescheduled: list[Later] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    orders: set[Order] = field(default_factory=set)
    dissolved: set[tuple[str, str, int]] = field(default_factory=set)
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
            or self.unclaimed
            or self.dissolved
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
        self._batch.dissolved = {lane for lane in self._batch.dissolved if lane[1:] != place}
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
            self._ended(delivery.parked)

    def failed(
        self,
        delivery: Delivery,
        sent: Request,
        outcome: str,
        status: int | None,
        delay_s: float | None,
        *,
        order_key: bytes | None = None,
        is_held: bool = False,
    ) -> None:
        """Park a delivery, or bury it where ``delay_s`` is None.

        order_key  tag of the key that it is the head of now, None where it goes out on its own
        is_held    whether it is kept, for a person, rather than buried
        """
        end = "held" if is_held else "dead"
        if delivery.parked is None:
            state, reason = (end, "exhausted") if delay_s is None else ("scheduled", "failed")
            self._park(
                delivery,
                state,
                reason,
                delay_s,
                made=sent.made,
                outcome=outcome,
                status=status,
                order_key=order_key,
            )
        elif delay_s is None:
            self._ended(delivery.parked)
            self._batch.dead.append(
                Dead(
                    delivery.webhook_id,
                    "exhausted",
                    outcome,
                    status,
                    delivery.attempts,
                    delivery.sends,
                    end,
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

    def give_back(self, row: ParkedRow, delay_s: float = UNKNOWN_WAIT_S) -> None:
        """Give back a claimed row whose subscription is not known here yet or any more."""
        self._batch.rescheduled.append(Later(row.id, delay_s, "", None, row.attempts, row.sends))

    def unclaim(self, rows: Iterable[ParkedRow]) -> None:
        """Give back claimed rows that go on waiting behind their head."""
        self._batch.unclaimed += [row.id for row in rows]

    def block(self, delivery: Delivery, made: Body, order_key: bytes) -> None:
        """Set a record aside that waits behind a parked one of its key; ``made`` is its body."""
        self._park(delivery, "blocked", "blocked", None, made=made, order_key=order_key)

    def dissolve(self, lane: Lane) -> None:
        """Let the parked rows of a lane go out on their own: it keeps another order now."""
        place = (lane.partition.topic, lane.partition.number)
        self._batch.dissolved.add((lane.form.subscription.id, *place))

    def born_dead(self, delivery: Delivery, reason: str) -> None:
        """Set aside what can never be sent as it is; a person may redrive it."""
        if delivery.parked is None:
            self._park(delivery, "dead", reason, None)
        else:
            self._ended(delivery.parked)
            self._batch.dead.append(
                Dead(delivery.webhook_id, reason, reason, None, delivery.attempts, delivery.sends)
            )

    def outdated(self, delivery: Delivery) -> None:
        """Set aside what was projected under a grant that has changed: it is made anew first."""
        before = len(self._batch.parked)
        self._park(delivery, "scheduled", "grant_changed", 0.0)
        if len(self._batch.parked) > before:
            # Without a body, so no engine may claim it: of no version, until it is made anew.
            self._batch.parked[-1] = self._batch.parked[-1]._replace(grant_version=NO_VERSION)

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
        batch: str | None = None,
    ) -> None:
        """Note one request for the attempt log; ``batch`` is the id of those it was sent with."""
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
                delivery.replay or None,
                batch,
            )
        )

    def take(self, partitions: list[Partition]) -> Batch:
        """Return what has gathered, with the floors of these partitions as they stand now."""
        self._number += 1
        batch, self._batch = self._batch, Batch(0)
        batch.number = self._number
        lanes, self._lanes = self._lanes, set()
        touched = {lane.partition for lane in lanes}
        dissolved = {lane[1:] for lane in batch.dissolved}
        parked = {(row.topic, row.partition) for row in batch.parked}
        parked |= {(found.gap.topic, found.gap.partition) for found in batch.gaps}
        for lane in lanes:
            if lane.partition.lanes.get(lane.subscription) is lane:
                batch.lanes.append(_lane_row(lane))
        for partition in partitions:
            place = (partition.topic, partition.number)
            is_due = partition in touched or place in parked or place in dissolved
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
        made: Body | None = None,
        outcome: str = "",
        status: int | None = None,
        order_key: bytes | None = None,
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
                made.content if made is not None else None,
                form.topic.is_sensitive,
                dict(made.headers) if made is not None else {},
                form.subscription.grants[record.topic].version,
                state,
                reason,
                delivery.attempts,
                delivery.sends,
                delay_s,
                outcome or ("" if state == "blocked" else reason),
                status,
                order_key,
                delivery.replay,
            )
        )
        if order_key is not None:
            order = Order(form.subscription.id, record.topic, record.partition, order_key)
            self._batch.orders.add(order)

    def _ended(self, row: ParkedRow) -> None:
        """Note that whoever waits behind this row may go on."""
        if row.order_key is not None:
            order = Order(row.subscription, row.topic, row.partition, row.order_key)
            self._batch.orders.add(order)


def _lane_row(lane: Lane) -> LaneRow:
    state, next_offset = lane.row()
    head_attempts, not_before_us = lane.head(next_offset)
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
        head_attempts=head_attempts,
        not_before_us=not_before_us,
        replay=lane.replay,
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
    delivery = sent.delivery
    if delivery.replay:
        return "replay"
    if sent.is_probe:
        return "probe"
    due = delivery.parked
    if due is None:
        return "first" if delivery.sends == 1 else "retry"
    if due.id.startswith(TEST_PREFIX):
        return "test"
    if due.reason == "resend":
        return "manual"
    return "first" if delivery.sends == 1 else "retry"
