"""A Kafka record becomes a verified signed webhook."""

import json
from datetime import timedelta

import pytest
import standardwebhooks

from delivery.models import DeliveryAttempt, ParkedDelivery
from kafkahub import clock
from subscriptions.models import LanePosition, SigningSecret, Subscription
from tests.fakes.endpoint import Endpoint, ok, status
from tests.flows.conftest import Hub, wait_for

pytestmark = pytest.mark.kafka


def order(number: int) -> bytes:
    return json.dumps({"id": number}).encode()


def test_an_independent_receiver_verifies_what_arrives(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, secret = hub.endpoint(receiver.url)
        subscription = hub.subscribe(topic, endpoint)
        hub.produce(topic, [order(7)])
        hub.engine()

        [request] = receiver.wait_for(1)

    body = standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
    assert body["data"] == {"id": 7}
    assert body["type"] == topic
    assert request.headers["kafkahub-subscription"] == subscription.id
    assert request.headers["kafkahub-topic"] == topic
    assert request.headers["kafkahub-attempt"] == "1"


def test_both_secrets_verify_while_a_rotation_lasts(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, old = hub.endpoint(receiver.url)
        endpoint.secrets.update(expires_at=clock.now() + timedelta(hours=1))
        new = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        SigningSecret.objects.create(endpoint=endpoint, secret=new)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, [order(1)])
        hub.engine()

        [request] = receiver.wait_for(1)

    for secret in (old, new):
        standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))


def test_a_failing_endpoint_is_tried_again_under_the_same_id(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint(status(500), status(500), status(500), ok()) as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        subscription = hub.subscribe(topic, endpoint, retry_schedule_s=[1, 1, 1], retry_jitter=0.0)
        hub.produce(topic, [order(1)])
        hub.engine()

        requests = receiver.wait_for(4)
        attempts = DeliveryAttempt.objects.filter(subscription=subscription.id).order_by("number")
        wait_for(lambda: attempts.count() == 4, attempts.values)

    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1
    assert [request.headers["kafkahub-attempt"] for request in requests] == ["1", "2", "3", "4"]
    found = list(attempts)
    assert [attempt.http_status for attempt in found] == [500, 500, 500, 200]
    assert [attempt.kind for attempt in found] == ["first", "retry", "retry", "retry"]
    assert [attempt.next_attempt_at is not None for attempt in found] == [True, True, True, False]
    assert not ParkedDelivery.objects.exists()


def test_an_exhausted_schedule_leaves_a_dead_letter(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint(status(422)) as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint, retry_schedule_s=[], retry_jitter=0.0)
        hub.produce(topic, [order(1)])
        hub.engine()
        receiver.wait_for(1)
        dead = ParkedDelivery.objects.filter(state="dead")
        wait_for(dead.exists, lambda: list(ParkedDelivery.objects.values()))

    row = dead.get()
    assert (row.reason, row.last_outcome, row.last_status) == ("exhausted", "http_4xx", 422)
    assert json.loads(bytes(row.body or b""))["data"] == {"id": 1}


def test_retry_after_is_never_undercut(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint(status(429, headers=[("retry-after", "3")]), ok()) as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, [order(1)])
        hub.engine()

        first, second = receiver.wait_for(2)

    asked = int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"])
    assert asked >= 3
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_a_subscription_made_while_the_engine_runs_gets_what_comes_after_it(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver, Endpoint() as later:
        first, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, first)
        hub.produce(topic, [order(number) for number in range(10)])
        hub.engine()
        receiver.wait_for(10)

        second, _ = hub.endpoint(later.url)
        hub.subscribe(topic, second, start=8)
        hub.produce(topic, [order(10)])
        got = later.wait_for(3)

    assert sorted(json.loads(request.body)["data"]["id"] for request in got) == [8, 9, 10]


def test_a_paused_subscription_gets_everything_after_it_is_resumed(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver, Endpoint() as witness:
        endpoint, _ = hub.endpoint(receiver.url)
        other, _ = hub.endpoint(witness.url)
        hub.subscribe(topic, other)
        subscription = hub.subscribe(topic, endpoint)
        hub.engine()
        hub.produce(topic, [order(0)])
        receiver.wait_for(1)

        rows = Subscription.objects.filter(id=subscription.id)
        rows.update(status="paused")
        lane = LanePosition.objects.filter(subscription=subscription)
        wait_for(lambda: lane.get().state == "paused", lane.values)
        hub.produce(topic, [order(number) for number in range(1, 6)])
        witness.wait_for(6)
        assert len(receiver.received) == 1
        rows.update(status="active")
        got = receiver.wait_for(6)

    assert sorted(json.loads(request.body)["data"]["id"] for request in got) == list(range(6))


def test_what_cannot_be_decoded_is_set_aside_and_the_partition_goes_on(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, [b"{no json", order(1)])
        hub.engine()
        [request] = receiver.wait_for(1)
        dead = ParkedDelivery.objects.filter(state="dead", reason="undecodable")
        wait_for(dead.exists, lambda: list(ParkedDelivery.objects.values()))

    assert json.loads(request.body)["data"] == {"id": 1}
    assert dead.get().offset == 0


def test_a_drained_engine_leaves_nothing_undone(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        engine = hub.engine()
        hub.produce(topic, [order(number) for number in range(50)])
        receiver.wait_for(50)
        assert engine.terminate() == 0
        hub.engine()
        hub.produce(topic, [order(50)])
        requests = receiver.wait_for(51)

    ids = [request.headers["webhook-id"] for request in requests]
    assert len(ids) == len(set(ids)) == 51
