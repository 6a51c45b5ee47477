"""Lanes with one request out at a time: what fails is tried again before anything else (pure)."""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from delivery.lanes import Delivery, Partition
from delivery.ordering import LANE_KEY, OrderedLane

if TYPE_CHECKING:
    from delivery.request import LaneForm

TRIES_S = (1.0, 2.0, 5.0)
"""When a serial head is tried again at no cost: long enough for the breaker's verdict."""


class SerialLane(OrderedLane):
    """One request is out at a time, and what fails is tried again before anything else.

    not_before_us  when its head is tried again, Unix µs on PostgreSQL's clock; None: at once
    failed_us      when it failed last
    tries          how often it was tried again at no cost
    is_on_trial    whether its next try is one of those
    """

    __slots__ = (
        "_head_attempts",
        "_head_offset",
        "failed_us",
        "is_on_trial",
        "not_before_us",
        "tries",
    )

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
        self.not_before_us: int | None = None
        self.failed_us = 0
        self.tries = 0
        self.is_on_trial = False
        self._head_offset = -1
        self._head_attempts = 0

    def restore(self, offset: int, attempts: int, not_before_us: int | None) -> None:
        """Go on with a head as the lane's row has it."""
        self._head_offset, self._head_attempts = offset, attempts
        self.not_before_us = not_before_us
        self.tries = len(TRIES_S) if attempts else 0

    def next(self) -> Delivery | None:
        """Return the head, or None while it is out or not due, or a person is waited for."""
        if self.in_flight or self.is_waiting or self.dying:
            return None
        delivery = super().next()
        if delivery is not None:
            self._restored(delivery)
        return delivery

    def _restored(self, delivery: Delivery) -> None:
        """Give the head the attempts that it had before a crash."""
        if not delivery.sends and delivery.offset == self._head_offset:
            delivery.attempts = self._head_attempts

    def free_try_s(self) -> float | None:
        """Return after how long the head is tried again at no cost; None when that is over."""
        if self.tries == len(TRIES_S):
            return None
        self.tries += 1
        return TRIES_S[self.tries - 1]

    def wait(
        self, delivery: Delivery, *, now_us: int, delay_s: float, is_on_trial: bool = False
    ) -> None:
        """Try this delivery, which is the head, again after ``delay_s``."""
        self.is_on_trial = is_on_trial
        self._head_offset, self._head_attempts = delivery.offset, delivery.attempts
        self.failed_us = now_us
        self.not_before_us = now_us + int(delay_s * 1e6)

    def wake(self) -> None:
        """Let the head be tried again."""
        self.not_before_us = None

    def settle(self, delivery: Delivery) -> None:
        """Note that the head is delivered or parked."""
        super().settle(delivery)
        if delivery.offset == self._head_offset:
            self._head_offset, self._head_attempts, self.tries = -1, 0, 0
            self.is_on_trial = False

    def _order_of(self, delivery: Delivery) -> bytes | None:  # noqa: ARG002 - all have the same
        return LANE_KEY

    def _pass_on(self, key: bytes) -> None:
        """Do nothing: the next is the first of the queue."""

    def retire(self) -> None:
        """Give a head that is not out back to whoever takes over."""
        if not self.in_flight:
            self.queue = deque(sorted([*self.returned, *self.queue], key=lambda one: one.offset))
            self.returned.clear()
        super().retire()

    def head(self, next_offset: int) -> tuple[int, int | None]:
        """Return the attempts of the record at ``next_offset``, and when it is tried again."""
        if next_offset != self._head_offset:
            return 0, None
        return self._head_attempts, self.not_before_us

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is to be read for it now: its head is tried again later."""
        return self.not_before_us is not None or self.is_held

    @property
    def is_held(self) -> bool:
        """Whether it waits for a person."""
        return LANE_KEY in self.heads
