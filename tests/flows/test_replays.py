"""A replay sends every record again, beside the live ones, whatever dies meanwhile."""

import json
import signal
from collections import Counter

import pytest

from delivery import replays, tasks
from delivery.models import PartitionPosition
from delivery.replays import Wish
from subscriptions import starts
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Replay, ReplayProgress, Subscription
from subscriptions.starts import Earliest, Latest
from tests.fakes.endpoint import Endpoint
from tests.flows.conftest import Hub, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]
RECORDS = 400
ACTOR = Actor(ActorKind.SYSTEM, "test")


def values(count: int, start: int = 0) -> list[bytes]:
    return [json.dumps({"id": number}).encode() for number in range(start, start + count)]


def sent(receiver: Endpoint, replay: str | None) -> Counter[tuple[int, str]]:
    """Return the records, with their ids, that came as part of a replay, or of none."""
    return Counter(
        (json.loads(request.body)["data"]["id"], request.headers["webhook-id"])
        for request in list(receiver.received)
        if request.headers.get("kafkahub-replay") == replay
    )


def ask(subscription: Subscription) -> Replay:
    source = {"kafka": {"from": "earliest", "to": "latest"}}
    wish = Wish("kafka", source, auto_start=True)
    admin = starts.process_admin()
    spans = replays.spans(subscription, Earliest(), Latest(), admin, "/source/kafka")
    made = replays.create(ACTOR, subscription, wish, spans)
    tasks.keep_replays()
    return made


def test_a_killed_engine_loses_nothing_of_a_replay(hub: Hub) -> None:
    with Endpoint() as receiver:
        topic = hub.topic()
        endpoint, _ = hub.endpoint(receiver.url, max_in_flight=4)
        subscription = hub.subscribe(topic, endpoint)
        hub.produce(topic, values(RECORDS))
        engine = hub.engine(failpoints="replay.mid=kill")
        receiver.wait_for(RECORDS, 60)
        wait_for(
            lambda: PartitionPosition.objects.filter(next_offset=RECORDS).exists(),
            lambda: list(PartitionPosition.objects.values("next_offset")),
        )

        replay = ask(subscription)
        assert engine.wait(60) == -signal.SIGKILL
        engine = hub.engine()
        wait_for(
            lambda: len(sent(receiver, replay.pk)) > RECORDS // 4,
            lambda: len(sent(receiver, replay.pk)),
        )
        engine.kill()
        hub.engine()
        hub.produce(topic, values(10, RECORDS))
        wait_for(
            lambda: Replay.objects.filter(state="done").exists(),
            lambda: list(Replay.objects.values("state", "reason")),
        )

    again = sent(receiver, replay.pk)
    assert len(again) == RECORDS
    assert set(again) <= set(sent(receiver, None))  # under the ids they always had
    assert ReplayProgress.objects.get().delivered >= RECORDS
    wait_for(lambda: len(sent(receiver, None)) == RECORDS + 10, lambda: len(sent(receiver, None)))
