"""An endpoint that is down costs one row, and gets everything when it is back."""

import json

import pytest

from delivery.models import DeliveryAttempt, ParkedDelivery
from subscriptions.actions.endpoints import enable_endpoint
from subscriptions.audit import Actor
from subscriptions.models import AuditEvent, LanePosition
from subscriptions.models import Endpoint as EndpointRow
from tests.fakes.endpoint import Endpoint, hang, ok, status
from tests.flows.conftest import Hub, wait_for

pytestmark = pytest.mark.kafka

RECORDS = 2_000


def numbers(receiver: Endpoint) -> set[int]:
    return {
        json.loads(request.body)["data"]["id"]
        for request in receiver.received
        if request.headers["webhook-id"].startswith("msg_")
    }


@pytest.mark.parametrize("failure", [status(503), hang()], ids=["answers 503", "hangs"])
def test_an_outage_is_one_lane_row_and_ends_with_everything_delivered(
    hub: Hub, failure: object
) -> None:
    topic = hub.topic()
    values = [json.dumps({"id": number}).encode() for number in range(RECORDS)]
    with Endpoint(failure) as down, Endpoint() as up:  # type: ignore[arg-type]  # a Behaviour
        endpoint, _ = hub.endpoint(down.url, timeout_ms=1_000, connect_timeout_ms=500)
        other, _ = hub.endpoint(up.url)
        broken = hub.subscribe(topic, endpoint)
        hub.subscribe(topic, other)
        hub.engine()
        hub.produce(topic, values[:100])
        lane = LanePosition.objects.filter(subscription=broken, reason="endpoint_down")
        wait_for(lane.exists, lambda: list(LanePosition.objects.values()))
        hub.produce(topic, values[100:])
        wait_for(lambda: len(numbers(up)) == RECORDS, lambda: len(numbers(up)))
        assert lane.get().state == "behind"
        assert ParkedDelivery.objects.count() <= 40

        down.script(ok())
        wait_for(lambda: len(numbers(down)) == RECORDS, lambda: len(numbers(down)))
        wait_for(lambda: not ParkedDelivery.objects.exists(), ParkedDelivery.objects.count)
        wait_for(
            lambda: LanePosition.objects.get(subscription=broken).state == "live",
            lambda: list(LanePosition.objects.values()),
        )

    assert DeliveryAttempt.objects.filter(kind="probe", subscription=broken.id).exists()


def test_a_new_engine_probes_where_the_one_before_left_nothing_but_failed_heads(hub: Hub) -> None:
    topic = hub.topic()
    values = [json.dumps({"id": number}).encode() for number in range(6)]
    tomorrow = 86_400
    with Endpoint(status(503)) as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint, ordering="key", retry_schedule_s=[tomorrow])
        first = hub.engine()
        hub.produce(topic, values[:2], [b"one", b"two"])
        heads = ParkedDelivery.objects.filter(state="scheduled", last_status=503)
        wait_for(lambda: heads.count() == 2, lambda: list(ParkedDelivery.objects.values()))
        first.kill()
        hub.produce(topic, values[2:], [b"one", b"two"] * 2)

        hub.engine()
        probes = DeliveryAttempt.objects.filter(kind="probe", http_status=503)
        wait_for(probes.exists, lambda: list(DeliveryAttempt.objects.values("kind", "outcome")))
        receiver.script(ok())

        wait_for(lambda: len(numbers(receiver)) == len(values), lambda: numbers(receiver))
        wait_for(lambda: not ParkedDelivery.objects.exists(), ParkedDelivery.objects.count)

    assert set(DeliveryAttempt.objects.filter(offset__lt=2).values_list("number", flat=True)) > {1}


def test_an_endpoint_that_is_gone_is_disabled_and_gets_what_it_is_owed_when_a_person_enables_it(
    hub: Hub,
) -> None:
    topic = hub.topic()
    with Endpoint(status(410)) as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        hub.engine()
        hub.produce(topic, [b'{"id": 1}'])
        wait_for(
            lambda: (
                (row := _fresh(endpoint.id)).status == "disabled" and row.status_reason == "gone"
            ),
            lambda: vars(_fresh(endpoint.id)),
        )
        wait_for(lambda: LanePosition.objects.get().state == "paused", LanePosition.objects.values)

        receiver.script(ok())
        enable_endpoint(Actor("key", "key_1"), _fresh(endpoint.id))
        [request] = receiver.wait_for(1)

    assert json.loads(request.body)["data"] == {"id": 1}
    assert AuditEvent.objects.filter(verb="endpoint.disabled", object_id=endpoint.id).exists()


def _fresh(endpoint: str) -> EndpointRow:
    return EndpointRow.objects.get(id=endpoint)
