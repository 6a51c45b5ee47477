"""Rates hold exactly, and the wait that is told is the wait that is needed."""

from hypothesis import given
from hypothesis import strategies as st

from kafkahub.limits.gcra import Meter, Rate


def test_a_burst_passes_and_the_next_one_waits_exactly_its_turn() -> None:
    meter = Meter(Rate(per_s=10, burst=3))

    taken = [meter.take("key", 100.0) for _ in range(3)]
    wait_s = meter.take("key", 100.0)

    assert taken == [0.0, 0.0, 0.0]
    assert abs(wait_s - 0.1) < 1e-6
    assert meter.take("key", 100.0 + wait_s) == 0.0


def test_who_was_refused_has_taken_nothing() -> None:
    meter = Meter(Rate(per_s=1, burst=1))
    meter.take("key", 0.0)

    refused = [meter.take("key", 0.5) > 0 for _ in range(100)]

    assert all(refused)
    assert meter.take("key", 1.0) == 0.0


def test_names_do_not_share_and_the_longest_unused_is_forgotten() -> None:
    meter = Meter(Rate(per_s=1, burst=1), names=2)

    first = [meter.take(name, 0.0) for name in ("a", "b", "c")]

    assert first == [0.0, 0.0, 0.0]
    assert meter.take("c", 0.0) > 0
    assert meter.take("a", 0.0) == 0.0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.integers(1, 5))
def test_never_more_than_the_burst_and_the_rate_together(waits: list[float], burst: int) -> None:
    meter = Meter(Rate(per_s=2, burst=burst))
    now_s, passed = 0.0, []

    for wait in waits:
        now_s += wait
        if meter.take("key", now_s) == 0.0:
            passed.append(now_s)

    for index, start in enumerate(passed):
        for count, end in enumerate(passed[index:], start=1):
            assert count <= burst + 2 * (end - start) + 1e-6
