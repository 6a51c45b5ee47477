"""Rates that partners set: in the turns, with a clock of the test's, and over engines by Redis."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from delivery.lanes import Delivery
from delivery.pace import Paces
from delivery.window import Paced, ParkedQueue, Turns, Window
from kafkahub.limits.gcra import Meter, Rate
from kafkahub.limits.limiter import Limiter
from subscriptions.live import LiveSubscription
from tests.delivery import makers

FAR_S = 1_000.0


class Clocked:
    """A rate on the clock of the test."""

    def __init__(self, per_s: float, burst: int = 1) -> None:
        self.now = FAR_S
        self.taken = 0
        self._meter = Meter(Rate(per_s, burst))
        self._wait_until = 0.0

    def wait_s(self) -> float:
        return max(0.0, self._wait_until - self.now)

    def take(self) -> None:
        self.taken += 1
        self._meter.take("", self.now)
        self._wait_until = self.now + 1 / self._meter.rate.per_s


class Queue(ParkedQueue):
    """A lane of one subscription, as the turns see it."""

    def __init__(self, live: LiveSubscription, count: int) -> None:
        super().__init__()
        self._live = live
        form = makers.form(live)
        self.queue.extend(Delivery(form, makers.record(), offset) for offset in range(count))

    @property
    def subscription(self) -> str:
        return self._live.id


def sent(turns: Turns, window: Window, now: float) -> list[str]:
    """Return whose deliveries go out now, each answered at once."""
    turns.wake_due(now)
    found = []
    while (delivery := turns.take(now, lambda: 0.0)) is not None:
        found.append(delivery.form.subscription.id)
        turns.landed(window)
    return found


def test_an_endpoint_without_a_rate_is_not_asked_for_one() -> None:
    turns = Turns()
    turns.pace({"ep_other": Paced(Clocked(1), {})})
    window = turns.window("ep_1", 32)
    turns.offer(window, Queue(makers.subscription(), 50))

    assert window.paced is None
    assert len(sent(turns, window, FAR_S)) == 50


def test_a_rate_of_an_endpoint_spaces_its_requests() -> None:
    turns, pace = Turns(), Clocked(8)
    turns.pace({"ep_1": Paced(pace, {})})
    window = turns.window("ep_1", 32)
    turns.offer(window, Queue(makers.subscription(), 50))

    times = []
    for tick in range(320):  # 5 s in steps that floats hold exactly
        pace.now = FAR_S + tick / 64
        times += [tick] * len(sent(turns, window, pace.now))

    assert len(times) == 40
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {8}


def test_a_rate_of_one_subscription_leaves_the_other_alone() -> None:
    turns, pace = Turns(), Clocked(1)
    slow, quick = makers.subscription("sub_slow"), makers.subscription("sub_quick")
    turns.pace({"ep_1": Paced(None, {"sub_slow": pace})})
    window = turns.window("ep_1", 32)
    turns.offer(window, Queue(slow, 10))
    turns.offer(window, Queue(quick, 10))

    first = sent(turns, window, FAR_S)
    pace.now = FAR_S + 1
    second = sent(turns, window, pace.now)

    assert sorted(first) == ["sub_quick"] * 10 + ["sub_slow"]
    assert second == ["sub_slow"]


def test_a_window_that_waits_is_looked_at_once_a_tick_however_much_comes() -> None:
    turns, pace = Turns(), Clocked(0.1)
    turns.pace({"ep_1": Paced(pace, {})})
    window = turns.window("ep_1", 32)
    queue = Queue(makers.subscription(), 10)
    turns.offer(window, queue)
    sent(turns, window, FAR_S)

    for _ in range(1_000):
        turns.offer(window, queue)
        sent(turns, window, FAR_S)

    assert len(turns._waiting) == 1


def test_a_rate_that_ends_holds_nothing_back() -> None:
    turns, pace = Turns(), Clocked(0.1)
    turns.pace({"ep_1": Paced(pace, {})})
    window = turns.window("ep_1", 32)
    turns.offer(window, Queue(makers.subscription(), 10))
    assert len(sent(turns, window, FAR_S)) == 1

    turns.pace({})

    assert len(sent(turns, window, FAR_S + 0.1)) == 9


@pytest.fixture
def engines(redis_url: str) -> Iterator[list[Paces]]:
    """Return what two engines keep rates with, on the Redis of this run."""
    made = [Paces(lambda: Limiter(redis_url, processes=2, company="test-engines")) for _ in (1, 2)]
    yield made
    for one in made:
        one.stop()


@pytest.mark.redis
def test_two_engines_keep_one_rate_together(engines: list[Paces]) -> None:
    name = f"ep_{time.time_ns()}"
    live = makers.endpoint(name)
    snapshot = makers.snapshot(makers.subscription(to=replace(live, rate_per_s=100.0)))
    paces = [engine.of(snapshot)[name].endpoint for engine in engines]
    taken, began = 0, time.monotonic()

    while (elapsed := time.monotonic() - began) < 1.5:
        for pace in paces:
            assert pace is not None
            if not pace.wait_s():
                pace.take()
                taken += 1

    # A burst before Redis is known, shared by two, one after, and a chunk that each is ahead.
    assert 100 <= taken <= 100 * elapsed + 2 * 25 + 2 * 6
