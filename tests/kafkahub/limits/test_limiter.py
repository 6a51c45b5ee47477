"""One limiter: the tightest decides, all are charged, memory stays flat."""

import gc
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kafkahub.limits import policies
from kafkahub.limits.buckets import CHUNKS_A_BURST
from kafkahub.limits.gcra import Rate
from kafkahub.limits.headers import Refusal
from kafkahub.limits.limiter import MAX_DUE, Limiter
from kafkahub.limits.policies import ONE_REQUEST, STANDARD, Limits, Rule, cost
from tests.fakes.waiting import eventually
from tests.kafkahub.limits.conftest import OwnRedis

NOWHERE = "redis://127.0.0.1:1/0"
HERE = "192.0.2.1"


@dataclass
class Clock:
    """A monotonic clock that stands until it is moved."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class Principal:
    """Whoever pays, by what the limiter needs."""

    id: str = "key_a"
    partner: str = "ptn_a"
    limits: Limits = STANDARD


def limited(*rules: Rule, key: str = "key_a", partner: str = "ptn_a") -> Principal:
    return Principal(key, partner, policies.limits(rules))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    """Return a limiter of the only process, that was never started."""
    return Limiter(NOWHERE, processes=1, monotonic_s=clock)


@pytest.fixture
def sharing(own_redis: OwnRedis) -> Iterator[Limiter]:
    """Return a limiter that shares its limits through Redis."""
    limiter = Limiter(own_redis.url, processes=4)
    limiter.start()
    eventually(lambda: not limiter.is_away, "the limiter reaches Redis")
    yield limiter
    limiter.stop()


def accepted(limiter: Limiter, principal: Principal, times: int) -> int:
    return sum(limiter.admit(principal, HERE, ONE_REQUEST) is None for _ in range(times))


@pytest.mark.parametrize(
    "tight", [policies.KEY, policies.PARTNER, policies.DEPLOYMENT, policies.TOPIC]
)
def test_the_tightest_scope_decides(limiter: Limiter, tight: str) -> None:
    wide = [Rule(scope, policies.REQUESTS, 100, 200) for scope in policies.SCOPES]
    principal = limited(*wide, Rule(tight, policies.REQUESTS, 1, 3))

    passed = sum(
        limiter.admit(principal, HERE, cost(requests=1, topic="orders")) is None for _ in range(9)
    )

    assert passed == 3


def test_a_refusal_names_what_is_used_up_and_charges_nothing(limiter: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.BYTES_IN, 100, 100))
    limiter.admit(principal, HERE, cost(requests=1, bytes_in=100))

    refusals = [limiter.admit(principal, HERE, cost(requests=1, bytes_in=50)) for _ in range(500)]

    assert refusals[-1] == Refusal(0.5, ("bytes-in",))
    assert dict(limiter.headers(principal, ONE_REQUEST))["RateLimit"] == '"requests";r=199;t=1'


def test_the_keys_of_a_partner_share_its_limit_and_no_other(limiter: Limiter) -> None:
    rule = Rule(policies.PARTNER, policies.REQUESTS, 1, 5)
    one, two = limited(rule, key="key_1"), limited(rule, key="key_2")
    stranger = limited(rule, key="key_3", partner="ptn_b")

    assert accepted(limiter, one, 4) + accepted(limiter, two, 4) == 5
    assert accepted(limiter, stranger, 4) == 4


def test_topics_are_limited_each_by_itself(limiter: Limiter) -> None:
    principal = limited(Rule(policies.TOPIC, policies.RECORDS_IN, 1, 10))
    orders, prices = (cost(records_in=10, topic=name) for name in ("orders", "prices"))

    assert limiter.admit(principal, HERE, orders) is None
    assert limiter.admit(principal, HERE, orders) is not None
    assert limiter.admit(principal, HERE, prices) is None


def test_who_is_nobody_pays_by_address(limiter: Limiter) -> None:
    passed = sum(limiter.admit(None, HERE, ONE_REQUEST) is None for _ in range(300))
    elsewhere = limiter.admit(None, "192.0.2.2", ONE_REQUEST)
    known = limiter.admit(Principal(), HERE, ONE_REQUEST)

    assert passed == policies.ANONYMOUS_RATE.burst
    assert elsewhere is None
    assert known is None


def test_waiting_exactly_as_told_succeeds(limiter: Limiter, clock: Clock) -> None:
    principal = Principal()
    for _ in range(50):
        while (refusal := limiter.admit(principal, HERE, ONE_REQUEST)) is None:
            pass
        clock.now_s += refusal.retry_after_s
        assert limiter.admit(principal, HERE, ONE_REQUEST) is None


def test_bytes_that_came_unannounced_are_charged_and_pace_what_follows(limiter: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.BYTES_OUT, 1_000, 2_000))

    waits = [limiter.settle_bytes(principal, bytes_out=1_000) for _ in range(4)]

    assert waits == pytest.approx([0.0, 0.0, 1.0, 2.0])
    assert limiter.admit(principal, HERE, cost(bytes_out=1)) is not None


def test_another_plan_holds_with_the_next_request(limiter: Limiter) -> None:
    assert accepted(limiter, limited(Rule(policies.KEY, policies.REQUESTS, 1, 5)), 9) == 5

    wider = limited(Rule(policies.KEY, policies.REQUESTS, 1_000, 5_000))

    assert accepted(limiter, wider, 9_000) <= 5_000
    assert dict(limiter.headers(wider, ONE_REQUEST))["RateLimit-Policy"] == '"requests";q=5000;w=5'


def test_a_flood_of_keys_takes_no_more_memory_than_the_ones_kept(clock: Clock) -> None:
    limiter = Limiter(NOWHERE, processes=1, kept=5_000, monotonic_s=clock)
    for number in range(20_000):
        limiter.admit(Principal(f"key_{number}", f"ptn_{number}"), HERE, ONE_REQUEST)
    before = resident_bytes()

    for number in range(20_000, 250_000):
        limiter.admit(Principal(f"key_{number}", f"ptn_{number}"), HERE, ONE_REQUEST)

    assert len(limiter._tallies) <= 5_000
    assert len(limiter._buckets) <= 5_000
    assert resident_bytes() - before < 8 * 1024 * 1024


def test_debts_of_a_flood_of_keys_wait_in_a_bounded_line(limiter: Limiter) -> None:
    limiter._company.is_away = False  # as if Redis took for ever

    for number in range(3 * MAX_DUE):
        limiter.admit(Principal(f"key_{number}", f"ptn_{number}"), HERE, ONE_REQUEST)

    assert len(limiter._due) == MAX_DUE


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def test_what_one_process_used_the_next_one_knows(own_redis: OwnRedis, sharing: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.REQUESTS, 0.01, 40))
    used = accepted(sharing, principal, 30)
    fresh = Limiter(own_redis.url, processes=4)
    fresh.start()
    eventually(lambda: not fresh.is_away, "the other limiter reaches Redis")
    fresh.admit(principal, HERE, ONE_REQUEST)

    eventually(lambda: left(fresh, principal) <= 40 - used, "what is left is known")

    fresh.stop()


def test_all_that_is_left_can_be_had_by_one_process(sharing: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.REQUESTS, 0.01, 100))
    had = [0]

    def take_more() -> bool:
        had[0] += accepted(sharing, principal, 10)
        return had[0] == 100

    eventually(take_more, "the whole burst")
    assert accepted(sharing, principal, 100) == 0


def test_waiting_exactly_as_told_succeeds_by_redis_too(sharing: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.REQUESTS, 20, 20))
    eventually(lambda: accepted(sharing, principal, 5) == 0, "the limit is met")
    refusal = sharing.admit(principal, HERE, ONE_REQUEST)
    assert refusal is not None

    threading.Event().wait(refusal.retry_after_s)  # what a client does, not a wait for us

    assert sharing.admit(principal, HERE, ONE_REQUEST) is None


def test_a_slow_policy_is_exact_over_processes(own_redis: OwnRedis, sharing: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.CONTROL, 0.01, 7))
    other = Limiter(own_redis.url, processes=4)
    other._company.is_away = False

    taken = [who.take(principal, policies.CONTROL) is None for who in [sharing, other] * 10]

    assert sum(taken) == 7
    other.stop()


def test_a_slow_policy_of_a_name_is_exact_over_processes(
    own_redis: OwnRedis, sharing: Limiter
) -> None:
    other = Limiter(own_redis.url, processes=4)
    other._company.is_away = False
    rate = Rate(per_s=10 / 60, burst=10)

    refusals = [who.take_name("token", "client:a", rate) for who in [sharing, other] * 10]

    assert [refusal is None for refusal in refusals] == [True] * 10 + [False] * 10
    assert refusals[-1] is not None
    assert 5 <= refusals[-1].retry_after_s <= 6
    assert sharing.take_name("token", "client:b", rate) is None
    other.stop()


def test_a_slow_policy_goes_on_by_itself_when_redis_dies(
    own_redis: OwnRedis, sharing: Limiter
) -> None:
    principal = limited(Rule(policies.KEY, policies.CONTROL, 0.01, 8))
    own_redis.kill()

    taken = sum(sharing.take(principal, policies.CONTROL) is None for _ in range(20))

    assert 1 <= taken <= 8


def test_redis_is_used_again_when_it_returns(own_redis: OwnRedis, sharing: Limiter) -> None:
    principal = Principal()
    own_redis.kill()
    eventually(
        lambda: sharing.admit(principal, HERE, ONE_REQUEST) is None and sharing.is_away,
        "the limiter notices",
    )

    own_redis.start()

    eventually(lambda: not sharing.is_away, "the limiter returns")
    assert sharing.admit(principal, HERE, ONE_REQUEST) is None


def test_one_partner_cannot_have_the_whole_burst_in_one_lease(sharing: Limiter) -> None:
    principal = limited(Rule(policies.KEY, policies.REQUESTS, 1_000_000, 40))
    accepted(sharing, principal, 1)

    bucket = next(iter(sharing._buckets.values()))

    assert bucket.chunk <= math.ceil(40 / CHUNKS_A_BURST)


def left(limiter: Limiter, principal: Principal) -> int:
    """Return the units of ``requests`` that the limiter tells a client of."""
    value = dict(limiter.headers(principal, ONE_REQUEST))["RateLimit"]
    return int(value.partition("r=")[2].partition(";")[0])
