"""What needs an operator is told from the tables of deliveries, and no more once it is over."""

from datetime import timedelta

import pytest

from delivery import tasks
from delivery.models import DeliveryGap, ParkedDelivery
from kafkahub import clock
from subscriptions.models import Issue
from tests import factories

pytestmark = pytest.mark.django_db


def kinds() -> dict[str, str]:
    return dict(Issue.objects.values_list("kind", "state"))


def test_dead_letters_are_an_issue_until_none_is_left() -> None:
    tasks.keep_partitions()
    dead = factories.parked(factories.subscription(factories.partner()), state="dead")

    tasks.watch_state()
    before = kinds()
    ParkedDelivery.objects.filter(pk=dead.pk).delete()
    tasks.watch_state()

    assert before == {"dead_letters": "open"}
    assert kinds() == {"dead_letters": "resolved"}


def test_a_record_that_cannot_be_decoded_is_one_of_its_own() -> None:
    tasks.keep_partitions()
    subscription = factories.subscription(factories.partner())
    factories.parked(subscription, state="dead", reason="undecodable")

    tasks.watch_state()

    assert kinds() == {"dead_letters": "open", "poison_records": "open"}


def test_a_gap_is_critical_and_ends_by_hand() -> None:
    tasks.keep_partitions()
    subscription = factories.subscription(factories.partner())
    for at, reason in enumerate(("retention", "skipped")):
        DeliveryGap.objects.create(
            subscription=subscription,
            topic="orders",
            partition=0,
            from_offset=3 + at,
            to_offset=9,
            reason=reason,
            found_at=clock.now() - timedelta(minutes=1),
        )

    tasks.watch_state()

    issue = Issue.objects.get()
    assert (issue.kind, issue.severity, issue.partner) == (
        "gap",
        "critical",
        subscription.partner_id,
    )
    assert issue.evidence["from"] == 3
    DeliveryGap.objects.all().delete()
    tasks.watch_state()
    assert kinds() == {"gap": "open"}
