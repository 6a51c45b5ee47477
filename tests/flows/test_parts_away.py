"""What engines need may go away for a moment: deliveries go on by themselves."""

import json
from collections import Counter

import pytest
from django.db import connection

from delivery.models import PartitionPosition
from tests.fakes.endpoint import Endpoint
from tests.flows.conftest import Hub, wait_for

pytestmark = pytest.mark.kafka

RECORDS = 3_000
CUTS = 3
WINDOW = 32
OUTCOMES = 200
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def counts(receiver: Endpoint) -> Counter[int]:
    return Counter(json.loads(request.body)["data"]["id"] for request in receiver.received)


def cut_connections() -> None:
    """Let PostgreSQL end every connection but ours."""
    with connection.cursor() as cursor:
        cursor.execute(CUT)


def test_connections_that_postgresql_ends_cost_nothing_but_a_moment(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=WINDOW)
        hub.subscribe(topic, endpoint)
        engine = hub.engine(delivery_checkpoint_outcomes=str(OUTCOMES))
        for cut in range(CUTS):
            numbers = range(cut * RECORDS // CUTS, (cut + 1) * RECORDS // CUTS)
            hub.produce(topic, [json.dumps({"id": number}).encode() for number in numbers])
            receiver.wait_for(numbers.start + 100)
            cut_connections()

        wait_for(lambda: len(counts(receiver)) == RECORDS, lambda: len(counts(receiver)))
        floor = PartitionPosition.objects.filter(topic=topic)
        wait_for(lambda: floor.get().next_offset == RECORDS, floor.values)
    assert engine.logged().count("engine.started") == 1

    doubles = sum(count - 1 for count in counts(receiver).values())
    assert doubles == 0


def test_engines_start_and_deliver_while_redis_is_away(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, [b'{"id": 1}'])
        hub.worker(engines=1, redis_url="redis://127.0.0.1:1/0")

        [request] = receiver.wait_for(1)

    assert json.loads(request.body)["data"] == {"id": 1}
