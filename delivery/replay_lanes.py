"""Lanes with an end: what a replay sends again of one partition (dispatcher's thread, no I/O)."""

from collections.abc import Set as AbstractSet

from delivery.batching import BatchLane
from delivery.floor import Floor, Owed
from delivery.lanes import Delivery, Lane, LaneState, Partition
from delivery.positions import LaneRow
from delivery.request import LaneForm
from delivery.serial import SerialLane


class Ending(Lane):
    """What lanes of replays have in common: behind until their end, never fed by the shared reader.

    replay        id of the replay
    only_missing  whether what has a delivered attempt is passed over
    """

    __slots__ = ()
    end_offset: int

    @property
    def subscription(self) -> str:
        """The replay's id: its lanes are told from the subscription's own, and so is its rate."""
        return self.replay

    @property
    def is_read_out(self) -> bool:
        """Whether nothing is left to be read for it."""
        return self.read_offset >= self.end_offset

    def clamp(self, offset: int) -> int:
        return min(offset, self.end_offset)

    def owes(self, _: int) -> bool:
        return False  # the shared reader feeds no replay

    def push_backlog(self, deliveries: list[Delivery], next_offset: int) -> None:
        """Queue what lies before the end."""
        debt = self.debt = self.debt or Floor(self.read_offset)
        for delivery in deliveries:
            if delivery.offset >= self.end_offset or delivery.offset in self.ahead:
                continue
            delivery.owed = Owed(delivery.offset, 1)
            debt.read(delivery.owed)
            self.push(delivery)
        self.read_offset = self.clamp(max(next_offset, self.read_offset))
        debt.skip_to(self.read_offset)
        self.is_dirty = True

    def row(self) -> tuple[LaneState, int]:
        position = self.read_offset if self.debt is None else self.debt.position()
        return LaneState.BEHIND, position


class ReplayLane(Ending):
    """Of a subscription without an order: as many requests as the window bears."""

    __slots__ = ("end_offset", "only_missing", "replay")


class OrderedReplay(Ending, SerialLane):
    """Of a subscription with an order, by key or by partition: one request at a time.

    A record that fails is tried again before the next one, so the order holds inside the replay,
    and no row of it stands before those of the live lane.
    """

    __slots__ = ("end_offset", "only_missing", "replay")


class BatchReplay(Ending, BatchLane):
    """Of a subscription with batches; in order, what is rejected alone is tried again first."""

    __slots__ = ("end_offset", "only_missing", "replay")


def lane_of(
    partition: Partition,
    form: LaneForm,
    row: LaneRow,
    settled: AbstractSet[int],
    *,
    only_missing: bool,
) -> ReplayLane | OrderedReplay | BatchReplay:
    """Return the lane of a replay, standing where its row says."""
    kind: type[ReplayLane | OrderedReplay | BatchReplay] = ReplayLane
    if form.subscription.batch is not None:
        kind = BatchReplay
    elif form.subscription.ordering != "none":
        kind = OrderedReplay
    lane = kind(partition, form, set(settled))
    lane.replay, lane.end_offset, lane.only_missing = row.replay, row.end_offset, only_missing
    lane.owe_from(row.next_offset, row.reason)
    return lane
