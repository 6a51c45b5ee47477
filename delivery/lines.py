"""One line a delivery: its newest attempt and its parked row, folded together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from django.db import OperationalError, connection
from psycopg.errors import QueryCanceled

from delivery.models import DeliveryAttempt, DeliveryGap, ParkedDelivery
from delivery.outcome import OutcomeClass
from kafkahub.errors import Fault, Invalid


class State(StrEnum):
    """How a delivery stands."""

    DELIVERED = "delivered"
    RETRYING = "retrying"
    WAITING = "waiting"
    DEAD_LETTER = "dead_letter"
    GAP = "gap"


DUE = {ParkedDelivery.State.SCHEDULED, ParkedDelivery.State.SENDING}
OWED = DUE | {ParkedDelivery.State.BLOCKED, ParkedDelivery.State.HELD}
WAITING_CLASSES = {
    OutcomeClass.THROTTLED.value,
    OutcomeClass.OURS.value,
    OutcomeClass.BLOCKED.value,
    OutcomeClass.GONE.value,
}
"""After these a record stays owed by its lane, without a row of its own."""


@dataclass(frozen=True, slots=True)
class Line:
    """One delivery. At least one of the two is there.

    gap  what it tells of, where it is no record
    """

    id: str
    attempt: DeliveryAttempt | None
    parked: ParkedDelivery | None
    gap: DeliveryGap | None = None

    @property
    def state(self) -> State:
        if self.gap is not None:
            return State.GAP
        if self.parked is not None and self.parked.state in OWED:
            is_due = self.parked.state in DUE and self.parked.sends
            return State.RETRYING if is_due else State.WAITING
        if self.attempt is None:
            return State.DEAD_LETTER
        if self.attempt.outcome_class == OutcomeClass.DELIVERED:
            return State.DELIVERED
        is_owed = self.parked is None and self.attempt.outcome_class in WAITING_CLASSES
        return State.WAITING if is_owed else State.DEAD_LETTER


class Key(NamedTuple):
    """Where a line stands in the list: newest activity first."""

    at: datetime
    id: str


# Each side is cut to the page by itself, so that its index gives the order and nothing is sorted
# that is not shown. A row that was never sent has no attempt, so no delivery comes twice.
PAGE = """
SELECT at, id FROM (
    (SELECT a.at, a.delivery AS id
       FROM delivery_attempt a LEFT JOIN parked_delivery p ON p.id = a.delivery
      WHERE a.partner = %(partner)s AND a.at >= %(since)s AND a.at < %(until)s
        AND a.kind <> 'test' AND {attempts}
        AND NOT EXISTS (SELECT FROM delivery_attempt b
                         WHERE b.delivery = a.delivery AND b.at >= a.at AND b.at < %(until)s
                           AND (b.at, b.id) > (a.at, a.id))
      ORDER BY a.at DESC, a.delivery DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT p.first_failed_at, p.id
       FROM parked_delivery p JOIN subscriptions_subscription s ON s.id = p.subscription_id
      WHERE s.partner_id = %(partner)s
        AND p.first_failed_at >= %(since)s AND p.first_failed_at < %(until)s
        AND p.sends = 0 AND p.state <> 'discarded' AND p.reason <> 'test' AND {untried}
      ORDER BY p.first_failed_at DESC, p.id DESC LIMIT %(limit)s)
) line (at, id) ORDER BY at DESC, id DESC LIMIT %(limit)s
"""  # attempt_of_partner, attempt_of_delivery, parked_listed

LATEST = """
SELECT DISTINCT ON (delivery) * FROM delivery_attempt
 WHERE delivery = ANY(%(ids)s) AND at >= %(since)s AND at < %(until)s
 ORDER BY delivery, at DESC, id DESC
"""  # attempt_of_delivery (delivery, at, id)

ATTEMPTS: Mapping[str, str] = {
    "subscription": "a.subscription = %(subscription)s",
    "endpoint": "a.endpoint = %(endpoint)s",
    "topic": "a.topic = %(topic)s",
    "key": "a.key = %(key)s",
    "outcome": "a.outcome = %(outcome)s",
    "status_low": "a.http_status BETWEEN %(status_low)s AND %(status_high)s",
    "id": "a.delivery = %(id)s",
    "only_topics": "a.topic = ANY(%(only_topics)s)",
    "sandbox_topics": "a.topic = ANY(%(sandbox_topics)s)",
    "other_topics": "a.topic <> ALL(%(other_topics)s)",
    "after_at": "a.at <= %(after_at)s AND (a.at, a.delivery) < (%(after_at)s, %(after_id)s)",
}
UNTRIED: Mapping[str, str] = {
    "subscription": "p.subscription_id = %(subscription)s",
    "endpoint": "s.endpoint_id = %(endpoint)s",
    "topic": "p.topic = %(topic)s",
    "key": "p.key = %(key)s",
    "outcome": "p.last_outcome = %(outcome)s",
    "status_low": "false",
    "id": "p.id = %(id)s",
    "only_topics": "p.topic = ANY(%(only_topics)s)",
    "sandbox_topics": "p.topic = ANY(%(sandbox_topics)s)",
    "other_topics": "p.topic <> ALL(%(other_topics)s)",
    "after_at": "(p.first_failed_at, p.id) < (%(after_at)s, %(after_id)s)",
}
_OWED = "coalesce(p.state IN ('scheduled', 'sending', 'blocked', 'held'), false)"
_WAITING = (
    f"(p.id IS NULL AND a.outcome_class IN ({', '.join(map(repr, sorted(WAITING_CLASSES)))}))"
)
_TELLS = "EXISTS (SELECT FROM delivery_gap g WHERE g.delivery = {id})"
ATTEMPT_STATES: Mapping[State, str] = {
    State.GAP: _TELLS.format(id="a.delivery"),
    State.DELIVERED: f"a.outcome_class = 'delivered' AND NOT {_OWED}",
    State.RETRYING: "p.state IN ('scheduled', 'sending') AND p.sends > 0",
    State.WAITING: f"({_WAITING} OR {_OWED} AND (p.sends = 0 OR p.state IN ('blocked', 'held')))",
    State.DEAD_LETTER: f"a.outcome_class <> 'delivered' AND NOT {_OWED} AND NOT {_WAITING}",
}
UNTRIED_STATES: Mapping[State, str] = {
    State.GAP: _TELLS.format(id="p.id"),
    State.DELIVERED: "false",
    State.RETRYING: "false",
    State.WAITING: "p.state IN ('scheduled', 'sending', 'blocked')",
    State.DEAD_LETTER: "p.state = 'dead'",
}


def page(
    partner: str,
    *,
    since: datetime,
    until: datetime,
    limit: int,
    state: State | None,
    filters: Mapping[str, object],
) -> list[Key]:
    """Return where the newest ``limit`` lines stand whose last activity lies in the time given.

    filters  values by the names of ``ATTEMPTS``; what a name needs beside its own value
             (``status_high``, ``after_id``) stands there as well

    Raises Invalid when the search takes too long.
    """
    named = [name for name in ATTEMPTS if name in filters]
    attempts = [ATTEMPTS[name] for name in named]
    untried = [UNTRIED[name] for name in named]
    if state is not None:
        attempts.append(ATTEMPT_STATES[state])
        untried.append(UNTRIED_STATES[state])
    statement = PAGE.format(attempts=_all(attempts), untried=_all(untried))
    values = {**filters, "partner": partner, "since": since, "until": until, "limit": limit}
    return [Key(at, row_id) for at, row_id in _search(statement, values)]


def fold(row_ids: Sequence[str], *, since: datetime, until: datetime) -> list[Line]:
    """Return the lines of some deliveries, in the order given."""
    within = {"ids": list(row_ids), "since": since, "until": until}
    attempts = {row.delivery: row for row in DeliveryAttempt.objects.raw(LATEST, within)}
    parked = ParkedDelivery.objects.exclude(state=ParkedDelivery.State.DISCARDED)
    rows = {row.pk: row for row in parked.filter(pk__in=row_ids).select_related("subscription")}
    gaps = {row.delivery: row for row in DeliveryGap.objects.filter(delivery__in=row_ids)}
    lines = (
        Line(row_id, attempts.get(row_id), rows.get(row_id), gaps.get(row_id)) for row_id in row_ids
    )
    return [line for line in lines if line.attempt is not None or line.parked is not None]


def _all(conditions: Iterable[str]) -> str:
    # Fixed texts of this module only; values are parameters.
    return " AND ".join(f"({condition})" for condition in conditions) or "true"


def _search(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, dict(values))
            return list(cursor.fetchall())
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
    text = "This search takes too long; narrow it by subscription, by since or by until."
    raise Invalid([Fault("", "out_of_range", text, {"parameter": "since"})])
