"""Nothing is lost, and little is doubled, whatever is killed under load."""

import json
import os
import signal
from collections import Counter

import pytest
import redis

from kafkahub import config
from tests.fakes.endpoint import Endpoint
from tests.flows.conftest import Hub, Process, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(180)]

RECORDS = 5_000
PARTITIONS = 3
WINDOW = 32
OUTCOMES = 200
"""Most requests in flight and most outcomes not yet committed, of one engine."""
ENGINES = 2
KILL_AT = RECORDS // 5


def values() -> list[bytes]:
    return [json.dumps({"id": number}).encode() for number in range(RECORDS)]


def counts(receiver: Endpoint) -> Counter[int]:
    return Counter(json.loads(request.body)["data"]["id"] for request in receiver.received)


def start(hub: Hub, receiver: Endpoint) -> Process:
    """Let a worker deliver under load; return it when a fifth has arrived."""
    topic = hub.topic(PARTITIONS)
    endpoint, _ = hub.endpoint(receiver.url, max_in_flight=WINDOW)
    hub.subscribe(topic, endpoint, partitions=PARTITIONS)
    hub.produce(topic, values())
    worker = run(hub)
    receiver.wait_for(KILL_AT, 60)
    return worker


def run(hub: Hub) -> Process:
    return hub.worker(ENGINES, delivery_checkpoint_outcomes=str(OUTCOMES))


def assert_complete(receiver: Endpoint, *, crashes: int) -> None:
    wait_for(lambda: len(counts(receiver)) == RECORDS, lambda: len(counts(receiver)))
    doubles = sum(count - 1 for count in counts(receiver).values())
    assert doubles <= crashes * (WINDOW + OUTCOMES)
    ids = {
        (json.loads(request.body)["data"]["id"], request.headers["webhook-id"])
        for request in receiver.received
    }
    assert len(ids) == RECORDS


def test_a_killed_engine_is_replaced_and_nothing_is_lost(hub: Hub) -> None:
    with Endpoint() as receiver:
        worker = start(hub, receiver)

        os.kill(worker.children()[0].pid, signal.SIGKILL)

        assert_complete(receiver, crashes=1)


def test_a_killed_worker_takes_its_engines_along_and_nothing_is_lost(hub: Hub) -> None:
    with Endpoint() as receiver:
        worker = start(hub, receiver)
        engines = worker.children()

        os.kill(worker.pid, signal.SIGKILL)
        wait_for(
            lambda: (
                not any(engine.is_running() and engine.status() != "zombie" for engine in engines)
            ),
            lambda: engines,
            10,
        )
        run(hub)

        assert_complete(receiver, crashes=ENGINES)


def test_an_emptied_redis_changes_nothing(hub: Hub) -> None:
    with Endpoint() as receiver:
        start(hub, receiver)

        redis.Redis.from_url(config.load().redis_url.get_secret_value()).flushdb()

        assert_complete(receiver, crashes=0)
