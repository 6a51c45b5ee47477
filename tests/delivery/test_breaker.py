"""The breaker opens in seconds, costs nothing while open, and closes by one success."""

import pytest

from delivery.breaker import Breaker
from delivery.outcome import OutcomeClass

DELIVERED, FAILED = OutcomeClass.DELIVERED, OutcomeClass.FAILED


def note_all(breaker: Breaker, classes: list[OutcomeClass], now: float = 0.0) -> bool:
    changed = [breaker.note(one, now) for one in classes]
    return any(changed)


def test_sixteen_of_the_last_twenty_open_it_at_once() -> None:
    breaker = Breaker()

    assert not note_all(breaker, [FAILED] * 15)
    assert breaker.note(FAILED, 0.0)
    assert breaker.is_open


def test_every_second_failure_leaves_it_closed() -> None:
    breaker = Breaker()

    for second in range(1_000):
        breaker.note(FAILED, float(second))
        breaker.note(DELIVERED, float(second))

    assert not breaker.is_open


def test_three_in_a_row_open_it_after_five_seconds_of_silence() -> None:
    breaker = Breaker()

    assert not note_all(breaker, [FAILED] * 3, now=100.0)
    assert not breaker.note(FAILED, 104.9)
    assert breaker.note(FAILED, 105.0)


def test_one_poison_record_among_good_ones_does_not_open_it() -> None:
    breaker = Breaker()
    note_all(breaker, [DELIVERED] * 10)

    assert not note_all(breaker, [OutcomeClass.REJECTED] * 3, now=60.0)


@pytest.mark.parametrize("outcome_class", [OutcomeClass.GONE, OutcomeClass.BLOCKED])
def test_what_no_retry_mends_opens_it_at_once(outcome_class: OutcomeClass) -> None:
    assert Breaker().note(outcome_class, 0.0)


@pytest.mark.parametrize("outcome_class", [OutcomeClass.THROTTLED, OutcomeClass.OURS])
def test_what_is_not_the_endpoints_fault_does_not_count(outcome_class: OutcomeClass) -> None:
    breaker = Breaker()

    assert not note_all(breaker, [outcome_class] * 100)
    assert breaker.failing_since is None


def test_one_success_closes_it_and_begins_anew() -> None:
    breaker = Breaker()
    note_all(breaker, [FAILED] * 16)

    assert breaker.note(DELIVERED, 50.0)
    assert not breaker.is_open
    assert not note_all(breaker, [FAILED] * 15, now=51.0)


def test_probes_come_quickly_then_every_four_seconds_then_every_thirty() -> None:
    breaker = Breaker()
    note_all(breaker, [FAILED] * 16, now=0.0)

    waits = [breaker.next_probe_s(float(now), 0.0) for now in (0, 1, 3, 7, 11, 3_599, 3_601)]

    assert waits == [1, 2, 4, 4, 4, 4, 30]


def test_a_probe_is_up_to_a_fifth_early_and_never_late() -> None:
    breaker = Breaker()
    note_all(breaker, [FAILED] * 16)

    assert breaker.next_probe_s(0.0, 0.999) == pytest.approx(0.8, abs=0.001)
