"""Our own form: one curl writes, one curl reads, and a cursor holds everywhere."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.client import Answer, Client, b64
from tests.conformance.conftest import Stage

pytestmark = pytest.mark.kafka

JSON = "application/json"


def path(stage: Stage, query: str = "") -> str:
    return f"/api/v1/topics/{stage.topic}/records{query}"


def write(stage: Stage, *values: object) -> list[dict[str, Any]]:
    body = {"records": [{"value": value} for value in values]}
    answer = stage.alice.post(f"{path(stage)}:batch", body, JSON)
    assert answer.status == 200, answer
    records: list[dict[str, Any]] = answer.json["records"]
    return records


def here(stage: Stage) -> str:
    """Return a cursor at the end of the topic."""
    cursor: str = stage.alice.get(path(stage, "?from=latest")).json["next"]
    return cursor


def test_both_curls_work_as_printed(stage: Stage) -> None:
    start = here(stage)

    wrote = stage.alice.post(path(stage), b'{"foo":"bar"}', JSON)
    read = stage.alice.get(path(stage, f"?cursor={start}&wait=10"))

    assert wrote.status == 200
    (told,) = wrote.json["records"]
    assert (wrote.json["written"], wrote.json["failed"]) == (1, 0)
    (record,) = read.json["records"]
    assert record["value"] == {"foo": "bar"}
    assert (record["partition"], record["offset"]) == (told["partition"], told["offset"])
    assert record["id"].startswith("evt_")
    assert read.headers["cache-control"] == "no-store"
    assert read.headers["kafkahub-next-cursor"] == read.json["next"]
    assert 'rel="next"' in read.headers["link"]
    assert read.headers["kafkahub-lag"].startswith("records=0")


@pytest.mark.parametrize(
    ("kind", "body", "values"),
    [
        (JSON, b' {"a": 12345678901234567890 } ', [b'{"a": 12345678901234567890 }']),
        ("application/x-ndjson", b'1\n\n{"a":2}\r\n"x"\n', [b"1", b'{"a":2}', b'"x"']),
        ("application/octet-stream", b"[1]", [b"[1]"]),
        ("text/plain; charset=utf-8", b"[2]", [b"[2]"]),
    ],
)
def test_the_body_is_the_value(stage: Stage, kind: str, body: bytes, values: list[bytes]) -> None:
    start = here(stage)

    answer = stage.alice.post(path(stage), body, kind)
    read = stage.alice.get(path(stage, f"?cursor={start}&wait=10"))

    assert answer.json["written"] == len(values)
    for value in values:
        assert b'"value":%b}' % value in read.body


def test_key_headers_and_time_stand_beside_the_value(stage: Stage) -> None:
    start = here(stage)
    at = "2026-01-01T00:00:00.000Z"

    answer = stage.alice.post(
        path(stage, f"?key=k%C3%A9y&partition=1&timestamp={at}"),
        b"1",
        JSON,
        KafkaHub_Header_Trace="ab",
    )
    (record,) = stage.alice.get(path(stage, f"?cursor={start}&wait=10")).json["records"]

    assert answer.json["records"][0]["partition"] == 1
    assert record["key"] == "kéy"
    assert record["headers"] == {"trace": "ab"}
    assert record["timestamp"] == at


def test_a_batch_has_ids_keys_and_bytes(stage: Stage) -> None:
    start = here(stage)
    records = [
        {"id": "a", "key": "k", "value": {"x": 1}, "partition": 0, "headers": {"h": ["1", None]}},
        {"id": "b", "key_base64": b64(b"\xff"), "value_base64": b64(b"\xfe"), "partition": 0},
        {"partition": 0},
    ]

    wrote = stage.alice.post(f"{path(stage)}:batch", {"records": records}, JSON).json
    first, second, third = stage.alice.get(path(stage, f"?cursor={start}&wait=10")).json["records"]

    assert [one.get("id") for one in wrote["records"]] == ["a", "b", None]
    assert (first["key"], first["value"], first["headers"]) == ("k", {"x": 1}, {"h": ["1", None]})
    assert (second["key_base64"], second["value_base64"]) == (b64(b"\xff"), b64(b"\xfe"))
    assert second["error"] == "undecodable"
    assert third["value"] is None


def test_cloud_events_come_in_in_each_mode_and_go_out_as_a_batch(stage: Stage) -> None:
    start = here(stage)
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}

    structured = stage.alice.post(path(stage), event, "application/cloudevents+json")
    batch = stage.alice.post(path(stage), [event, event], "application/cloudevents-batch+json")
    headers = {"ce_specversion": "1.0", "ce_id": "9", "ce_source": "/s", "ce_type": "t%20t"}
    binary = stage.alice.post(path(stage, "?partition=0"), b'{"b":2}', JSON, **headers)
    bad = stage.alice.post(path(stage), {"id": "1"}, "application/cloudevents+json")
    read = stage.alice.get(
        path(stage, f"?cursor={start}&wait=10"), Accept="application/cloudevents-batch+json"
    )

    assert [structured.status, batch.status, binary.status, bad.status] == [200, 200, 200, 400]
    events = {one["id"]: one for one in read.json}
    assert events["1"]["data"] == {"a": 1}
    assert (events["9"]["type"], events["9"]["data"]) == ("t t", {"b": 2})


def test_pages_give_every_record_once_and_repeat(stage: Stage) -> None:
    start = cursor = here(stage)
    wrote = write(stage, *range(30))

    pages = []
    for _ in range(3):
        page = stage.alice.get(path(stage, f"?cursor={cursor}&limit=10&wait=10"))
        again = stage.second.get(path(stage, f"?cursor={cursor}&limit=10"))
        assert page.json["records"] == again.json["records"]
        pages += page.json["records"]
        cursor = page.json["next"]
    middle = pages[14]["cursor"]
    rest = stage.alice.get(path(stage, f"?cursor={middle}&limit=100")).json["records"]

    places = [(one["partition"], one["offset"]) for one in pages]
    assert sorted(places) == sorted((one["partition"], one["offset"]) for one in wrote)
    assert sorted(_ids(rest)) == sorted(_ids(pages[15:]))
    assert len(set(_ids(pages))) == 30
    assert start != cursor


def _ids(records: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in records]


def test_a_produce_answers_cursor_reads_on_behind_it(stage: Stage) -> None:
    def one(value: bytes) -> dict[str, Any]:
        record: dict[str, Any] = stage.alice.post(path(stage, "?partition=1"), value, JSON).json[
            "records"
        ][0]
        return record

    before, after = one(b"1"), one(b"2")

    read = stage.alice.get(path(stage, f"?cursor={before['cursor']}&wait=10&limit=1000"))

    own = [each["offset"] for each in read.json["records"] if each["partition"] == 1]
    assert own == [after["offset"]]


def test_lines_end_with_a_position(stage: Stage) -> None:
    start = here(stage)
    write(stage, 1)

    read = stage.alice.get(path(stage, f"?cursor={start}&wait=10"), Accept="application/x-ndjson")
    lines = [json.loads(line) for line in read.body.splitlines()]

    assert [line["type"] for line in lines] == ["message", "position"]
    assert lines[0]["value"] == 1


def test_a_filter_hides_and_the_cursor_moves_on(stage: Stage) -> None:
    start = here(stage)
    name = uuid4().hex
    write(stage, {"n": 1}, {"n": 2, "name": name})

    query = '?cursor={}&wait=10&filter={{"value":{{"name":"{}"}}}}'.replace('"', "%22")
    read = stage.alice.get(path(stage, query.format(start, name).replace('"', "%22")))

    assert [one["value"]["n"] for one in read.json["records"]] == [2]
    assert stage.alice.get(path(stage, f"?cursor={read.json['next']}")).json["records"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?cursor=Ab&from=latest", "invalid_parameter"),
        ("?from=now", "invalid_parameter"),
        ("?since=tomorrow", "invalid_parameter"),
        ("?limit=0", "invalid_parameter"),
        ("?limit=1001", "invalid_parameter"),
        ("?limit=x", "invalid_parameter"),
        ("?max_bytes=1023", "invalid_parameter"),
        ("?wait=31", "invalid_parameter"),
        ("?wait=-1", "invalid_parameter"),
        ("?on_gap=stop", "invalid_parameter"),
        ("?limit=1&limit=2", "invalid_parameter"),
        ("?filter=%7B", "invalid_filter"),
        ("?nothing=1", "unknown_parameter"),
        ("?cursor=nonsense", "invalid_cursor"),
        ("?cursor=%5B%5D", "invalid_cursor"),
    ],
)
def test_each_bound_of_a_read_holds(stage: Stage, query: str, code: str) -> None:
    assert stage.alice.get(path(stage, query)).code == (400, code)


def test_a_cursor_of_other_topics_only_is_refused_and_a_final_one_ends(stage: Stage) -> None:
    other = stage.alice.get(f"/api/v1/topics/{stage.read_topic}/records?from=latest").json["next"]

    assert stage.alice.get(path(stage, f"?cursor={other}")).code == (400, "invalid_cursor")
    assert stage.alice.get(path(stage, "?cursor=Aw")).status == 204


def test_a_partners_cursor_is_no_right(stage: Stage) -> None:
    cursor = here(stage)
    foreign = f"/api/v1/topics/{stage.foreign_topic}/records?cursor={cursor}"

    assert stage.other.get(foreign).code == (404, "topic_not_found")


def test_an_expired_cursor_names_the_gap_or_fails(stage: Stage) -> None:
    (told,) = write(stage, 1)
    beyond = [
        {"topic": stage.topic, "partition": told["partition"], "offset": told["offset"] + 10**9}
    ]
    text = json.dumps(beyond, separators=(",", ":")).replace('"', "%22")

    assert stage.alice.get(path(stage, f"?cursor={text}")).status == 200


def faulty(stage: Stage) -> list[tuple[Answer, tuple[int, str]]]:
    alice, at = stage.alice, path(stage)
    batch = f"{at}:batch"
    return [
        (alice.post(at, b"{", JSON), (400, "invalid_json")),
        (alice.post(at, b"", JSON), (400, "invalid_json")),
        (alice.post(at, b"NaN", JSON), (400, "invalid_json")),
        (alice.post(at, b"\xff", JSON), (400, "invalid_json")),
        (alice.post(at, b"[" * 65 + b"]" * 65, JSON), (400, "too_deep")),
        (alice.post(at, b"a=b", "application/x-www-form-urlencoded"), UNTAKEN),
        (alice.post(f"{at}?partition=x", b"1", JSON), (400, "invalid_parameter")),
        (alice.post(f"{at}?nothing=x", b"1", JSON), (400, "unknown_parameter")),
        (alice.post(at, b"1", JSON, KafkaHub_Header_kafkahub_x="1"), (400, "invalid_parameter")),
        (alice.post(f"{at}?ack=enqueued", b"1", JSON), (403, "action_not_granted")),
        (alice.post(f"{at}?ack=some", b"1", JSON), (400, "invalid_parameter")),
        (alice.post(batch, {"records": []}, JSON), (400, "invalid_parameter")),
        (alice.post(batch, {"recordz": [1]}, JSON), (400, "unknown_field")),
        (alice.post(batch, b'{"records":[{"value":1,"value":2}]}', JSON), (400, "duplicate_key")),
        (alice.post(batch, {"records": [{"key": "a", "key_base64": "YQ=="}]}, JSON), PARAMETER),
        (alice.post(at, b'"' + b"x" * 1_100_000 + b'"', JSON), (413, "record_too_large")),
        (alice.post(f"{at}?partition=9", b"1", JSON), (404, "partition_not_found")),
        (alice.post(at, b"x" * 11_000_000, "text/plain"), (413, "body_too_large")),
        (alice.send("DELETE", at), (405, "method_not_allowed")),
        (alice.get(at, Accept="text/html"), (406, "not_acceptable")),
        (Client(alice.url, None).get(at), (401, "unauthenticated")),
    ]


UNTAKEN = 415, "unsupported_media_type"
PARAMETER = 400, "invalid_parameter"


def test_faults_have_their_code_and_no_dialog(stage: Stage) -> None:
    for answer, expected in faulty(stage):
        assert answer.code == expected, answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Basic" not in answer.headers.get("www-authenticate", "")


def test_some_failed_is_207(stage: Stage) -> None:
    records = [{"value": 1}, {"value": 2, "partition": 9}]

    answer = stage.alice.post(f"{path(stage)}:batch", {"records": records}, JSON)

    assert (answer.status, answer.json["written"], answer.json["failed"]) == (207, 1, 1)
    error = answer.json["records"][1]["error"]
    assert (error["code"], error["retriable"], error["outcome"]) == (
        "partition_not_found",
        False,
        "not_written",
    )


def test_a_key_writes_once(stage: Stage) -> None:
    start = here(stage)

    answers = [
        stage.alice.post(path(stage), b"7", JSON, Idempotency_Key="native") for _ in range(2)
    ]
    other = stage.alice.post(path(stage), b"8", JSON, Idempotency_Key="native")
    read = stage.alice.get(path(stage, f"?cursor={start}&wait=10"))

    assert answers[0].json["records"][0]["offset"] == answers[1].json["records"][0]["offset"]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert other.code == (422, "idempotency_key_reused")
    assert [one["value"] for one in read.json["records"]] == [7]
    assert read.json["records"][0]["headers"] == {}
