"""Sample records look like a shop's."""

import json
from itertools import islice
from random import Random

from kafkahub.devstack.samples import TOPICS, Sample, samples


def first(count: int) -> list[Sample]:
    return list(islice(samples(Random(1)), count))  # noqa: S311 - sample values are no secrets


def test_every_topic_gets_as_many_records() -> None:
    topics = [sample.topic for sample in first(30)]

    assert {topic: topics.count(topic) for topic in TOPICS} == dict.fromkeys(TOPICS, 10)


def test_records_are_json_objects_with_a_key() -> None:
    for sample in first(30):
        assert isinstance(json.loads(sample.value), dict)
        assert sample.key


def test_some_orders_pass_the_example_filter_and_some_do_not() -> None:
    orders = [s for s in first(90) if s.topic == "orders"]

    totals = [json.loads(order.value)["total"] for order in orders]

    assert min(totals) < 100 <= max(totals)
