"""Loss is visible: what Kafka does not have any more is told, exactly, and the rest goes on."""

import json

import pytest

from delivery import recreated, tasks
from delivery.models import DeliveryGap
from subscriptions import starts
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import AuditEvent, LanePosition, Topic
from tests.delivery.kafka import delete_before, recreate
from tests.fakes.endpoint import Endpoint
from tests.flows.conftest import Hub, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def values(count: int) -> list[bytes]:
    return [json.dumps({"id": number}).encode() for number in range(count)]


def bodies(receiver: Endpoint, kind: str) -> list[dict[str, object]]:
    """Return ``data`` of what has arrived of one type."""
    found = [json.loads(request.body) for request in list(receiver.received)]
    return [body["data"] for body in found if body["type"] == kind]


def test_retention_that_overtook_a_lane_is_one_gap_with_its_exact_range(hub: Hub) -> None:
    with Endpoint() as receiver:
        topic = hub.topic()
        endpoint, _ = hub.endpoint(receiver.url)
        subscription = hub.subscribe(topic, endpoint)
        hub.produce(topic, values(10))
        delete_before(topic, 6)

        hub.engine()
        wait_for(
            lambda: (
                len(bodies(receiver, topic)) == 4 and len(bodies(receiver, "kafkahub.gap")) == 1
            ),
            lambda: [request.body for request in receiver.received],
        )

    [told] = bodies(receiver, "kafkahub.gap")
    assert (told["from"], told["to"], told["lost"], told["reason"]) == (0, 6, 6, "retention")
    assert sorted(str(data["id"]) for data in bodies(receiver, topic)) == ["6", "7", "8", "9"]
    gap = DeliveryGap.objects.get()
    assert (gap.subscription, gap.from_offset, gap.to_offset) == (subscription, 0, 6)
    tasks.announce_gaps()
    assert AuditEvent.objects.get(verb="gap.found").object_id == subscription.pk


def test_a_recreated_topic_waits_for_a_person_and_then_goes_on_at_its_first_record(
    hub: Hub,
) -> None:
    with Endpoint() as receiver:
        topic = hub.topic()
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, values(5))
        hub.engine()
        receiver.wait_for(5, 60)
        wait_for(  # delivered and durable: the floor is what tells the two logs apart
            lambda: LanePosition.objects.filter(state="live").exists(), lambda: "not live", 20
        )

        recreate(topic)
        hub.produce(topic, values(2))
        wait_for(
            lambda: LanePosition.objects.filter(state="paused", reason="recreated").exists(),
            lambda: list(LanePosition.objects.values("state", "reason", "next_offset")),
        )
        before = len(bodies(receiver, topic))
        actor = Actor(ActorKind.SYSTEM, "test")
        recreated.accept(actor, Topic.objects.get(pk=topic), starts.process_admin())
        wait_for(
            lambda: len(bodies(receiver, topic)) == 7,
            lambda: [request.body for request in receiver.received],
        )

    assert before == 5
    ids = [
        request.headers["webhook-id"]
        for request in receiver.received
        if json.loads(request.body)["type"] == topic
    ]
    assert len(set(ids)) == 7
    gap = DeliveryGap.objects.get()
    assert (gap.reason, gap.from_offset, gap.to_offset) == ("recreated", 5, None)
