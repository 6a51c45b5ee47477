"""The same seed makes the same run, and the misbehaviour is of the size it says."""

from tests.torture import nemesis
from tests.torture.scripts import NEVER_TAKEN, OK, ONCE, REFUSAL, drawn

RECORDS = 10_000


def test_a_seed_draws_the_same_faults_in_the_same_order_again() -> None:
    first = [step.__qualname__ for step in nemesis.processes_and_stores(7)]
    again = [step.__qualname__ for step in nemesis.processes_and_stores(7)]
    other = [step.__qualname__ for step in nemesis.processes_and_stores(8)]

    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


def test_a_sink_misbehaves_as_often_as_its_script_says() -> None:
    answers = [drawn(1, "plain", seq, 0) for seq in range(RECORDS)]

    wrong = sum(answer != OK for answer in answers) / RECORDS
    meant = NEVER_TAKEN + sum(share for share, _ in ONCE)
    assert meant / 2 < wrong < meant * 2


def test_a_second_attempt_goes_well_unless_the_record_is_never_taken() -> None:
    answers = {drawn(1, "plain", seq, 1) for seq in range(RECORDS)}

    assert answers == {OK, REFUSAL}


def test_the_script_depends_on_nothing_but_seed_subscription_record_and_turn() -> None:
    assert drawn(1, "plain", 5, 0) == drawn(1, "plain", 5, 0)
    assert [drawn(1, "plain", seq, 0) for seq in range(RECORDS)] != [
        drawn(2, "plain", seq, 0) for seq in range(RECORDS)
    ]
