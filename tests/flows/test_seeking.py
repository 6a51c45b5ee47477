"""A subscription that is moved back is sent everything again, whatever dies meanwhile."""

import json
from collections import Counter

import pytest

from delivery import seeking
from delivery.models import PartitionPosition
from subscriptions import starts
from subscriptions.audit import Actor, ActorKind
from subscriptions.starts import Earliest
from tests.fakes.endpoint import Endpoint
from tests.flows.conftest import Hub, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
RECORDS = 400


def counts(receiver: Endpoint) -> Counter[tuple[int, str]]:
    return Counter(
        (json.loads(request.body)["data"]["id"], request.headers["webhook-id"])
        for request in list(receiver.received)
    )


def test_a_crash_during_a_seek_back_skips_nothing_of_the_new_pass(hub: Hub) -> None:
    with Endpoint() as receiver:
        topic = hub.topic()
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=4)
        subscription = hub.subscribe(topic, endpoint)
        hub.produce(topic, [json.dumps({"id": number}).encode() for number in range(RECORDS)])
        engine = hub.engine()
        receiver.wait_for(RECORDS, 60)
        wait_for(
            lambda: PartitionPosition.objects.filter(next_offset=RECORDS).exists(),
            lambda: list(PartitionPosition.objects.values("next_offset")),
        )

        admin = starts.process_admin()
        where = seeking.targets(subscription, Earliest(), admin, at="/to")
        actor = Actor(ActorKind.SYSTEM, "test")
        seeking.seek(actor, subscription, Earliest(), where, seeking.naming(admin))
        receiver.wait_for(RECORDS + RECORDS // 4, 60)
        engine.kill()
        hub.engine()

        wait_for(
            lambda: min(counts(receiver).values()) >= 2,
            lambda: (len(counts(receiver)), sum(counts(receiver).values())),
        )

    assert len(counts(receiver)) == RECORDS  # one id a record, in both passes
