"""Lanes: one subscription on one topic-partition, and what moves it between its states.

Everything here belongs to the dispatcher's thread and does no I/O. The states and their rules
are drawn in ``docs/state_machine.md``.
"""

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from delivery.floor import Floor, Owed
from kafkahub.kafka.record import Record

if TYPE_CHECKING:
    from delivery.ledger import ParkedRow
    from delivery.request import LaneForm
    from delivery.standings import PreparedSealed, Standings
    from subscriptions.cursor import Prepared

RECREATED = "recreated"
"""Reason of a lane that stands still because its topic is another one."""
RECORD_BYTES = 512
"""What a queued record weighs besides its value: objects, key, headers; measured roughly."""


class Delivery:
    """One record owed to one subscription, on its way.

    record   None where only the parked row is left of it
    lane     None for a parked one
    parked   the claimed row it came from, None on its first way
    owed     its entry in a floor, None once released
    sends    requests made for it so far, counted or not
    fault    why it cannot be sent at all (``undecodable``), "" otherwise

    ``is_bundle``: it stands for many, which go out in one request (``batching``).
    """

    is_bundle: ClassVar[bool] = False

    __slots__ = (
        "attempts",
        "fault",
        "form",
        "lane",
        "offset",
        "owed",
        "parked",
        "record",
        "sends",
        "webhook_id",
        "weight",
    )

    def __init__(  # noqa: PLR0917 - one is made for every delivery: keywords would cost
        self,
        form: "LaneForm",
        record: Record | None,
        offset: int,
        lane: "Lane | None" = None,
        owed: Owed | None = None,
        fault: str = "",
    ) -> None:
        self.form = form
        self.record = record
        self.offset = offset
        self.lane = lane
        self.owed = owed
        self.fault = fault
        self.parked: ParkedRow | None = None
        self.attempts = 0
        self.sends = 0
        self.webhook_id = ""
        value = record.value if record is not None else None
        self.weight = RECORD_BYTES + (len(value) if value is not None else 0)

    @property
    def replay(self) -> str:
        """Id of the replay that it is part of, or ""."""
        if self.parked is not None:
            return self.parked.replay
        return self.lane.replay if self.lane is not None else ""


class LaneState(StrEnum):
    """``LIVE``: the shared reader feeds it. ``BEHIND``: the backlog reader. ``PAUSED``: nobody."""

    LIVE = "live"
    BEHIND = "behind"
    PAUSED = "paused"


class Partition:
    """One partition this engine owns, as the dispatcher sees it.

    floor        of all lanes that are ``LIVE``; ``floor.next_offset`` is the shared position
    epoch        with the engine's owner id the fence of every write
    checkpoint   number of the last checkpoint that wrote its position
    is_recreated its log is another one now: nothing is sent until a person agrees
    """

    __slots__ = (
        "checkpoint",
        "epoch",
        "floor",
        "generation",
        "in_flight",
        "is_leaving",
        "is_lost",
        "is_recreated",
        "lanes",
        "number",
        "saved",
        "topic",
    )

    def __init__(
        self, topic: str, number: int, *, epoch: int, generation: int, next_offset: int
    ) -> None:
        self.topic = topic
        self.number = number
        self.epoch = epoch
        self.generation = generation
        self.checkpoint = 0
        self.floor = Floor(next_offset)
        self.saved = next_offset
        self.lanes: dict[str, Lane] = {}
        self.in_flight = 0
        self.is_leaving = False
        self.is_lost = False
        self.is_recreated = False


class Lane:
    """The deliveries of one subscription on one partition.

    ``queue`` holds deliveries never sent, in the order of their offsets; ``returned`` those that
    were sent and must be sent again soon, at most a window of them. So every offset that was ever
    sent is below the first one queued, and dropping the queue loses nothing that is in flight.

    debt    floor of what the backlog reader fed; None when nothing of it is left
    ahead   offsets that were settled before a crash and are not sent again
    is_mixed  whether ``in_flight`` may be out of order: something given back went out again
    seeks   how often a person had moved it when its row was read
    untold  webhook-id of what tells of a gap: nothing after the gap is sent before it; or ""

    Lanes that keep an order (``is_ordered``) are in ``ordering``.
    """

    is_ordered: ClassVar[bool] = False
    replay = ""
    """Id of the replay that it belongs to; a subscription's own lane belongs to none."""
    only_missing = False

    __slots__ = (
        "ahead",
        "debt",
        "form",
        "full_since",
        "in_flight",
        "is_dirty",
        "is_granted",
        "is_mixed",
        "is_ready",
        "live_from",
        "partition",
        "pass_number",
        "prepared",
        "queue",
        "queued_bytes",
        "read_offset",
        "reason",
        "returned",
        "seeks",
        "standings",
        "state",
        "untold",
    )

    def __init__(self, partition: Partition, form: "LaneForm", ahead: set[int]) -> None:
        self.partition = partition
        self.form = form
        self.ahead = ahead
        self.state = LaneState.LIVE
        self.reason = ""
        self.queue: deque[Delivery] = deque()
        self.returned: deque[Delivery] = deque()
        self.in_flight: dict[Delivery, None] = {}
        self.queued_bytes = 0
        self.live_from = partition.floor.next_offset
        self.read_offset = 0
        self.debt: Floor | None = None
        self.pass_number = 0
        self.is_granted = False
        self.is_ready = False
        self.is_dirty = False
        self.is_mixed = False
        self.standings: Standings | None = None
        self.prepared: Prepared | PreparedSealed | None = None
        self.full_since: float | None = None
        self.seeks = 0
        self.untold = ""

    @property
    def subscription(self) -> str:
        """Whose lane it is."""
        return self.form.subscription.id

    # What the shared reader and the backlog reader bring.

    def owes(self, offset: int) -> bool:
        """Return whether the live lane owes this record."""
        if self.state is not LaneState.LIVE or offset < self.live_from:
            return False
        return not self._was_settled(offset)

    def push(self, delivery: Delivery) -> None:
        """Queue a delivery; the caller has noted its ``owed`` in the right floor."""
        self.queue.append(delivery)
        self.queued_bytes += delivery.weight

    def push_backlog(self, deliveries: list[Delivery], next_offset: int) -> None:
        """Queue what the backlog reader read, and meet the shared position where it is reached."""
        debt = self._the_debt()
        meeting = self.partition.floor.next_offset
        for delivery in deliveries:
            if delivery.offset >= meeting or self._was_settled(delivery.offset):
                continue
            delivery.owed = Owed(delivery.offset, 1)
            debt.read(delivery.owed)
            self.push(delivery)
        self.read_offset = min(max(next_offset, self.read_offset), max(meeting, self.read_offset))
        debt.skip_to(self.read_offset)
        self.is_dirty = True
        if next_offset >= meeting:
            self.go_live()

    def go_live(self) -> None:
        """Take records from the shared reader from here on; what is queued goes first."""
        self.state = LaneState.LIVE
        self.reason = ""
        self.live_from = max(self.partition.floor.next_offset, self.read_offset)
        self.pass_number += 1
        self.is_granted = False
        self.is_dirty = True

    # What takes it away from the shared reader.

    def fall_behind(self, reason: str, state: LaneState = LaneState.BEHIND) -> None:
        """Owe everything from the first delivery never sent, and drop the queue.

        What was sent stays: its outcome moves the lane's own floor. The shared floor is released,
        so the lane's row must be written in the same transaction as that floor.
        """
        first_unsent = self.queue[0].offset if self.queue else self._read_up_to()
        for delivery in self.queue:
            release(delivery)
        self.queue.clear()
        self._owe(first_unsent, self._sent(), reason, state)

    def retire(self) -> None:
        """Send nothing more but what was sent before: another kind of lane takes over behind it."""
        self.fall_behind("subscription")

    def _sent(self) -> list[Delivery]:
        """Return what was sent and is not settled, by offset."""
        return sorted([*self.in_flight, *self.returned], key=lambda delivery: delivery.offset)

    def _owe(self, first_unsent: int, sent: list[Delivery], reason: str, state: LaneState) -> None:
        """Stand at the lower of ``sent`` and ``first_unsent``, from where reading goes on."""
        self.queued_bytes = sum(delivery.weight for delivery in self.returned)
        debt = Floor(sent[0].offset if sent else first_unsent)
        for delivery in sent:
            release(delivery)
            delivery.owed = Owed(delivery.offset, 1)
            debt.read(delivery.owed)
        debt.skip_to(first_unsent)
        self.debt = debt
        self.read_offset = first_unsent
        self.state = state
        self.reason = reason
        self.pass_number += 1
        self.is_granted = False
        self.is_dirty = True
        self.full_since = None

    def owe_from(self, offset: int, reason: str) -> None:
        """Stand behind at ``offset``, as the lane's row says when its partition is taken over."""
        self.debt = Floor(offset)
        self.read_offset = offset
        self.state = LaneState.BEHIND
        self.reason = reason

    def resume(self) -> None:
        """Let a paused lane be drained again."""
        if self.state is LaneState.PAUSED:
            self.state = LaneState.BEHIND
            self.is_dirty = True

    def abandon(self) -> None:
        """Owe nothing any more: the subscription is gone."""
        for delivery in (*self.queue, *self.returned, *self.in_flight):
            release(delivery)
        self.drop()
        self.debt = None

    def drop(self) -> None:
        """Forget all that is not out; it stays owed."""
        self.queue.clear()
        self.returned.clear()

    # What the sender takes and brings back.

    def next(self) -> Delivery | None:
        """Return the delivery to send next, or None; a paused lane keeps what was given back."""
        if self.state is LaneState.PAUSED or self.untold:
            return None
        if self.returned:
            delivery = self.returned.popleft()
            self.is_mixed = True
        elif self.queue:
            delivery = self.queue.popleft()
            self.is_mixed = self.is_mixed and bool(self.in_flight)
        else:
            return None
        self.queued_bytes -= delivery.weight
        self.in_flight[delivery] = None
        self.partition.in_flight += 1
        return delivery

    def give_back(self, delivery: Delivery) -> None:
        """Take back a delivery whose attempt did not count: it is sent again soon.

        Where the lane goes to another engine it stays owed, and that one sends it.
        """
        self._landed(delivery)
        if self.is_ours:
            self.returned.append(delivery)
            self.queued_bytes += delivery.weight

    def settle(self, delivery: Delivery) -> None:
        """Note that a delivery is delivered or parked."""
        self._landed(delivery)
        release(delivery)
        if self.debt is not None:
            self.is_dirty = True

    def _landed(self, delivery: Delivery) -> None:
        self.in_flight.pop(delivery, None)
        self.partition.in_flight -= 1

    def resume_after(self, delivery: Delivery) -> int:
        """Return where to go on reading once this delivery is done: nothing below is owed else.

        Requests go out in the order of their offsets, so the oldest one out is the first of
        ``in_flight``, unless some were given back and went out again.
        """
        if self.returned or self.is_mixed:
            others = [
                one.offset for one in (*self.in_flight, *self.returned) if one is not delivery
            ]
            if others:
                return min(others)
        else:
            for other in self.in_flight:
                if other is not delivery:
                    return min(other.offset, delivery.offset + 1)
        return self.queue[0].offset if self.queue else delivery.offset + 1

    # What the checkpoint writes.

    def row(self) -> tuple[LaneState, int]:
        """Return the state and offset that the lane's row shall have.

        A lane that is live again stays ``BEHIND`` in its row until what it read from the backlog
        is settled: after a crash that part must be read again.
        """
        if self.debt is not None and self.state is LaneState.LIVE and self.debt.is_settled:
            self.debt = None
        if self.debt is None:
            return LaneState.LIVE, self.live_from
        state = LaneState.BEHIND if self.state is LaneState.LIVE else self.state
        return state, self.debt.position()

    def head(self, next_offset: int) -> tuple[int, int | None]:  # noqa: ARG002 - for serial lanes
        """Return the attempts of the record at ``next_offset``, and when it is tried again."""
        return 0, None

    @property
    def queued(self) -> int:
        """How many deliveries wait that were never sent."""
        return len(self.queue)

    @property
    def is_hungry(self) -> bool:
        """Whether something could be sent, as far as the lane goes."""
        return bool(self.queue or self.returned)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is to be read for it now: its head is tried again later."""
        return False

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person."""
        return False

    @property
    def is_ours(self) -> bool:
        """Whether anything of it may be sent or written from here: neither going nor gone."""
        partition = self.partition
        known = partition.lanes.get(self.subscription)
        return known is self and not (partition.is_leaving or partition.is_lost)

    @property
    def is_serial(self) -> bool:
        """Whether its records go out one after the other, and a gap before what follows it."""
        live = self.form.subscription
        return live.ordering == "partition" or (live.ordering == "key" and live.batch is not None)

    @property
    def is_read_out(self) -> bool:
        """Whether nothing is ever left to be read for it; a lane without an end goes on."""
        return False

    def clamp(self, offset: int) -> int:
        """Return the offset, or the lane's end where that lies below."""
        return offset

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or in flight."""
        return not (self.queue or self.returned or self.in_flight)

    def _the_debt(self) -> Floor:
        if self.debt is None:
            self.debt = Floor(self.read_offset)
        return self.debt

    def _read_up_to(self) -> int:
        if self.state is LaneState.LIVE:
            return max(self.partition.floor.next_offset, self.live_from)
        return self.read_offset

    def _was_settled(self, offset: int) -> bool:
        # Kept for good: a lane that falls behind reads such an offset once more.
        return offset in self.ahead


def release(delivery: Delivery) -> None:
    """Owe the delivery no more in the floor that it is noted in."""
    if delivery.owed is not None:
        delivery.owed.pending -= 1
        delivery.owed = None
