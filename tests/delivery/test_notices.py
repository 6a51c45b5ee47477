"""Notices as parked rows: of the right subscriptions, once, and sent like any other."""

import json

import pytest
from django.db import transaction

from delivery import tasks
from delivery.models import ParkedDelivery
from subscriptions import notices
from subscriptions.models import Endpoint, Notice, Partner, Subscription
from subscriptions.notice_types import Kind
from tests import factories
from tests.api import Caller, json_of

pytestmark = pytest.mark.django_db


def listening(owner: Partner, target: Endpoint, *types: str) -> Subscription:
    return Subscription.objects.create(
        partner=owner, endpoint=target, name="n", mode="notices", topics=[], types=list(types)
    )


def tell(owner: Partner, endpoint: Endpoint) -> Notice:
    members = {"endpoint": endpoint.pk, "reason": "gone", "by": "delivery"}
    with transaction.atomic():
        told = notices.write(Kind.ENDPOINT_DISABLED, owner.pk, members, endpoint=endpoint.pk)
    assert told is not None
    return told


def test_each_subscription_that_wants_it_gets_one_row_that_is_due() -> None:
    owner = factories.partner()
    target = factories.endpoint(owner)
    wants = listening(owner, target)
    listening(owner, target, "kafkahub.gap")
    listening(factories.partner(), factories.endpoint(factories.partner()))
    told = tell(owner, factories.endpoint(owner))

    tasks.send_notices()
    Notice.objects.update(sent_at=None)  # as after a crash that lost the mark
    tasks.send_notices()

    [row] = ParkedDelivery.objects.all()
    assert (row.subscription, row.state, row.reason) == (wants, "scheduled", "notice")
    body = json.loads(row.content or b"")
    assert body["type"] == "kafkahub.endpoint.disabled"
    assert body["data"] == notices.data(told)


@pytest.mark.parametrize("others_status", ["active", "disabled"])
def test_an_endpoint_is_not_told_of_itself_where_another_takes_it(others_status: str) -> None:
    owner = factories.partner()
    spoken_of, other = factories.endpoint(owner), factories.endpoint(owner)
    Endpoint.objects.filter(pk=other.pk).update(status=others_status)
    listening(owner, spoken_of)
    listening(owner, other)

    tell(owner, spoken_of)
    tasks.send_notices()

    reached = set(ParkedDelivery.objects.values_list("subscription__endpoint", flat=True))
    assert reached == ({other.pk} if others_status == "active" else {other.pk, spoken_of.pk})


def test_a_notice_that_died_is_seen_and_redriven_without_kafka(alice: Caller) -> None:
    target = factories.endpoint(alice.partner)
    listening(alice.partner, target)
    tell(alice.partner, target)
    tasks.send_notices()
    ParkedDelivery.objects.update(state="dead", reason="exhausted", next_attempt_at=None)
    [row] = ParkedDelivery.objects.all()

    shown = alice.get(f"/parked/{row.pk}/payload")
    redriven = alice.post(f"/parked/{row.pk}/redrive")

    assert json.loads(json_of(shown)["text"])["type"] == "kafkahub.endpoint.disabled"
    assert (redriven.status_code, json_of(redriven)["state"]) == (200, "scheduled")


def test_a_discarded_notice_leaves_no_mark(alice: Caller) -> None:
    target = factories.endpoint(alice.partner)
    listening(alice.partner, target)
    tell(alice.partner, target)
    tasks.send_notices()
    [row] = ParkedDelivery.objects.all()
    assert alice.delete(f"/parked/{row.pk}?reason=read+it").status_code == 204

    tasks.sweep_parked()

    assert not ParkedDelivery.objects.exists()
