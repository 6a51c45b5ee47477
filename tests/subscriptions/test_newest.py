"""Filters are tried on the newest records that a partner may read, and on no others."""

import json
from collections.abc import Iterator

import pytest

from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from tests import factories
from tests.api import Caller, json_of
from tests.conftest import MakeTopic

pytestmark = [pytest.mark.kafka, pytest.mark.django_db]


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer(producer_options(config.load()))
    yield made
    made.close()


def test_a_filter_is_tried_on_the_newest_records(
    alice: Caller, charlie: Caller, topic: MakeTopic, producer: Producer
) -> None:
    name = topic(partitions=2)
    factories.grant(alice.partner, name)
    for number in range(150):
        producer.produce(name, json.dumps({"n": number}).encode(), str(number).encode())
    producer.flush(30)

    asked = {"filter": {"value": {"n": {"$gte": 140}}}, "topic": name, "last": 100}
    told = json_of(alice.post("/filters/explain", asked))

    assert (told["tested"], told["matched"]) == (100, 10)
    assert [one["result"] for one in told["records"]] == ["true"] * 3 + ["false"] * 3
    assert told["records"][3]["first_false"]["operand"] == 140
    assert charlie.post("/filters/explain", asked).status_code == 404


def test_an_empty_topic_has_nothing_to_try(alice: Caller, topic: MakeTopic) -> None:
    name = topic()
    factories.grant(alice.partner, name)

    told = json_of(alice.post("/filters/explain", {"filter": {}, "topic": name, "last": 5}))

    assert (told["tested"], told["records"]) == (0, [])
