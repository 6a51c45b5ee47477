"""A topic that was made again is another one: its readers are told, and miss nothing."""

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafkahub import config
from kafkahub.kafka.options import admin_options
from tests.streams.reading import numbers, reading
from tests.streams.web import Stage, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]


def recreate(stage: Stage) -> None:
    """Delete the topic, and make another one of its name."""
    admin = AdminClient({**admin_options(config.load())})
    admin.delete_topics([stage.topic])[stage.topic].result(20)
    wait_for(lambda: stage.topic not in admin.list_topics(timeout=10).topics, lambda: "still there")
    new = NewTopic(stage.topic, num_partitions=1)
    wait_for(lambda: _made(admin, new), lambda: "not made")


def _made(admin: AdminClient, new: NewTopic) -> bool:
    return admin.create_topics([new])[new.topic].exception(20) is None


def test_an_open_stream_comes_again_and_reads_the_new_topic_after_a_gap(stage: Stage) -> None:
    with reading(stage) as opened:
        stage.write(5)
        opened.records(5)
        recreate(stage)
        # As many as before and more: the old offsets exist again, and mean other records.
        stage.write(10)

        closing = opened.until("closing")

    assert (closing.json["reason"], closing.json["action"]) == ("moved", "reconnect")
    with reading(stage, last_event_id=closing.json["cursor"]) as again:
        gap = again.until("gap")
        assert numbers(again.records(10)) == list(range(5, 15))
    assert (gap.json["reason"], gap.json["lost"]) == ("recreated", None)


def test_a_cursor_of_the_old_topic_begins_by_its_time_after_a_gap(stage: Stage) -> None:
    stage.write(5)
    with reading(stage, "?from=earliest") as opened:
        opened.records(5)
        last_id = opened.last_id
    assert last_id is not None

    recreate(stage)
    stage.write(7)
    wait_for(lambda: _first(stage, last_id) == "recreated", lambda: _first(stage, last_id), 10)


def _first(stage: Stage, last_id: str) -> str:
    """Return the reason of the gap that a stream begins with, or the name of its first frame."""
    with reading(stage, last_event_id=last_id) as again:
        stage.write(1)
        frame = next(again.frames())
        return str(frame.json["reason"]) if frame.event == "gap" else frame.event
