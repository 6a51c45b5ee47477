"""What was projected under one version of a grant never leaves under another."""

from dataclasses import replace
from uuid import uuid4

import pytest

from delivery import ledger, reprojection
from delivery.inbox import ParkedClaimed
from delivery.lanes import LaneState
from delivery.models import ParkedDelivery
from delivery.reread import remake
from delivery.tasks import make_parked_anew
from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.record import Position
from subscriptions.grants import Grant
from subscriptions.live import LiveSubscription
from subscriptions.models import AuditEvent, Subscription
from subscriptions.models import Grant as GrantRow
from tests import factories
from tests.api import Caller
from tests.conftest import MakeTopic
from tests.delivery import makers
from tests.delivery.rig import Rig, offsets


def changed(live: LiveSubscription) -> LiveSubscription:
    """Return a subscription whose grant has another version."""
    return replace(
        live, grants={makers.TOPIC: Grant("grt_1", "ptn_1", makers.TOPIC, "read", 2)}, version=2
    )


def test_a_queue_of_before_is_dropped_and_read_again() -> None:
    live = makers.subscription()
    rig = Rig(live)
    rig.assign()
    rig.feed(0, 1, 2)
    [first] = rig.take(1)

    rig.change(changed(live))

    assert (rig.lane().state, rig.lane().reason) == (LaneState.BEHIND, "grant_changed")
    assert [ask.offset for ask in rig.asks] == [1]
    assert rig.asks[0].subscription.grants[makers.TOPIC].version == 2
    rig.land(first)
    assert not rig.take()


def test_a_lane_with_nothing_queued_stays_live() -> None:
    live = makers.subscription()
    rig = Rig(live)
    rig.assign()

    rig.change(changed(live))
    rig.feed(0)

    assert offsets(rig.take()) == [0]


def test_what_was_given_back_is_parked_to_be_made_anew() -> None:
    live = makers.subscription()
    rig = Rig(live)
    rig.assign()
    rig.feed(0)
    [sent] = rig.take()
    rig.change(changed(live))

    rig.land(sent, answer=makers.answer(429))
    rig.commit()
    rig.now += 3_600
    assert not rig.take()

    [row] = rig.batch().parked
    assert (row.state, row.reason, row.body, row.grant_version) == (
        "scheduled",
        "grant_changed",
        None,
        -1,
    )


@pytest.mark.parametrize("version", [0, 2])
def test_a_parked_body_of_another_version_is_not_sent(version: int) -> None:
    rig = Rig(makers.subscription())
    row = makers.parked_row()._replace(grant_version=version)

    rig.post(claimed(row))

    assert not rig.take()
    assert [one.id for one in rig.batch().rescheduled] == [row.id]


def test_a_claimed_row_waits_when_the_grant_changes_before_it_is_out() -> None:
    live = makers.subscription()
    rig = Rig(live)
    rig.post(claimed(makers.parked_row()))

    rig.change(changed(live))

    assert not rig.take()


def claimed(row: ledger.ParkedRow) -> ParkedClaimed:
    return ParkedClaimed([row])


@pytest.fixture
def sent(alice: Caller, topic: MakeTopic) -> ParkedDelivery:
    """Return a row of a record that Kafka holds: ``{"n":1,"card":"4111111111111111"}``."""
    name = topic(1)
    factories.grant(alice.partner, name)
    subscription = factories.subscription(alice.partner, topics=(name,))
    producer = Producer(producer_options(config.load()))
    value = b'{"n":1,"card":"4111111111111111"}'
    producer.produce(name, value, key=b"k").result(timeout=15)
    producer.close()
    made = remake(subscription, Position(name, 0, 0), generation=1)
    return factories.parked(
        subscription, 0, id=made.webhook_id, body=made.content, key=b"k", attempts=2
    )


def claimable(subscription: Subscription) -> list[str]:
    with factories.connect() as conn:
        rows = ledger.claim_due(
            conn, uuid4(), subscriptions=[subscription.pk], limit=10, each=10, lease_s=0.01
        )
    return [row.id for row in rows]


@pytest.mark.kafka
@pytest.mark.django_db(transaction=True)
def test_a_parked_record_waits_for_its_new_projection_and_then_is_due(
    sent: ParkedDelivery,
) -> None:
    grants = GrantRow.objects.filter(topic_id=sent.topic)
    grants.update(version=2, masks={"/card": "last4"}, key_visible=False)

    assert claimable(sent.subscription) == []
    make_parked_anew()

    sent.refresh_from_db()
    body = bytes(sent.body or b"")
    assert (sent.state, sent.grant_version, sent.attempts) == ("scheduled", 2, 2)
    assert b"****1111" in body
    assert b"4111111111111111" not in body
    assert bytes(sent.key or b"") not in {b"", b"k"}
    assert claimable(sent.subscription) == [sent.pk]


@pytest.mark.kafka
@pytest.mark.django_db
def test_a_record_that_the_grant_hides_now_is_a_dead_letter_without_payload(
    sent: ParkedDelivery,
) -> None:
    GrantRow.objects.update(version=2, row_filter={"value": {"n": 2}})

    assert reprojection.make_anew(10) == (0, 1)

    sent.refresh_from_db()
    assert (sent.state, sent.reason) == ("dead", "grant_changed")
    assert (sent.body, sent.key, sent.next_attempt_at) == (None, None, None)
    assert AuditEvent.objects.filter(verb="parked.outdated", object_id=sent.pk).count() == 1


@pytest.mark.django_db
def test_rows_of_the_version_in_force_of_no_grant_and_tests_are_left_alone(alice: Caller) -> None:
    subscription = factories.subscription(alice.partner)
    factories.parked(subscription, 1)
    factories.parked(subscription, 2, partition=-1, grant_version=0)
    other = factories.subscription(alice.partner, topics=("ungranted",))
    factories.parked(other, 3, grant_version=9)

    assert not reprojection.outdated().exists()
