"""Lanes with an order that wait: for time, a commit, a person, or to be parked.

Belongs to the dispatcher's thread; does no I/O.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from delivery.batching import BatchLane
from delivery.lanes import Lane
from delivery.ordering import OrderedLane
from delivery.serial import SerialLane


class Waits:
    """Which lanes are to be looked at, so that nobody walks through all of them.

    dying    something waits for a dead letter to be durable
    held     waits for a person
    parking  has records to be parked behind a head
    offer    lets a lane take its turns; ``now_us`` is of PostgreSQL's clock
    """

    def __init__(self, offer: Callable[[Lane], None], now_us: Callable[[float], int]) -> None:
        self._offer = offer
        self._now_us = now_us
        # Ordered, so that the same notes make the same requests in the same order.
        self._sleeping: dict[SerialLane, None] = {}
        self._gathering: dict[BatchLane, None] = {}
        self.dying: dict[OrderedLane, None] = {}
        self.held: dict[SerialLane, None] = {}
        self.parking: dict[OrderedLane, None] = {}

    def note(self, lane: OrderedLane) -> None:
        """Look at a lane that may have records to be parked, or a bundle that is not full."""
        if lane.to_park:
            self.parking[lane] = None
        if isinstance(lane, BatchLane) and lane.queue:
            self._gathering[lane] = None

    def sleep(self, lane: SerialLane) -> None:
        """Look at a lane again when its head is due."""
        self._sleeping[lane] = None

    def forget(self, lane: Lane) -> None:
        """Look at a lane no more."""
        if isinstance(lane, OrderedLane):
            self.dying.pop(lane, None)
            self.parking.pop(lane, None)
        if isinstance(lane, SerialLane):
            self._sleeping.pop(lane, None)
            self.held.pop(lane, None)
        if isinstance(lane, BatchLane):
            self._gathering.pop(lane, None)

    def look(self, now: float, down: AbstractSet[str]) -> None:
        """Let heads be tried again and bundles go out that are due; ``down`` are endpoints."""
        if self._sleeping:
            self._wake(self._now_us(now))
        if self._gathering:
            self._gather(now, down)

    def _wake(self, now_us: int) -> None:
        for lane in list(self._sleeping):
            if lane.not_before_us is None or lane.not_before_us <= now_us:
                del self._sleeping[lane]
                lane.wake()
                self._offer(lane)

    def _gather(self, now: float, down: AbstractSet[str]) -> None:
        """Offer bundles whose first record has waited long enough; as probes at once."""
        for lane in list(self._gathering):
            if not lane.queue:
                del self._gathering[lane]
            if lane.look(now, at_once=lane.form.subscription.endpoint.id in down):
                self._offer(lane)
