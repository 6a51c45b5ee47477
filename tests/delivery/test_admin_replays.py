"""Operators look on at replays and gaps, end the one and accept what the other waits for."""

from uuid import uuid4

import pytest
from django.test import Client

from delivery import replays
from delivery.models import DeliveryGap
from delivery.replays import Wish
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import AuditEvent, Replay, Subscription
from tests import factories

pytestmark = pytest.mark.django_db
REPLAYS, GAPS = "/admin/subscriptions/replay/", "/admin/delivery/deliverygap/"


@pytest.fixture
def subscription() -> Subscription:
    return factories.subscription(factories.partner())


@pytest.fixture
def replay(subscription: Subscription) -> Replay:
    wish = Wish("kafka", {"kafka": {"from": "earliest", "to": "latest"}})
    return replays.create(Actor(ActorKind.KEY, "key"), subscription, wish, {("orders", 0): (1, 9)})


def gap(of: Subscription, reason: str) -> DeliveryGap:
    return DeliveryGap.objects.create(
        subscription=of,
        topic="orders",
        partition=0,
        from_offset=3,
        reason=reason,
        delivery=f"msg_{uuid4().hex[:22]}",
    )


def test_a_replay_is_listed_with_its_progress_and_shown_with_its_figures(
    admin_client: Client, replay: Replay
) -> None:
    listed = admin_client.get(REPLAYS).content.decode()
    shown = admin_client.get(f"{REPLAYS}{replay.pk}/change/").content.decode()

    assert replay.pk in listed
    assert "0.0 %" in listed
    assert "orders[0] at 1 of 9" in shown


def test_a_replay_is_cancelled_with_a_reason(admin_client: Client, replay: Replay) -> None:
    answer = {
        "action": "cancel",
        "_selected_action": [replay.pk],
        "confirmed": "1",
        "reason": "asked for twice",
    }

    admin_client.post(REPLAYS, answer)

    assert Replay.objects.get().state == "cancelled"
    assert AuditEvent.objects.get(verb="replay.cancelled").reason == "asked for twice"


def test_gaps_are_listed_with_their_range(admin_client: Client, subscription: Subscription) -> None:
    gap(subscription, "recreated")

    listed = admin_client.get(GAPS).content.decode()

    assert "from 3, to an end that was never seen" in listed


def test_only_another_log_needs_consent(admin_client: Client, subscription: Subscription) -> None:
    lost = gap(subscription, "retention")
    answer = {"action": "accept", "_selected_action": [lost.pk], "confirmed": "1"}

    page = admin_client.post(GAPS, answer, follow=True).content.decode()

    assert "needs no consent" in page
    assert not AuditEvent.objects.filter(verb="topic.accepted").exists()
