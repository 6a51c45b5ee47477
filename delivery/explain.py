"""Why a record was sent, or not: the first step that stopped it (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Step(StrEnum):
    """Where the way of a record ended, in the order in which it is looked at."""

    SENT = "sent"
    PARKED = "parked"
    DISCARDED = "discarded"
    GAP = "gap"
    NOT_GRANTED = "not_granted"
    NO_RECORD = "no_record"
    TYPE = "type"
    FILTERED = "filtered_out"
    UNDECODABLE = "undecodable"
    WAITING = "waiting"
    BEFORE_START = "before_start"
    FORGOTTEN = "forgotten"


TEXTS = {
    Step.SENT: "It was delivered.",
    Step.PARKED: "It is set aside, because an attempt failed or it cannot be sent as it is.",
    Step.DISCARDED: "A person gave it up.",
    Step.GAP: "It was not in Kafka any more when its turn came.",
    Step.NOT_GRANTED: "No grant lets you read the topic now.",
    Step.NO_RECORD: "Kafka has no record there that your grant shows.",
    Step.TYPE: "Its type is not one that the subscription wants.",
    Step.FILTERED: "The subscription's filter does not let it pass.",
    Step.UNDECODABLE: "The filter looks into its value, which cannot be decoded.",
    Step.WAITING: "It is owed, and its turn has not come.",
    Step.BEFORE_START: "It is older than the place where the subscription began.",
    Step.FORGOTTEN: "It was settled; the log of attempts does not go back that far.",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one record and one subscription.

    outcomes      classes of its attempts, oldest first
    parked_state  of its parked row, or ""
    is_in_gap     whether it lies in an announced gap of the subscription
    is_granted    whether a living grant lets the partner read the topic
    is_there      whether Kafka has it, and the grant shows it
    is_wanted     whether its type is wanted
    filter_result ``true``, ``false``, ``missing``, or ``undecodable``
    is_settled    whether the lane has passed it
    record_at     Kafka's time of it, None for none
    began_at      when the subscription was made
    """

    outcomes: Sequence[str] = ()
    parked_state: str = ""
    is_in_gap: bool = False
    is_granted: bool = True
    is_there: bool = True
    is_wanted: bool = True
    filter_result: str = "true"
    is_settled: bool = False
    record_at: datetime | None = None
    began_at: datetime | None = None


def first_step(facts: Facts) -> Step:
    """Return the first step that stopped the record, or that it was sent."""
    return next(step for step, holds in _in_order(facts) if holds)


def _in_order(facts: Facts) -> Iterator[tuple[Step, bool]]:
    """Give each step and whether the way ends there; the last one always holds."""
    yield Step.DISCARDED, facts.parked_state == "discarded"
    yield Step.PARKED, facts.parked_state != ""
    yield Step.SENT, "delivered" in facts.outcomes
    yield Step.GAP, facts.is_in_gap
    yield Step.NOT_GRANTED, not facts.is_granted
    yield Step.NO_RECORD, not facts.is_there
    yield Step.TYPE, not facts.is_wanted
    yield Step.UNDECODABLE, facts.filter_result == Step.UNDECODABLE
    yield Step.FILTERED, facts.filter_result != "true"
    yield Step.WAITING, not facts.is_settled
    yield Step.BEFORE_START, not facts.outcomes and _is_older(facts)
    yield Step.FORGOTTEN, True


def _is_older(facts: Facts) -> bool:
    """Return whether the record may be older than the subscription."""
    record_at, began_at = facts.record_at, facts.began_at
    return record_at is None or began_at is None or record_at < began_at
