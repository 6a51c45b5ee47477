"""Why a record was sent or not: the first step that stopped it, and never a later one."""

from datetime import UTC, datetime, timedelta

import pytest

from delivery.explain import TEXTS, Facts, Step, first_step

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OLDER, YOUNGER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        (Facts(parked_state="discarded", outcomes=["failed"]), Step.DISCARDED),
        (Facts(parked_state="dead", outcomes=["failed"]), Step.PARKED),
        (Facts(outcomes=["failed", "delivered"]), Step.SENT),
        (Facts(outcomes=["delivered"], is_granted=False), Step.SENT),
        (Facts(is_in_gap=True, is_there=False), Step.GAP),
        (Facts(is_granted=False, is_there=False), Step.NOT_GRANTED),
        (Facts(is_there=False), Step.NO_RECORD),
        (Facts(is_wanted=False, filter_result="false"), Step.TYPE),
        (Facts(filter_result="undecodable"), Step.UNDECODABLE),
        (Facts(filter_result="missing"), Step.FILTERED),
        (Facts(filter_result="false", is_settled=True), Step.FILTERED),
        (Facts(outcomes=["throttled"]), Step.WAITING),
        (Facts(is_settled=True, record_at=OLDER, began_at=NOW), Step.BEFORE_START),
        (Facts(is_settled=True, began_at=NOW), Step.BEFORE_START),
        (Facts(is_settled=True, record_at=YOUNGER, began_at=NOW), Step.FORGOTTEN),
        (Facts(is_settled=True, outcomes=["failed"], record_at=OLDER), Step.FORGOTTEN),
    ],
)
def test_the_first_step_that_holds_is_the_answer(facts: Facts, step: Step) -> None:
    assert first_step(facts) is step


def test_every_step_has_its_sentence() -> None:
    assert TEXTS.keys() == set(Step)
