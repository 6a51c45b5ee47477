"""A bucket never gives more than its rate, and what it says to wait is always enough."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.limits import gcra
from kafkahub.limits.buckets import LEASE_S, Bucket, Company
from kafkahub.limits.gcra import Rate

RATES = st.builds(
    Rate, st.floats(0.1, 1e8, allow_nan=False), st.integers(min_value=1, max_value=10**8)
)
STEPS = st.lists(
    st.tuples(st.floats(0, 5, allow_nan=False), st.integers(1, 300)), min_size=1, max_size=60
)
ALONE = Company(processes=1, is_away=True)
TOGETHER = Company(processes=4, is_away=False)


def spend(bucket: Bucket, steps: list[tuple[float, int]], company: Company) -> tuple[float, int]:
    """Ask for each count after each pause; return the time that passed and what was given."""
    now_s, given_units = 1_000.0, 0
    for pause_s, count in steps:
        now_s += pause_s
        if not bucket.wait_s(count, now_s, company):
            bucket.charge(count, now_s, company)
            given_units += count
    return now_s - 1_000.0, given_units


@given(rate=RATES, steps=STEPS)
def test_alone_never_more_is_given_than_a_burst_and_the_rate(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    passed_s, given_units = spend(Bucket("b", "requests", rate), steps, ALONE)

    largest = max(count for _, count in steps)
    assert given_units <= rate.burst + passed_s * rate.per_s + largest + 1e-6 * rate.per_s


@given(rate=RATES, steps=STEPS, count=st.integers(1, 10**9))
def test_waiting_as_long_as_told_always_succeeds(
    rate: Rate, steps: list[tuple[float, int]], count: int
) -> None:
    bucket = Bucket("b", "requests", rate)
    passed_s, _ = spend(bucket, steps, ALONE)
    now_s = 1_000.0 + passed_s

    wait_s = bucket.wait_s(count, now_s, ALONE)

    assert bucket.wait_s(count, now_s + wait_s, ALONE) == 0.0
    assert bucket.wait_s(count, now_s + max(1, math.ceil(wait_s)), ALONE) == 0.0


@given(rate=RATES, steps=STEPS)
def test_on_credit_never_more_is_given_than_redis_said_is_left(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    bucket = Bucket("b", "requests", rate)
    passed_s, given_units = spend(bucket, steps, TOGETHER)

    largest = max(count for _, count in steps)
    assert bucket.debt == given_units
    assert given_units <= rate.burst + passed_s * rate.per_s + largest + 1e-6 * rate.per_s


@given(rate=RATES, processes=st.integers(1, 50))
def test_the_shares_of_all_processes_are_no_more_than_the_whole(rate: Rate, processes: int) -> None:
    own = gcra.share(rate, processes)

    assert own.per_s * processes == pytest.approx(rate.per_s)
    assert own.burst * processes <= rate.burst or own.burst == 1


def test_a_first_sight_is_served_on_credit_and_becomes_a_debt() -> None:
    bucket = Bucket("b", "requests", Rate(100, 200))

    assert bucket.wait_s(1, 0.0, TOGETHER) == 0.0
    assert bucket.charge(1, 0.0, TOGETHER)

    assert bucket.debt == 1
    assert bucket.left(0.0) == 199


def test_small_counts_keep_to_their_processs_part_of_what_is_left() -> None:
    bucket = Bucket("b", "requests", Rate(100, 200))

    _, given_units = spend(bucket, [(0.0, 1)] * 200, TOGETHER)

    assert given_units == 200 // TOGETHER.processes


def test_a_batch_that_no_lease_would_hold_passes_while_redis_has_it() -> None:
    bucket = Bucket("b", "bytes-in", Rate(1_000, 2_000))

    assert bucket.wait_s(1_500, 0.0, TOGETHER) == 0.0
    bucket.charge(1_500, 0.0, TOGETHER)

    assert bucket.wait_s(1_500, 0.0, TOGETHER) > 0.0


def test_more_than_a_burst_waits_for_a_whole_one_and_is_charged_in_full() -> None:
    bucket = Bucket("b", "bytes-out", Rate(100, 200))

    assert bucket.wait_s(1_000, 0.0, ALONE) == 0.0
    bucket.charge(1_000, 0.0, ALONE)

    assert bucket.wait_s(1, 0.0, ALONE) == pytest.approx(8.01)
    assert bucket.overdrawn_s(0.0) == pytest.approx(8.0)


def test_a_lease_is_spent_without_credit_and_ends_after_its_time() -> None:
    bucket = Bucket("b", "requests", Rate(100, 200))
    bucket.book(5, whole_in_s=2.0, sent_s=10.0, now_s=10.0)

    assert bucket.wait_s(5, 10.0, TOGETHER) == 0.0
    assert bucket.wait_s(6, 10.0, TOGETHER) > 0.0
    assert bucket.left(10.0 + LEASE_S) == 100


def test_who_uses_little_leases_nothing_and_who_uses_much_a_chunk() -> None:
    seldom, often = (Bucket(name, "requests", Rate(100, 200)) for name in ("seldom", "often"))
    for bucket in (seldom, often):
        bucket.book(0, whole_in_s=0.0, sent_s=0.0, now_s=0.0)
    seldom.charge(1, 1.0, TOGETHER)
    for _ in range(20):
        often.charge(1, 0.1, TOGETHER)

    assert seldom.wanted(1.0) == 0
    assert often.wanted(0.1) == often.chunk


def test_without_redis_debts_are_kept_in_the_own_share() -> None:
    bucket = Bucket("b", "requests", Rate(100, 200))
    bucket.charge(10, 0.0, TOGETHER)

    bucket.book_alone(0.0, TOGETHER)

    assert bucket.debt == 0
    assert bucket.left(0.0) == 160


def test_another_rate_holds_at_once() -> None:
    bucket = Bucket("b", "requests", Rate(100, 200))
    spend(bucket, [(0.0, 1)] * 200, ALONE)

    bucket.set_rate(Rate(1_000, 2_000))

    assert bucket.wait_s(1, 1_000.0, ALONE) == pytest.approx(0.001)
