"""Kafka gives records up while a client sleeps: it is told exactly which, then reads on."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kafkahub import config
from kafkahub.kafka.options import admin_options
from tests.streams.reading import numbers, reading
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]


def give_up(stage: Stage, offset: int) -> None:
    """Let Kafka delete everything before an offset, and the web process forget what it read."""
    admin = AdminClient({**admin_options(config.load())})
    place = TopicPartition(stage.topic, 0, offset)
    for answer in admin.delete_records([place]).values():
        answer.result(20)
    stage.web.kill()
    stage.web.start()
    stage.web.settle()


def test_a_gap_names_the_range_before_the_records_that_follow(stage: Stage) -> None:
    stage.write(5)
    with reading(stage, "?from=earliest") as opened:
        opened.records(5)
        last_id = opened.last_id
    assert last_id is not None
    stage.write(95)

    give_up(stage, 60)

    with reading(stage, last_event_id=last_id) as again:
        gap = again.frame()
        assert gap is not None
        assert gap.event == "gap"
        assert gap.json["reason"] == "retention"
        assert (gap.json["partition"], gap.json["from"], gap.json["to"]) == (0, 5, 60)
        assert gap.json["lost"] == 55
        assert numbers(again.records(40)) == list(range(60, 100))


def test_the_id_of_a_gap_is_behind_it(stage: Stage) -> None:
    stage.write(2)
    with reading(stage, "?from=earliest") as opened:
        opened.records(2)
        last_id = opened.last_id
    assert last_id is not None
    stage.write(8)
    give_up(stage, 6)

    with reading(stage, last_event_id=last_id) as again:
        gap = again.until("gap")
    assert gap.id is not None

    with reading(stage, last_event_id=gap.id) as after:
        first = after.frame()

    assert first is not None
    assert first.event == "message", first
    assert first.json["value"]["n"] == 6
