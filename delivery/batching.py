"""Lanes that send many records in one request (pure).

A batch goes out at the first of its limits. What fails is tried again before anything else of its
lane; what is rejected is halved, again and again, until the records that are to blame stand alone.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from delivery.lanes import RECORD_BYTES, Delivery, LaneState, Partition, release
from delivery.ordering import PRUNE_FROM, key_of
from delivery.serial import SerialLane

if TYPE_CHECKING:
    from delivery.request import LaneForm
    from subscriptions.live import BatchLimits

ITEM_BYTES = 160
"""What a record weighs in a body besides its value: id, type, time; an estimate, the body itself
is cut exactly."""


class Bundle(Delivery):
    """Records that go out in one request; it is in no floor itself, its items are.

    is_split  whether it is part of one that was rejected
    refused   those of it that its endpoint did not take, though it took the others
    """

    __slots__ = ("is_split", "items", "refused")
    is_bundle: ClassVar[bool] = True

    def __init__(self, lane: "BatchLane", items: list[Delivery], *, is_split: bool) -> None:
        super().__init__(lane.form, None, items[0].offset, lane)
        self.items = items
        self.is_split = is_split
        self.refused: list[Delivery] = []
        self.attempts = items[0].attempts
        self.sends = max(item.sends for item in items)


class BatchLane(SerialLane):
    """Sends bundles. By key or partition one is out at a time, else several are.

    is_due  whether the oldest has waited long enough, so that what is there goes out
    gathering_since  monotonic time from which the first of the next bundle waits; None: none does

    ``returned`` are items given back, by offset; ``_splits`` groups of rejected bundles, each of
    which is a bundle of its own. Both go before what is queued.
    """

    __slots__ = ("_splits", "gathering_since", "is_due")

    def __init__(
        self,
        partition: Partition,
        form: "LaneForm",
        ahead: set[int],
        waiting: Iterable[bytes] = (),
        *,
        secret: bytes = b"",
    ) -> None:
        super().__init__(partition, form, ahead, waiting, secret=secret)
        self._splits: deque[list[Delivery]] = deque()
        self.is_due = False
        self.gathering_since: float | None = None

    @property
    def limits(self) -> "BatchLimits":
        """The limits of a bundle."""
        limits = self.form.subscription.batch
        if limits is None:
            raise ValueError("a subscription without batches has another kind of lane")
        return limits

    @property
    def keeps_order(self) -> bool:
        """Whether one bundle at a time is out."""
        return self.form.subscription.ordering != "none"

    # What goes out.

    def look(self, now: float, *, at_once: bool = False) -> bool:
        """Judge at this monotonic time whether a bundle is due; return whether one is."""
        if not self.queue:
            self.gathering_since = None
            return False
        if self.gathering_since is None:
            self.gathering_since = now
        waited_ms = (now - self.gathering_since) * 1000
        self.is_due = at_once or waited_ms >= self.limits.max_wait_ms
        return self.is_due or self.is_full

    @property
    def is_full(self) -> bool:
        """Whether what is queued fills a bundle."""
        limits, count = self.limits, len(self.queue)
        body_bytes = self.queued_bytes - count * (RECORD_BYTES - ITEM_BYTES)
        return count >= limits.max_records or body_bytes >= limits.max_bytes

    def next(self) -> Delivery | None:
        """Return the next bundle, or None while none is due or may go."""
        if self.state is LaneState.PAUSED or self.untold or self.is_waiting or self.dying:
            return None
        if self.in_flight and self.keeps_order:
            return None
        is_split = False
        if self.returned:
            items = self._first_of(self.returned)
        elif self._splits:
            items, is_split = self._splits.popleft(), True
        elif self.queue and (self.is_due or self.is_full):
            items = self._first_of(self.queue)
            self.is_due, self.gathering_since = False, None
        else:
            return None
        self._restored(items[0])
        for item in items:
            self.queued_bytes -= item.weight
            self.in_flight[item] = None
        self.partition.in_flight += len(items)
        return Bundle(self, items, is_split=is_split)

    def _first_of(self, waiting: deque[Delivery]) -> list[Delivery]:
        limits, items, body_bytes = self.limits, [waiting.popleft()], 0
        while waiting and len(items) < limits.max_records and body_bytes < limits.max_bytes:
            body_bytes += items[-1].weight - RECORD_BYTES + ITEM_BYTES
            items.append(waiting.popleft())
        return items

    # What comes back.

    def give_back(self, delivery: Delivery) -> None:
        """Take back a bundle whose attempt did not count, or one item."""
        for item in items_of(delivery):
            super().give_back(item)

    def settle(self, delivery: Delivery) -> None:
        """Note that a bundle, or one item, is delivered or parked."""
        for item in items_of(delivery):
            super().settle(item)

    def put_back(self, items: list[Delivery], *, halves: bool = False) -> None:
        """Take back items of a bundle that go out next, as a bundle of their own or as two."""
        for item in items:
            self._landed(item)
            self.queued_bytes += item.weight
        middle = (len(items) + 1) // 2 if halves else len(items)
        self._splits.extendleft(group for group in (items[middle:], items[:middle]) if group)

    def put_back_each(self, items: Sequence[Delivery]) -> None:
        """Take back items that go out next, each alone."""
        for item in reversed(items):
            self.put_back([item])

    def resume_after(self, delivery: Delivery) -> int:
        """Return where to go on reading once this bundle is done: nothing below is owed else."""
        items = items_of(delivery)
        others = (self.in_flight.keys() | {*self.returned, *self._split()}) - set(items)
        unsent = (*self.to_park, *self.queue)
        return min((one.offset for one in (*others, *unsent)), default=items[-1].offset + 1)

    # What takes it away from its readers.

    def fall_behind(self, reason: str, state: LaneState = LaneState.BEHIND) -> None:
        """Owe everything from the first record never sent; parts of a bundle count as such.

        Where several bundles are out, what was part of one stays: something above it may be out.
        """
        parts = self._split()
        self._splits.clear()
        if self.keeps_order:
            self.queue.extendleft(reversed(parts))
        else:
            self.returned.extend(parts)
        self.is_due, self.gathering_since = False, None
        super().fall_behind(reason, state)

    def abandon(self) -> None:
        """Owe nothing any more: the subscription is gone."""
        for item in self._split():
            release(item)
        super().abandon()

    def drop(self) -> None:
        """Forget all that is not out; it stays owed."""
        self._splits.clear()
        super().drop()

    def _split(self) -> list[Delivery]:
        return [item for group in self._splits for item in group]

    @property
    def queued(self) -> int:
        """How many records wait that are in no bundle."""
        return len(self.queue) + sum(map(len, self._splits))

    @property
    def is_hungry(self) -> bool:
        """Whether something could be sent, as far as the lane goes."""
        is_ready = bool(self.queue) and (self.is_due or self.is_full)
        return bool(self.returned or self._splits) or is_ready

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or in flight."""
        return not (self.queue or self._splits or self.returned or self.in_flight)


class KeyBatchLane(BatchLane):
    """Bundles by key: what comes behind a parked record of its key is parked, not sent.

    Nothing is sent while records wait to be parked, so all that is out lies below those.
    """

    __slots__ = ("_prune_at",)

    def __init__(
        self,
        partition: Partition,
        form: "LaneForm",
        ahead: set[int],
        waiting: Iterable[bytes] = (),
        *,
        secret: bytes = b"",
    ) -> None:
        super().__init__(partition, form, ahead, waiting, secret=secret)
        self._prune_at = PRUNE_FROM

    def push(self, delivery: Delivery) -> None:
        """Queue a delivery, or set it down for parking where its key has a parked head."""
        if self.heads and self.is_blocked(delivery):
            self.queued_bytes += delivery.weight
            self.to_park.append(delivery)
        else:
            super().push(delivery)

    def next(self) -> Delivery | None:
        """Return the next bundle; None as well while records wait to be parked."""
        return None if self.to_park else super().next()

    def unblock(self, order_key: bytes, number: int) -> bool:
        """Let records of an order go out again, in the order of their offsets."""
        is_free = super().unblock(order_key, number)
        if is_free:
            self.queue = deque(sorted(self.queue, key=_offset))
        return is_free

    def block(self, delivery: Delivery, number: int) -> bytes | None:
        """Let the records of a key wait behind this one, which is parked in batch ``number``."""
        if key_of(delivery) is None:
            return None
        order_key = self.blocked(delivery, number)
        for waiting in (self.returned, *self._splits, self.queue):
            behind = [one for one in waiting if self.is_blocked(one)]
            self.to_park.extend(behind)
            for one in behind:
                waiting.remove(one)
        self._splits = deque(group for group in self._splits if group)
        return order_key

    def set_aside(self, delivery: Delivery) -> None:
        """Note that one of ``to_park`` is parked; what lies below it may be read again."""
        super().set_aside(delivery)
        self.ahead.add(delivery.offset)
        if len(self.ahead) >= self._prune_at:
            lowest = min((one.offset for one in (*self.in_flight, *self.queue)), default=0)
            self.ahead = {offset for offset in self.ahead if offset >= lowest}
            self._prune_at = max(PRUNE_FROM, 2 * len(self.ahead))

    def fall_behind(self, reason: str, state: LaneState = LaneState.BEHIND) -> None:
        """Owe everything from the first record never sent and not parked."""
        unsent = sorted([*self.to_park, *self._split(), *self.queue], key=_offset)
        self.to_park.clear()
        self._splits.clear()
        self.queue = deque(unsent)
        super().fall_behind(reason, state)

    def abandon(self) -> None:
        """Owe nothing any more: the subscription is gone."""
        for delivery in self.to_park:
            release(delivery)
        super().abandon()

    def drop(self) -> None:
        """Forget all that is not out; it stays owed."""
        self.to_park.clear()
        super().drop()

    def _order_of(self, delivery: Delivery) -> bytes | None:
        return key_of(delivery)

    @property
    def queued(self) -> int:
        """How many records wait that are in no bundle."""
        return super().queued + len(self.to_park)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or in flight."""
        return super().is_idle and not self.to_park


def items_of(delivery: Delivery) -> list[Delivery]:
    """Return the records that a delivery stands for: many in a bundle."""
    return delivery.items if isinstance(delivery, Bundle) else [delivery]


def _offset(delivery: Delivery) -> int:
    return delivery.offset
