"""Whose turn it is: requests in flight an endpoint may have, and a fair share for each (pure).

Belongs to the dispatcher's thread. Endpoints take turns, and within an endpoint its lanes do, so
that one with a long queue does not keep the others waiting.
"""

from collections import deque
from typing import Protocol

from delivery.lanes import Delivery
from delivery.retry import throttle_s


class Feeder(Protocol):
    """A queue of deliveries for one endpoint: a lane, or its due parked rows."""

    is_ready: bool

    def next(self) -> Delivery | None: ...


class ParkedQueue:
    """Claimed parked rows of one endpoint, and deliveries without a lane such as tests."""

    __slots__ = ("is_ready", "queue")

    def __init__(self) -> None:
        self.queue: deque[Delivery] = deque()
        self.is_ready = False

    def next(self) -> Delivery | None:
        return self.queue.popleft() if self.queue else None


class Window:
    """Requests in flight to one endpoint.

    limit       requests that may be in flight at once
    not_before  monotonic time before which none starts, as the endpoint asked for
    """

    __slots__ = ("feeders", "in_flight", "is_ready", "limit", "not_before", "parked", "throttles")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.not_before = 0.0
        self.throttles = 0
        self.is_ready = False
        self.feeders: deque[Feeder] = deque()
        self.parked = ParkedQueue()

    def throttled(self, now: float, retry_after_s: float | None) -> float:
        """Start nothing until the endpoint may be asked again; return how long that is, in s."""
        self.throttles += 1
        wait = retry_after_s if retry_after_s is not None else throttle_s(self.throttles)
        self.not_before = max(self.not_before, now + wait)
        return wait

    def next(self) -> Delivery | None:
        """Return the delivery of the feeder whose turn it is; feeders take turns."""
        while self.feeders:
            feeder = self.feeders[0]
            delivery = feeder.next()
            if delivery is not None:
                self.feeders.rotate(-1)
                return delivery
            self.feeders.popleft()
            feeder.is_ready = False
        return None


class Turns:
    """The windows of all endpoints, and which of them are asked in turn."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._ready: deque[Window] = deque()
        self._waiting: list[Window] = []

    def window(self, endpoint: str, limit: int) -> Window:
        """Return the window of an endpoint, made or with its limit brought up to date."""
        window = self._windows.get(endpoint)
        if window is None:
            window = self._windows[endpoint] = Window(limit)
        window.limit = limit
        return window

    def offer(self, window: Window, feeder: Feeder) -> None:
        """Note that ``feeder`` has something to send to this window's endpoint."""
        if not feeder.is_ready:
            feeder.is_ready = True
            window.feeders.append(feeder)
        self._admit(window)

    def withdraw(self, window: Window, feeder: Feeder) -> None:
        """Ask ``feeder`` no more for this window's endpoint: it is another's from now on."""
        if feeder.is_ready:
            feeder.is_ready = False
            window.feeders.remove(feeder)

    def take(self, now: float) -> Delivery | None:
        """Return the next delivery whose endpoint has room, or None; counts it as in flight."""
        ready = self._ready
        while ready:
            window = ready[0]
            if window.not_before > now:
                self._waiting.append(window)
            elif window.in_flight < window.limit:
                delivery = window.next()
                if delivery is not None:
                    window.in_flight += 1
                    ready.rotate(-1)
                    return delivery
            ready.popleft()
            window.is_ready = False
        return None

    def landed(self, window: Window) -> None:
        """Note that a request to this window's endpoint has ended."""
        window.in_flight -= 1
        self._admit(window)

    def wake_due(self, now: float) -> None:
        """Ask those again that were told to wait and have waited."""
        waiting, self._waiting = self._waiting, []
        for window in waiting:
            if window.not_before <= now:
                self._admit(window)
            else:
                self._waiting.append(window)

    def forget_parked(self) -> list[Delivery]:
        """Send none of the claimed parked rows that are not out yet; return them."""
        forgotten: list[Delivery] = []
        for window in self._windows.values():
            forgotten += window.parked.queue
            window.parked.queue.clear()
        return forgotten

    def _admit(self, window: Window) -> None:
        if not window.is_ready and window.feeders and window.in_flight < window.limit:
            window.is_ready = True
            self._ready.append(window)
