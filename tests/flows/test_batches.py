"""Batches on real parts: everything arrives, in order, whatever is refused or killed."""

import json
import threading
from collections import Counter
from itertools import pairwise

import pytest

from delivery.models import DeliveryAttempt, ParkedDelivery
from tests.fakes.endpoint import Connection, Endpoint, status
from tests.flows.conftest import Hub, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

RECORDS = 300
KEYS = 20
POISON = frozenset({33, 34, 250})
LIMITS = {"max_records": 50, "max_wait_ms": 200, "max_bytes": 65_536, "partial": False}


class Counting:
    """Refuses every request that holds poison, twice at most for each; keeps what it took."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.sizes: list[int] = []
        self._alone: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> bool:
        body = json.loads(connection.request.body)
        records = body["data"]["records"] if body["type"] == "kafkahub.batch" else [body]
        numbers = [one["data"]["id"] for one in records]
        with self._lock:
            is_refused = any(one in POISON and self._alone[one] < 2 for one in numbers)
            if len(numbers) == 1:
                self._alone[numbers[0]] += 1
            self.sizes.append(len(numbers))
            if not is_refused:
                self.taken += numbers
        return status(400 if is_refused else 200)(connection)


@pytest.mark.parametrize("ordering", ["none", "key", "partition"])
def test_everything_arrives_in_batches_although_some_records_are_refused_at_first(
    hub: Hub, ordering: str
) -> None:
    topic, receiver = hub.topic(), Counting()
    with Endpoint(receiver) as endpoint_of:
        endpoint, _ = hub.endpoint(endpoint_of.url)
        hub.subscribe(
            topic,
            endpoint,
            ordering=ordering,
            batch=LIMITS,
            retry_schedule_s=[1] * 10,
            retry_jitter=0.0,
        )
        values = [json.dumps({"id": number}).encode() for number in range(RECORDS)]
        hub.produce(topic, values, [b"%d" % (number % KEYS) for number in range(RECORDS)])
        first = hub.engine(failpoints="send.after_2xx=kill@3")
        wait_for(lambda: not first.is_alive(), lambda: receiver.sizes)
        hub.engine()
        wait_for(lambda: set(receiver.taken) == set(range(RECORDS)), lambda: len(receiver.taken))
        wait_for(lambda: not ParkedDelivery.objects.exists(), ParkedDelivery.objects.values)

    assert max(receiver.sizes) == LIMITS["max_records"]
    assert DeliveryAttempt.objects.filter(batch__startswith="bat_").count() >= RECORDS
    assert overtaken(receiver.taken, ordering) == []


def overtaken(taken: list[int], ordering: str) -> list[tuple[int, int]]:
    """Return what came before an earlier one of its order; copies do not count."""
    if ordering == "none":
        return []
    first = {number: at for at, number in reversed(list(enumerate(taken)))}
    lanes = [range(RECORDS)] if ordering == "partition" else []
    lanes += [range(key, RECORDS, KEYS) for key in range(KEYS) if ordering == "key"]
    return [pair for lane in lanes for pair in pairwise(lane) if first[pair[0]] > first[pair[1]]]
