"""Whose turn it is: requests in flight an endpoint may have, and a fair share for each (pure).

Belongs to the dispatcher's thread. Endpoints take turns, and within an endpoint its lanes do, so
that one with a long queue does not keep the others waiting.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from delivery.breaker import Breaker, Failed
from delivery.lanes import Delivery
from delivery.outcome import OutcomeClass
from delivery.retry import throttle_s

FIRST_SIZE = 4
"""Requests in flight to an endpoint nothing is known of."""
PROBES_MAX = 4
"""Probes out at once to an endpoint that is down: one that hangs does not delay the next."""
SHARED = 384
"""Requests of an engine that busy endpoints share; the rest is for those that come anew."""
SILENCE_S = 2.0
"""An endpoint that gave nothing back for so long gets no further request until it does."""
SHRINK_EVERY_S = 1.0
STRAINED = frozenset({OutcomeClass.THROTTLED, OutcomeClass.OVERLOADED, OutcomeClass.FAILED})
LATENCY_SHARE = 0.05
"""Weight of one answer in the running latency: about the last twenty count."""
BEST_AGES = 1.0002
"""The best latency seen is forgotten slowly, so that an endpoint that has moved is judged anew."""
FLAT_US = 1_000.0
"""Below this a doubled latency is noise of the machine, not strain of the endpoint."""


class Feeder(Protocol):
    """A queue of deliveries for one endpoint: a lane, or its due parked rows.

    subscription  whose lane it is; "" for a queue of several
    """

    is_ready: bool

    @property
    def subscription(self) -> str: ...

    def next(self) -> Delivery | None: ...


class Pace(Protocol):
    """A rate that several engines keep together."""

    def wait_s(self) -> float:
        """Return the seconds until one more request may go out; 0.0 for now."""
        ...

    def take(self) -> None:
        """Note that a request goes out."""
        ...


class Paced(NamedTuple):
    """The rates of one endpoint that has any: its own, and those of its subscriptions."""

    endpoint: Pace | None
    subscriptions: Mapping[str, Pace]


class ParkedQueue:
    """Claimed parked rows of one endpoint, and deliveries without a lane such as tests."""

    __slots__ = ("is_ready", "queue")

    def __init__(self) -> None:
        self.queue: deque[Delivery] = deque()
        self.is_ready = False

    @property
    def subscription(self) -> str:
        return ""

    def next(self) -> Delivery | None:
        return self.queue.popleft() if self.queue else None


class Window:
    """Requests in flight to one endpoint, as many as it bears.

    limit       what its partner allows
    size        what it bears: grows while its latency is flat, halves when it is overloaded
    share       its fair part of the engine, set by ``Turns``
    not_before  monotonic time before which none starts: it asked for silence, or is down
    down_since  monotonic time of the first failure of the last time it was down
    delivered_at  monotonic time of the last success; 0.0 for none
    paced       rates that its partner set; None for most, which costs them nothing
    wake_at     monotonic time at which what a rate holds back may go on
    """

    __slots__ = (
        "_best_us",
        "_grown",
        "_healthy",
        "_is_second",
        "_latency_us",
        "_shrunk_at",
        "_slow_to",
        "answered_at",
        "breaker",
        "delivered_at",
        "down_since",
        "failed",
        "feeders",
        "in_flight",
        "is_busy",
        "is_ready",
        "is_waiting",
        "limit",
        "not_before",
        "paced",
        "parked",
        "size",
        "throttles",
        "wake_at",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = min(FIRST_SIZE, limit)
        self.in_flight = 0
        self.not_before = 0.0
        self.throttles = 0
        self.is_ready = False
        self.is_busy = False
        self.is_waiting = False
        self.paced: Paced | None = None
        self.wake_at = 0.0
        self.breaker = Breaker()
        self.answered_at = 0.0
        self.delivered_at = 0.0
        self.failed = Failed()
        self.down_since: float | None = None
        self.feeders: deque[Feeder] = deque()
        self.parked = ParkedQueue()
        self._grown = 0
        self._healthy = self.size
        self._is_second = False
        self._slow_to = 0
        self._latency_us = 0.0
        self._best_us = 0.0
        self._shrunk_at = float("-inf")

    def has_room(self, now: float, share: int) -> bool:
        """Return whether one more request may go out; ``share`` is the most by fairness."""
        in_flight = self.in_flight
        if in_flight >= self.size or in_flight >= share:
            return False
        return in_flight == 0 or self.breaker.is_open or now - self.answered_at < SILENCE_S

    def answered(self, outcome_class: OutcomeClass, duration_us: int, now: float) -> bool:
        """Learn from an answer; return whether it opened or closed the breaker."""
        self.answered_at = now
        if outcome_class is OutcomeClass.DELIVERED:
            self.throttles = 0
            self.delivered_at = now
            self._grow(duration_us)
        elif outcome_class in STRAINED and not self.breaker.is_open:
            self._shrink(now)
        elif outcome_class is OutcomeClass.REJECTED and self.breaker.is_open:
            self._refused(now)
        return self.breaker.note(outcome_class, now)

    def opened(self, now: float, chance: float) -> None:
        """Send probes only from now on."""
        self.down_since = self.breaker.failing_since
        self._slow_to = self._healthy
        self.size = PROBES_MAX
        self.not_before = max(self.not_before, now + self.breaker.next_probe_s(now, chance))

    def presumed_down(self, now: float, failing_since: float) -> None:
        """Send probes only, the first at once: nothing has gone out from here yet."""
        self.breaker.presume(now, failing_since)
        self.down_since = self.breaker.failing_since
        self._slow_to = self._healthy
        self.size = PROBES_MAX

    def probed(self, now: float, chance: float) -> None:
        """Note that a probe goes out; the next does not wait for its answer."""
        self.not_before = now + self.breaker.next_probe_s(now, chance)

    def _refused(self, now: float) -> None:
        """Probe again at once, with the next record: what refuses one record is there to answer.

        Only after every second refusal, or who refuses everything would be asked without a pause.
        """
        self._is_second = not self._is_second and not self.throttles
        if self._is_second:
            self.not_before = now

    def closed(self, now: float) -> None:
        """Start slowly: one request, then twice as many a round, up to what it bore before."""
        self.size = 1
        self._grown = 0
        self.not_before = now

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

    def next_paced(self, paced: Paced, now: float) -> Delivery | None:
        """Return what ``next`` does, or None while rates hold it back, and note until when."""
        if paced.endpoint is not None and (wait_s := paced.endpoint.wait_s()):
            self.wake_at = now + wait_s
            return None
        self.wake_at = 0.0
        held = 0
        while held < len(self.feeders):
            feeder = self.feeders[0]
            pace = paced.subscriptions.get(feeder.subscription)
            if pace is not None and (wait_s := pace.wait_s()):
                self.wake_at = min(self.wake_at or now + wait_s, now + wait_s)
                self.feeders.rotate(-1)
                held += 1
                continue
            delivery = feeder.next()
            if delivery is not None:
                self.feeders.rotate(-1)
                self._count(delivery, paced)
                return delivery
            self.feeders.popleft()
            feeder.is_ready = False
        return None

    def _count(self, delivery: Delivery, paced: Paced) -> None:
        """Charge a request; one of a parked row too, which no rate of a subscription holds."""
        if paced.endpoint is not None:
            paced.endpoint.take()
        lane = delivery.lane
        name = delivery.form.subscription.id if lane is None else lane.subscription
        pace = paced.subscriptions.get(name)
        if pace is not None:
            pace.take()

    def _grow(self, duration_us: int) -> None:
        """Grow by one for each full window of successes while the latency is flat."""
        if self._latency_us == 0.0:
            self._latency_us = self._best_us = float(duration_us)
        self._latency_us += (duration_us - self._latency_us) * LATENCY_SHARE
        self._best_us = min(self._best_us * BEST_AGES, self._latency_us)
        if self.breaker.is_open:
            return
        self._healthy = self.size
        if self.size >= self.limit:
            return
        self._grown += 1
        is_flat = self._latency_us <= 2 * max(self._best_us, FLAT_US)
        if self._grown >= self.size and is_flat:
            self._grown = 0
            is_slow_start = self.size < self._slow_to
            self.size = min(self.limit, self.size * 2 if is_slow_start else self.size + 1)

    def _shrink(self, now: float) -> None:
        if now - self._shrunk_at >= SHRINK_EVERY_S:
            self._shrunk_at = now
            self.size = max(1, self.size // 2)
            self._slow_to = self._grown = 0


class Turns:
    """The windows of all endpoints, and which of them are asked in turn."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._ready: deque[Window] = deque()
        self._waiting: list[Window] = []
        self._paced: Mapping[str, Paced] = {}
        self._busy = 0

    def window(self, endpoint: str, limit: int) -> Window:
        """Return the window of an endpoint, made or with its limit brought up to date."""
        window = self._windows.get(endpoint)
        if window is None:
            window = self._windows[endpoint] = Window(limit)
            window.paced = self._paced.get(endpoint)
        if window.limit != limit:
            window.limit = limit
            window.size = min(window.size, limit)
        return window

    def pace(self, paced: Mapping[str, Paced]) -> None:
        """Hold endpoints to these rates, by their id, and all others to none."""
        self._paced = paced
        for endpoint, window in self._windows.items():
            window.paced = paced.get(endpoint)
            window.wake_at = 0.0

    def windows(self) -> Iterable[tuple[str, Window]]:
        """Return all windows by the endpoint they are of."""
        return self._windows.items()

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

    def take(self, now: float, chance: Callable[[], float]) -> Delivery | None:
        """Return the next delivery whose endpoint has room, or None; counts it as in flight.

        chance  gives uniform numbers in [0, 1), for the times of probes
        """
        ready = self._ready
        while ready:
            window = ready[0]
            if window.not_before > now:
                self._wait(window)
            elif window.has_room(now, self._share(window)):
                paced = window.paced
                delivery = window.next() if paced is None else window.next_paced(paced, now)
                if delivery is None and window.wake_at > now:
                    self._wait(window)
                if delivery is not None:
                    self._started(window, now, chance)
                    return delivery
            ready.popleft()
            window.is_ready = False
        return None

    def _wait(self, window: Window) -> None:
        if not window.is_waiting:
            window.is_waiting = True
            self._waiting.append(window)

    def landed(self, window: Window) -> None:
        """Note that a request to this window's endpoint has ended."""
        window.in_flight -= 1
        if window.in_flight == 0 and window.is_busy:
            window.is_busy = False
            self._busy -= 1
        self._admit(window)

    def _started(self, window: Window, now: float, chance: Callable[[], float]) -> None:
        if window.in_flight == 0:
            window.answered_at = now
        window.in_flight += 1
        if not window.is_busy:
            window.is_busy = True
            self._busy += 1
        if window.breaker.is_open:
            window.probed(now, chance())
        self._ready.rotate(-1)

    def _share(self, window: Window) -> int:
        """Return the most requests a window may have: endpoints that hang hold only their part."""
        busy = self._busy + (not window.is_busy)
        return max(1, SHARED // busy)

    def wake_due(self, now: float) -> None:
        """Ask those again that were told to wait and have waited."""
        waiting, self._waiting = self._waiting, []
        for window in waiting:
            if window.not_before <= now and window.wake_at <= now:
                window.is_waiting = False
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
        if not window.is_ready and window.feeders:
            window.is_ready = True
            self._ready.append(window)
