"""An endpoint proves itself, is told of by notices, and engines tell how it fares."""

import json
from datetime import timedelta

import pytest
import standardwebhooks
from django.db import transaction

from delivery import tasks, verifying
from delivery.models import DeliveryAttempt, EndpointStanding
from kafkahub import clock
from subscriptions.actions import verification
from subscriptions.models import Endpoint as EndpointRow
from subscriptions.models import LanePosition, Subscription
from tests.delivery.test_handshake import echo
from tests.fakes.endpoint import Endpoint, ok, status
from tests.flows.conftest import Hub, wait_for

pytestmark = pytest.mark.kafka


def test_what_was_appended_before_the_handshake_comes_after_it(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(
            receiver.url, status="unverified", is_verified=False, verification_method="challenge"
        )
        with transaction.atomic():
            verification.begin(endpoint, clock.now() + timedelta(hours=1))
        hub.subscribe(topic, endpoint)
        hub.engine()
        hub.produce(topic, [b'{"id": 1}', b'{"id": 2}'])
        wait_for(lambda: LanePosition.objects.get().state == "paused", LanePosition.objects.values)
        assert receiver.received == []

        receiver.script(echo(receiver), ok())
        verifying.try_now(endpoint, clock.now())
        requests = receiver.wait_for(3)

    assert json.loads(requests[0].body)["type"] == "kafkahub.verification"
    assert {json.loads(one.body)["data"]["id"] for one in requests[1:]} == {1, 2}


def test_a_notice_is_a_signed_webhook_that_needs_no_kafka_and_health_is_kept(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint(status(410)) as gone, Endpoint(status(500), ok()) as listener:
        endpoint, _ = hub.endpoint(gone.url)
        target, secret = hub.endpoint(listener.url)
        hub.subscribe(topic, endpoint)
        told = Subscription.objects.create(
            partner=hub.partner,
            endpoint=target,
            name="notices",
            mode="notices",
            topics=[],
            retry_schedule_s=[1],
        )
        hub.engine()
        hub.produce(topic, [b'{"id": 1}'])
        row = EndpointRow.objects.filter(pk=endpoint.pk, status="disabled")
        wait_for(row.exists, EndpointRow.objects.values)
        tasks.send_notices()

        first, second = listener.wait_for(2)
        attempts = DeliveryAttempt.objects.filter(subscription=told.pk).order_by("number")
        wait_for(lambda: attempts.count() == 2, attempts.values)
        standing = EndpointStanding.objects.filter(pk=endpoint.pk)
        wait_for(standing.exists, EndpointStanding.objects.values)

    body = standardwebhooks.Webhook(secret).verify(second.body, dict(second.headers))
    assert body["type"] == "kafkahub.endpoint.disabled"
    assert body["data"]["reason"] == "gone"
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert "kafkahub-topic" not in second.headers
    assert [(one.kind, one.http_status) for one in attempts] == [("first", 500), ("retry", 200)]
    assert (standing.get().last_outcome, standing.get().failures) == ("gone", 1)


def test_an_endpoint_is_sent_no_more_a_second_than_its_partner_set(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url, rate_per_s=5)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, [b'{"id": %d}' % number for number in range(20)])
        hub.engine()
        receiver.wait_for(20)
        attempts = DeliveryAttempt.objects.filter(endpoint=endpoint.pk).order_by("at")
        wait_for(lambda: attempts.count() == 20, attempts.count)

    times = [one.at for one in attempts]
    # Two at once, two more before Redis is known, and a lease ahead: the rest keeps to the rate.
    assert (times[-1] - times[0]).total_seconds() >= (20 - 2 - 2 - 2) / 5 - 0.2
