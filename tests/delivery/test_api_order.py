"""Parked rows that keep an order, as their partner sees and moves them."""

from datetime import timedelta
from typing import Any

import pytest

from delivery.models import ParkedDelivery
from kafkahub import clock
from subscriptions.models import Subscription
from tests import factories
from tests.api import Caller, json_of

pytestmark = pytest.mark.django_db
TAG = b"0123456789abcdef"


@pytest.fixture
def subscription(alice: Caller) -> Subscription:
    made = factories.subscription(alice.partner)
    made.ordering = "key"
    made.save()
    return made


def row(owner: Subscription, offset: int, state: str = "blocked", **more: Any) -> ParkedDelivery:
    due = clock.now() if state in {"scheduled", "sending"} else None
    return factories.parked(
        owner, offset, **{"state": state, "order_key": TAG, "next_attempt_at": due, **more}
    )


def state_of(one: ParkedDelivery) -> str:
    return ParkedDelivery.objects.get(pk=one.pk).state


def test_a_blocked_row_names_the_one_it_waits_for(
    alice: Caller, subscription: Subscription
) -> None:
    head = row(subscription, 1, "scheduled")
    row(subscription, 2)
    row(subscription, 3)

    blocked = json_of(alice.get("/parked?state=blocked"))["data"]
    [shown] = json_of(alice.get("/parked?state=scheduled"))["data"]

    assert [one["blocked_by"] for one in blocked] == [head.pk, head.pk]
    assert (shown["id"], shown["blocked_by"]) == (head.pk, None)


def test_a_held_row_is_redriven_in_its_place_and_a_dead_one_late(
    alice: Caller, subscription: Subscription
) -> None:
    held = row(subscription, 1, "held", attempts=10)
    dead = row(subscription, 2, "dead", order_key=None)

    in_place = json_of(alice.post(f"/parked/{held.pk}/redrive"))
    late = json_of(alice.post(f"/parked/{dead.pk}/redrive"))

    assert (in_place["state"], in_place["attempts"], in_place["order"]) == ("scheduled", 0, None)
    assert bytes(ParkedDelivery.objects.get(pk=held.pk).order_key or b"") == TAG
    assert (late["state"], late["order"]) == ("scheduled", "late")


@pytest.mark.parametrize("state", ["scheduled", "held"])
def test_a_discarded_head_makes_the_next_one_due(
    alice: Caller, subscription: Subscription, state: str
) -> None:
    head, second, third = row(subscription, 1, state), row(subscription, 2), row(subscription, 3)

    answer = alice.delete(f"/parked/{head.pk}?reason=no+longer+needed")

    assert answer.status_code == 204
    assert [state_of(one) for one in (head, second, third)] == ["discarded", "scheduled", "blocked"]


def test_a_discarded_row_in_between_leaves_the_others_where_they_are(
    alice: Caller, subscription: Subscription
) -> None:
    head, second, third = (
        row(subscription, 1, "scheduled"),
        row(subscription, 2),
        row(subscription, 3),
    )

    alice.delete(f"/parked/{second.pk}?reason=no+longer+needed")

    assert [state_of(one) for one in (head, second, third)] == ["scheduled", "discarded", "blocked"]


def test_a_blocked_row_that_is_claimed_with_its_head_is_not_discarded(
    alice: Caller, subscription: Subscription
) -> None:
    row(subscription, 1, "sending")
    behind = row(subscription, 2, lease_until=clock.now() + timedelta(seconds=5))

    refused = alice.delete(f"/parked/{behind.pk}?reason=no+longer+needed")

    assert (refused.status_code, state_of(behind)) == (409, "blocked")


def test_many_rows_of_a_key_are_discarded_together(
    alice: Caller, subscription: Subscription
) -> None:
    rows = [row(subscription, 1, "scheduled"), row(subscription, 2), row(subscription, 3)]
    body = {"reason": "test data", "expected_count": 3, "filter": {"topic": rows[0].topic}}

    done = alice.post("/parked/discard", body)

    assert json_of(done) == {"discarded": 3}
    assert {state_of(one) for one in rows} == {"discarded"}


@pytest.mark.parametrize("state", ["blocked", "held"])
def test_a_delivery_that_waits_for_its_order_is_waiting(
    alice: Caller, subscription: Subscription, state: str
) -> None:
    one = row(subscription, 1, state, sends=0)

    assert json_of(alice.get(f"/deliveries/{one.pk}"))["state"] == "waiting"
    assert alice.post(f"/deliveries/{one.pk}/resend").status_code == (
        409 if state == "blocked" else 202
    )
