"""Records that are gone from Kafka are announced, with the exact range where anybody knows it."""

import pytest
from confluent_kafka.admin import AdminClient

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options
from tests.conformance.conftest import URLS, Join, Stage, wait_for
from tests.delivery.kafka import DEADLINE_S, delete_before
from tests.streams.web import wait_for as wait_until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(bool(URLS), reason="deletes records in a Kafka of our own"),
]

SEEN_S = 40.0
"""A topic's id is asked for again after 10 s."""


def remake_topic(name: str) -> None:
    """Delete a topic and make another one of its name."""
    options = admin_options(config.load())
    client, admin = AdminClient({**options}), Admin(options)
    client.delete_topics([name])[name].result(DEADLINE_S)
    wait_until(lambda: name not in admin.topics(), admin.topics)
    admin.create_topic(name, 3, deadline_s=15)


def test_a_group_is_told_what_retention_took(stage: Stage, join: Join) -> None:
    consumer = join(topics=[], auto__offset__reset="earliest")
    part = {"topic": stage.topic, "partition": 0}
    [first, *_] = stage.alice.produce(
        stage.topic, *({"value": number, "partition": 0} for number in range(5))
    ).json["offsets"]
    start = first["offset"]
    assert consumer.post("/assignments", {"partitions": [part]}).status == 204
    consumer.post("/positions", {"offsets": [part | {"offset": start}]})

    delete_before(stage.topic, start + 3)
    answer = consumer.read("?timeout=5000")

    gap = f"{stage.topic}/0 {start}-{start + 2} retention"
    assert answer.headers["kafkahub-gap"] == gap
    assert [one["offset"] for one in answer.json] == [start + 3, start + 4]


def test_a_group_without_a_reset_is_refused_and_goes_on_where_it_is_sent(
    stage: Stage, join: Join
) -> None:
    consumer = join(topics=[], auto__offset__reset="none")
    part = {"topic": stage.topic, "partition": 1}
    [first, *_] = stage.alice.produce(
        stage.topic, *({"value": number, "partition": 1} for number in range(3))
    ).json["offsets"]
    start = first["offset"]
    consumer.post("/assignments", {"partitions": [part]})
    consumer.post("/positions", {"offsets": [part | {"offset": start}]})
    delete_before(stage.topic, start + 2, partition=1)

    assert consumer.read("?timeout=1000").error == (409, 40903)
    consumer.post("/positions/beginning", {"partitions": [part]})
    assert [one["offset"] for one in consumer.read("?timeout=5000").json] == [start + 2]


def test_a_topic_made_anew_is_told_by_every_door(stage: Stage, join: Join) -> None:
    name = stage.read_topic
    native = f"/api/v1/topics/{name}/records"
    consumer = join(topics=[name], auto__offset__reset="earliest")
    cursor = stage.alice.get(f"{native}?from=latest").headers["kafkahub-next-cursor"]
    failing = f"{native}?cursor={cursor}&on_gap=fail"
    assert stage.alice.get(failing).status == 200

    remake_topic(name)

    expired = wait_for(lambda: stage.alice.get(failing), lambda one: one.status == 410, SEEN_S)
    assert expired.json["code"] == "cursor_expired"
    assert expired.json["gap"]["reason"] == "recreated"
    goes_on = stage.alice.get(f"{native}?cursor={cursor}")
    assert [gap["reason"] for gap in goes_on.json["gaps"]] == ["recreated"]
    told = wait_for(
        lambda: consumer.read("?timeout=500"), lambda one: "kafkahub-gap" in one.headers, SEEN_S
    )
    assert told.headers["kafkahub-gap"].endswith(" recreated")
    assert "kafkahub-gap" not in consumer.read("?timeout=100").headers
