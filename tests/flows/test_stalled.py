"""An engine that hangs without dying is replaced, and a worker's engines die with it."""

import json
import os
import signal

import psutil
import pytest

from delivery.models import PartitionPosition
from tests.fakes.endpoint import Endpoint
from tests.flows.conftest import Hub, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

STALL_S = 5
ORPHAN_S = 10.0


def test_an_engine_whose_checkpoints_hang_ends_and_the_next_one_goes_on(hub: Hub) -> None:
    topic = hub.topic()
    with Endpoint() as receiver:
        endpoint, _ = hub.endpoint(receiver.url)
        hub.subscribe(topic, endpoint)
        hub.produce(topic, [b'{"id": 0}'])
        hub.worker(
            engines=1,
            delivery_stall_s=str(STALL_S),
            failpoints="checkpoint.before_commit=hold:/proc/self@5",
        )
        wait_for(PartitionPosition.objects.exists, PartitionPosition.objects.values)
        for number in range(1, 40):
            hub.produce(topic, [json.dumps({"id": number}).encode()])

        wait_for(lambda: "engine.stalled" in hub.processes[0].logged(), lambda: "no bark")
        wait_for(lambda: hub.processes[0].logged().count("engine.started") > 1, lambda: "alone")
        hub.processes[0].kill()
        hub.engine(kafka_group=f"after-{topic}")

        floor = PartitionPosition.objects.filter(topic=topic)
        wait_for(lambda: floor.get().next_offset == 40, floor.values)


def test_engines_do_not_outlive_their_parent(hub: Hub) -> None:
    worker = hub.worker(engines=2)
    wait_for(lambda: worker.logged().count("engine.started") == 2, worker.logged)
    engines = worker.children()

    os.kill(worker.pid, signal.SIGKILL)

    psutil.wait_procs(engines, ORPHAN_S)
    assert not [one for one in engines if one.is_running() and one.status() != "zombie"]
