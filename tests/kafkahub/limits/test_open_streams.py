"""Open streams are capped by key, partner and address, over all processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kafkahub.limits import policies
from kafkahub.limits.headers import Refusal
from kafkahub.limits.limiter import Limiter
from kafkahub.limits.policies import ADDRESS, KEY, OPEN_STREAMS, PARTNER, Limits, Rule
from tests.fakes.waiting import eventually
from tests.kafkahub.limits.conftest import OwnRedis

HERE = "192.0.2.1"


@dataclass(frozen=True)
class Principal:
    """Whoever pays, by what the limiter needs."""

    limits: Limits
    id: str = "key_a"
    partner: str = "ptn_a"


def capped(scope: str, cap: int, key: str = "key_a") -> Principal:
    return Principal(policies.limits([Rule(scope, OPEN_STREAMS, 0, cap)]), key)


@pytest.fixture
def alone() -> Limiter:
    return Limiter("redis://127.0.0.1:1/0", processes=1)


@pytest.fixture
def two(own_redis: OwnRedis) -> Iterator[list[Limiter]]:
    """Return the limiters of two processes."""
    limiters = [Limiter(own_redis.url, processes=9) for _ in range(2)]
    for limiter in limiters:
        limiter.start()
    eventually(
        lambda: (
            all(each._company.processes == 2 for each in limiters)
            and not any(each.is_away for each in limiters)
        ),
        "both reach Redis and know of each other",
    )
    yield limiters
    for limiter in limiters:
        limiter.stop()


@pytest.mark.parametrize("scope", [KEY, PARTNER, ADDRESS])
def test_one_more_than_the_cap_is_refused(alone: Limiter, scope: str) -> None:
    principal = capped(scope, 3)

    answers = [alone.streams.open(principal, HERE) for _ in range(4)]

    assert answers == [None, None, None, Refusal(5.0, ("open-streams",))]


def test_a_stream_that_ends_makes_room(alone: Limiter) -> None:
    principal = capped(KEY, 1)
    alone.streams.open(principal, HERE)
    alone.streams.close(principal, HERE)

    assert alone.streams.open(principal, HERE) is None


def test_a_refused_stream_counts_nowhere(alone: Limiter) -> None:
    alone.streams.open(capped(KEY, 1), HERE)
    for _ in range(5):
        alone.streams.open(capped(KEY, 1), HERE)

    assert alone.streams.open(capped(PARTNER, 2, "key_b"), HERE) is None


def test_names_without_streams_are_forgotten(alone: Limiter) -> None:
    for number in range(1_000):
        alone.streams.open(capped(KEY, 1, f"key_{number}"), HERE)
        alone.streams.close(capped(KEY, 1, f"key_{number}"), HERE)

    assert len(alone.streams._counts) == 0


def test_the_streams_of_another_process_count(two: list[Limiter]) -> None:
    here, there = two
    principal = capped(KEY, 10)
    eventually(lambda: opened(here, principal) >= 8, "eight are open here")

    eventually(lambda: opened(there, principal) >= 2, "two are open there")

    eventually(lambda: there.streams.open(principal, HERE) is not None, "the cap is met there")
    eventually(lambda: here.streams.open(principal, HERE) is not None, "the cap is met here")


def test_streams_that_ended_elsewhere_make_room_here(two: list[Limiter]) -> None:
    here, there = two
    principal = capped(KEY, 2)
    there.streams.open(principal, HERE)
    eventually(
        lambda: there.streams._counts["key:key_a"].others is not None, "the first one is told"
    )
    assert here.streams.open(principal, HERE) is None
    eventually(lambda: here.streams.open(principal, HERE) is not None, "the cap is met here")

    there.streams.close(principal, HERE)

    eventually(lambda: here.streams.open(principal, HERE) is None, "there is room here")


def opened(limiter: Limiter, principal: Principal) -> int:
    """Open one more if there is room; return how many are open in this process."""
    wanted = 8 if limiter.streams._counts.get("key:key_a") is None else 1
    for _ in range(wanted):
        limiter.streams.open(principal, HERE)
    return limiter.streams._counts["key:key_a"].own
