"""A stream goes on exactly where its client stopped, whatever its client knows of it."""

import json

import pytest

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options
from subscriptions import cursor as codec
from subscriptions.cursor import Cursor, TopicPosition, tag
from tests import factories
from tests.api import json_of
from tests.conftest import MakeTopic
from tests.streams.reading import Reading, numbers, reading
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

FAR = 4_000
"""Records that do not fit into one slice, at a kilobyte each."""


def ask(stage: Stage, query: str = "", method: str = "GET", **headers: str) -> Reading:
    """Return whatever a request with alice's key gets."""
    named = {"authorization": f"Bearer {stage.alice.key}", **headers}
    return Reading(stage.web, f"/streams/{stage.topic}{query}", named, method=method)


def test_a_stream_has_its_headers_and_gives_a_cursor_before_the_first_record(
    stage: Stage,
) -> None:
    with ask(stage) as opened:
        first = opened.frame()

        told = dict(opened.answer.getheaders())

    assert first is not None
    assert first.id
    assert first.retry is not None
    assert 2_000 <= first.retry <= 4_000
    assert first.json["stream"] == told["kafkahub-stream-id"]
    assert first.json["heartbeat_ms"] == 5_000
    assert told["content-type"] == "text/event-stream"
    assert told["cache-control"] == "no-store, no-transform"
    assert told["x-accel-buffering"] == "no"
    assert told["connection"] == "close"
    assert told["vary"] == "Accept, Origin"
    assert not told.keys() & {"content-length", "content-encoding", "server"}


def test_records_come_as_they_are_written(stage: Stage) -> None:
    with reading(stage) as opened:
        stage.write(50)

        assert numbers(opened.records(50)) == list(range(50))


def test_a_stream_cut_after_each_record_repeats_none_and_loses_none(stage: Stage) -> None:
    stage.write(20)
    seen: list[int] = []
    last_id: str | None = None

    while len(seen) < 20:
        with reading(stage, "?from=earliest&id=every", last_event_id=last_id or "") as opened:
            seen += numbers(opened.records(1))
            last_id = opened.last_id

    assert seen == list(range(20))


def test_a_batch_that_was_cut_is_repeated_from_its_beginning(stage: Stage) -> None:
    stage.write(10)
    with reading(stage, "?from=earliest") as opened:
        before = opened.last_id
        opened.records(1)
        assert opened.last_id == before  # the id stands before the last of a batch
        assert before is not None

    with reading(stage, last_event_id=before) as again:
        assert numbers(again.records(10)) == list(range(10))


def test_a_client_far_behind_gets_each_record_once_and_in_order_while_more_come(
    stage: Stage,
) -> None:
    padding = b"x" * 1_000
    for number in range(FAR):
        stage.producer.produce(stage.topic, b'{"n":%d,"p":"%b"}' % (number, padding), b"key")
    stage.producer.flush(30)
    stage.written = FAR

    with reading(stage, "?from=earliest") as behind:
        assert numbers(behind.records(FAR // 2)) == list(range(FAR // 2))
        stage.write(100)
        assert numbers(behind.records(FAR // 2 + 100)) == list(range(FAR // 2, FAR + 100))


@pytest.mark.parametrize(
    ("query", "expected"),
    [("?from=earliest", range(10)), ("?from=-3", range(7, 10)), ("?since=1h", range(10))],
)
def test_a_start_is_where_it_was_asked_for(stage: Stage, query: str, expected: range) -> None:
    stage.write(10)

    with reading(stage, query) as opened:
        assert numbers(opened.records(len(expected))) == list(expected)


def test_the_cursor_decides_before_the_url(stage: Stage) -> None:
    stage.write(10)
    with reading(stage, "?from=-5") as opened:
        opened.records(5)
        last_id = opened.last_id
    assert last_id is not None
    stage.write(1)

    with reading(stage, "?from=earliest&last_event_id=x", last_event_id=last_id) as again:
        assert numbers(again.records(1)) == [10]


def test_topics_that_the_cursor_does_not_name_follow_the_url(
    stage: Stage, topic: MakeTopic
) -> None:
    other = topic(1)
    factories.topic(other)
    factories.grant(stage.alice.partner, other)
    stage.write(3)
    stage.producer.produce(other, b'{"n":77}', b"k").result(10)
    stage.web.settle()
    with reading(stage, "?from=earliest") as opened:
        opened.records(3)
        last_id = opened.last_id
    assert last_id is not None

    key = {"authorization": f"Bearer {stage.alice.key}"}
    path = f"/streams/{stage.topic},{other}?from=earliest"
    with Reading(stage.web, path, {**key, "last_event_id": last_id}) as both:
        assert numbers(both.records(1)) == [77]
        stage.write(1)
        assert numbers(both.records(1)) == [3]


def test_the_form_of_kafkasse_is_a_position(stage: Stage) -> None:
    stage.write(5)
    spots = json.dumps([{"topic": stage.topic, "partition": 0, "offset": 3}])

    with reading(stage, last_event_id=spots) as opened:
        assert numbers(opened.records(2)) == [3, 4]


def test_a_filter_shows_only_what_matches_and_the_heartbeat_moves_on(stage: Stage) -> None:
    wanted = "%7B%22value%22%3A%7B%22n%22%3A%7B%22$gte%22%3A1000%7D%7D%7D"
    with reading(stage, f"?filter={wanted}") as opened:
        first = opened.last_id
        stage.write(10)
        beat = opened.until("heartbeat")

    assert beat.id != first
    assert beat.id is not None
    stage.write(1)
    with reading(stage, last_event_id=beat.id) as again:
        assert numbers(again.records(1)) == [10]


def test_ndjson_says_the_same_in_lines(stage: Stage) -> None:
    stage.write(2)

    with ask(stage, "?from=earliest", accept="application/x-ndjson") as opened:
        lines = [json.loads(opened.answer.readline()) for _ in range(4)]

    assert [line["type"] for line in lines] == ["heartbeat", "message", "message", "position"]
    with ask(stage, f"?last_event_id={lines[3]['cursor']}") as again:
        again.frame()
        stage.write(1)
        assert numbers(again.records(1)) == [2]


def test_the_final_id_gets_204_before_anything_is_looked_at(stage: Stage) -> None:
    final = {"last_event_id": codec.FINAL_TOKEN}
    with Reading(stage.web, "/streams/nothing", final) as refused:
        assert refused.answer.status == 204
        assert refused.answer.read() == b""


@pytest.mark.parametrize("place", ["x", "AfK3kD", "[]", "-1"])
def test_a_cursor_that_is_none_is_refused(stage: Stage, place: str) -> None:
    with ask(stage, last_event_id=place) as refused:
        body = json.loads(refused.answer.read())

    assert refused.answer.status == 400
    assert body["code"] == "invalid_cursor"


def test_unknown_and_ungranted_topics_get_the_same_bytes(stage: Stage, topic: MakeTopic) -> None:
    hidden = factories.topic(topic(1)).name
    answers = []
    key = {"authorization": f"Bearer {stage.alice.key}", "x_request_id": "one"}
    for name in (hidden, "x" * len(hidden)):
        with Reading(stage.web, f"/streams/{name}", key) as refused:
            answers.append(
                (refused.answer.status, refused.answer.read().replace(name.encode(), b""))
            )

    assert answers[0] == answers[1]
    assert answers[0][0] == 404


def test_head_tells_the_same_and_opens_nothing(stage: Stage) -> None:
    with ask(stage, method="HEAD") as opened:
        assert opened.answer.status == 200
        assert opened.answer.getheader("content-type") == "text/event-stream"
        assert opened.answer.read() == b""
    assert json_of(stage.alice.get("/streams"))["data"] == []


def of_cursor(stage: Stage, offset: int, cluster: str | None = None, time_ms: int = 0) -> str:
    """Return a plain token of ours at an offset of the stage's one partition."""
    admin = Admin(admin_options(config.load()))
    place = TopicPosition(tag(stage.topic), tag(admin.topic_id(stage.topic)), {0: offset})
    token = codec.encode(Cursor(tag(cluster or admin.cluster_id()), time_ms, (place,)))
    assert token is not None
    return token


def test_a_cursor_beyond_the_end_goes_on_at_the_end_after_a_gap(stage: Stage) -> None:
    stage.write(5)

    with reading(stage, last_event_id=of_cursor(stage, 99)) as opened:
        gap = opened.until("gap")
        stage.write(1)
        assert numbers(opened.records(1)) == [5]

    assert gap.json["reason"] == "truncated"
    assert (gap.json["from"], gap.json["to"], gap.json["lost"]) == (99, 5, None)


def test_the_cursor_of_another_cluster_begins_by_its_time_after_a_gap(stage: Stage) -> None:
    stage.write(5)

    with reading(stage, last_event_id=of_cursor(stage, 3, "another", 1_000)) as opened:
        gap = opened.until("gap")
        assert numbers(opened.records(5)) == list(range(5))

    assert gap.json["reason"] == "foreign_cluster"
    assert gap.json["lost"] is None


def test_a_gap_that_is_to_fail_ends_with_the_final_id_and_a_cursor_to_go_on(
    stage: Stage,
) -> None:
    stage.write(5)

    with reading(stage, "?on_gap=fail", last_event_id=of_cursor(stage, 99)) as opened:
        gap, closing = opened.rest()

    assert gap.event == "gap"
    assert (closing.event, closing.id) == ("closing", codec.FINAL_TOKEN)
    assert closing.json["action"] == "stop"
    stage.write(1)
    with reading(stage, last_event_id=closing.json["cursor"]) as again:
        assert numbers(again.records(1)) == [5]


def test_a_browser_that_had_a_stream_is_told_in_a_frame(stage: Stage) -> None:
    headers = {
        "last_event_id": of_cursor(stage, 0),
        "sec_fetch_mode": "cors",
        "authorization": f"Bearer {stage.alice.key}",
    }
    with Reading(stage.web, "/streams/nothing", headers) as refused:
        (closing,) = refused.rest()

    assert refused.answer.status == 200
    assert (closing.event, closing.id) == ("closing", codec.FINAL_TOKEN)
    assert closing.json["status"] == 404
    assert closing.json["action"] == "stop"
