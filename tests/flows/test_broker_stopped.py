"""A broker that stands still for 20 s under load: clear answers, nothing lost, nothing doubled."""

import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPException  # noqa: TID251 - what a client meets
from pathlib import Path

import pytest

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub import config
from kafkahub.devstack.kafka import VARIABLE
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, reader_options
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position
from subscriptions.models import Grant, UsageHour
from tests import factories
from tests.conformance.client import Answer, Client
from tests.fakes.own_broker import Broker, own_broker
from tests.gateway import grpc_rig
from tests.streams.web import Web, running, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

OUTAGE_S = 20.0
LONGEST_S = 20.0
"""Every answer is out within."""
WRITERS, PARTITIONS = 3, 3
TOPIC = "orders"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    env = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with own_broker(tmp_path / "kafka", env) as made:
        Admin(admin_options(made.settings(config.load()))).create_topic(TOPIC, PARTITIONS, 15)
        yield made


@pytest.fixture
def web(broker: Broker, tmp_path: Path, transactional_db: None) -> Iterator[Web]:
    with running(tmp_path, kafka_bootstrap=broker.bootstrap) as made:
        yield made


class Load:
    """Writers that give each record a key of its own, and try again until it is acknowledged."""

    def __init__(self, web: Web, key: str) -> None:
        self.acknowledged: list[int] = []
        self.answers: list[tuple[Answer, float]] = []
        self._client = Client(web.url, key)
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self.v2_acknowledged: list[int] = []
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        self._threads.append(threading.Thread(target=self._write_v2))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Begin no new record; return once those begun are acknowledged."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive(), self.statuses

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer, _ in self.answers)

    def _write(self) -> None:
        while not self._is_over.is_set():
            number = next(self._numbers)
            while not self._is_written(number):
                self._is_over.wait(0.2)  # a client that obeys Retry-After would wait longer

    def _write_v2(self) -> None:
        """Write as Confluent's clients do: each record once, whatever becomes of it."""
        for number in itertools.count(1):
            if self._is_over.is_set():
                return
            try:
                answer = self._client.produce(TOPIC, {"value": {"number": -number}})
            except (OSError, HTTPException):
                continue
            assert answer.status in {200, 503}, answer
            if answer.status == 200 and answer.json["offsets"][0]["error_code"] is None:
                self.v2_acknowledged.append(-number)
            self._is_over.wait(0.05)

    def _is_written(self, number: int) -> bool:
        begun_s = time.monotonic()
        try:
            answer = self._client.send(
                "POST",
                f"/api/v1/topics/{TOPIC}/records?partition={number % PARTITIONS}",
                json.dumps({"number": number}).encode(),
                "application/json",
                Idempotency_Key=f"order-{number}",
            )
        except (OSError, HTTPException):
            return False
        self.answers.append((answer, time.monotonic() - begun_s))
        if answer.status == 200:
            self.acknowledged.append(number)
        return answer.status == 200


@pytest.fixture
def load(web: Web) -> Iterator[Load]:
    owner = factories.partner()
    factories.roomy_plan()
    for action in Grant.Action.values:
        Grant.objects.create(partner=owner, topic=factories.topic(TOPIC), action=action)
    key = factories.caller(owner, scopes=frozenset({"topic:*:read", "topic:*:write"})).key
    wait_for(lambda: TOPIC in str(Client(web.url, key).get("/topics").body), lambda: TOPIC)
    made = Load(web, key)
    yield made
    made.finish()


def ends(broker: Broker) -> int:
    """Return how many records Kafka has."""
    marks = Admin(admin_options(broker.settings(config.load()))).watermarks(TOPIC)
    return sum(high - low for low, high in marks.values())


def stored(broker: Broker) -> list[int]:
    """Return the numbers that Kafka has, each as often as it is there."""
    settings = broker.settings(config.load())
    marks = Admin(admin_options(settings)).watermarks(TOPIC)
    reader = Reader(reader_options(settings), on_out_of_range=lambda _: None)
    reader.assign([Position(TOPIC, number, low) for number, (low, _) in marks.items()])
    found: list[int] = []
    count = sum(high - low for low, high in marks.values())
    until = time.monotonic() + 30
    while len(found) < count and time.monotonic() < until:
        found += [json.loads(one.value or b"")["number"] for one in reader.read(500, 0.5)]
    reader.close()
    return found


QUEUE = 20_000
"""Records that the queue to Kafka takes."""


def test_what_is_answered_before_kafka_is_bounded_and_its_loss_is_counted(
    broker: Broker, web: Web, tmp_path: Path
) -> None:
    owner = factories.partner()
    factories.roomy_plan()
    write = {"action": Grant.Action.WRITE, "allow_unconfirmed": True}
    Grant.objects.create(partner=owner, topic=factories.topic(TOPIC), **write)
    key = factories.caller(owner, scopes=frozenset({"topic:*:write"})).key
    by_rest = Client(web.url, key)
    path, kind = f"/api/v1/topics/{TOPIC}/records?ack=enqueued", "application/x-ndjson"

    def batch(count: int) -> pb.PublishRequest:
        records = [pb.Record(value=b"1")] * count
        return pb.PublishRequest(topic=TOPIC, records=records, ack=pb.ACK_MODE_ENQUEUED)

    with grpc_rig.serving(tmp_path, kafka_bootstrap=broker.bootstrap) as server:
        by_grpc = grpc_rig.Client(server.target, key)
        wait_for(lambda: by_rest.post(path, b"1", kind).status == 202, lambda: TOPIC)
        wait_for(lambda: not by_grpc.call("Publish", batch(1)).results[0].error.code, lambda: TOPIC)
        wait_for(lambda: ends(broker) == 2, lambda: ends(broker))
        broker.stop()
        taken = [by_rest.post(path, b"1\n" * (QUEUE // 2), kind) for _ in range(2)]
        full = by_rest.post(path, b"1\n2", kind)
        for _ in range(QUEUE // 1_000):
            by_grpc.call("Publish", batch(1_000))
        failure = grpc_rig.failing(lambda: by_grpc.call("Publish", batch(1)))
        server.signal(signal.SIGTERM)  # both wait for what Kafka will not say, and count that too
        web.stop()
        server.stop()

    assert [(one.status, one.json) for one in taken] == [(202, {"accepted": QUEUE // 2})] * 2
    assert full.code == (503, "unavailable")
    assert (full.json["outcome"], int(full.headers["retry-after"])) == ("not_written", 5)
    assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "UNAVAILABLE")
    used = UsageHour.objects.filter(partner=owner, topic=TOPIC).order_by("door")
    counts = [(one.door, one.records_in, one.records_failed, one.records_lost) for one in used]
    assert counts == [("grpc", 1, 1, QUEUE), ("rest", 1, 2, QUEUE)]


def test_nothing_is_lost_or_doubled_while_the_broker_stands_still(
    broker: Broker, web: Web, load: Load
) -> None:
    process = web.pid
    load.start()
    wait_for(lambda: len(load.acknowledged) >= 20, lambda: load.statuses)

    broker.stop()
    threading.Event().wait(OUTAGE_S)  # the length of the outage is what is asked for
    broker.go_on()
    after = len(load.acknowledged)
    wait_for(lambda: len(load.acknowledged) >= after + 20, lambda: load.statuses)
    load.finish()

    assert web.pid == process
    there = stored(broker)
    assert sorted(number for number in there if number >= 0) == sorted(load.acknowledged)
    assert set(load.v2_acknowledged) <= set(there)
    refused = [(answer, spent_s) for answer, spent_s in load.answers if answer.status != 200]
    assert refused, "nobody noticed the outage"
    for answer, spent_s in refused:
        assert answer.status in {503, 409}, answer
        assert answer.json["code"] in {"unavailable", "idempotency_in_progress", "outcome_unknown"}
        assert int(answer.headers["retry-after"]) >= 1
        assert spent_s < LONGEST_S + 1, answer
