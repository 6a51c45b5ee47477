"""REST Proxy v2: writing records, and what there is to write to."""

import gzip
import json
from typing import Any

import pytest

from tests.conformance.client import V2, V2_BINARY, V2_JSON, Answer, b64
from tests.conformance.conftest import Join, Stage

pytestmark = pytest.mark.kafka


def test_the_seed_example_works_word_for_word(stage: Stage) -> None:
    answer = stage.alice.post(
        f"/topics/{stage.topic}", b'{"records":[{"value":{"foo":"bar"}}]}', V2_JSON
    )

    assert answer.status == 200
    assert answer.headers["content-type"] == V2
    (entry,) = answer.json["offsets"]
    assert set(entry) == {"partition", "offset", "error_code", "error"}
    assert entry["error_code"] is entry["error"] is None
    assert answer.json["key_schema_id"] is answer.json["value_schema_id"] is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (V2_JSON, 1),
        (V2_BINARY, b64(b"\0\xff")),
        ("application/json", 1),
        (f"{V2_JSON}; charset=utf-8", 1),
    ],
)
def test_each_content_type_is_taken(stage: Stage, kind: str, value: object) -> None:
    answer = stage.alice.produce(stage.topic, {"value": value}, kind=kind)

    assert answer.status == 200, answer


@pytest.mark.parametrize(
    "kind",
    [V2, "text/plain", "application/vnd.kafka.avro.v2+json", f"{V2_JSON}; charset=latin-1"],
)
def test_another_content_type_is_refused_and_told_what_is_taken(stage: Stage, kind: str) -> None:
    answer = stage.alice.produce(stage.topic, {"value": 1}, kind=kind)

    assert answer.error == (415, 415)
    assert V2_JSON in answer.headers["accept-post"]


def test_gzip_is_inflated_and_a_bomb_is_not(stage: Stage) -> None:
    body = gzip.compress(json.dumps({"records": [{"value": 1}]}).encode())
    bomb = gzip.compress(b'{"records":[{"value":"' + b"x" * 20_000_000 + b'"}]}')

    small = stage.alice.post(f"/topics/{stage.topic}", body, V2_JSON, Content_Encoding="gzip")
    large = stage.alice.post(f"/topics/{stage.topic}", bomb, V2_JSON, Content_Encoding="gzip")
    other = stage.alice.post(f"/topics/{stage.topic}", body, V2_JSON, Content_Encoding="br")

    assert small.status == 200
    assert large.error == (413, 413)
    assert other.error == (415, 415)


VALUES = [
    b"null", b"0", b"false", b'""', b"{}", b"[]", b"12345678901234567890", b"1.10",
    b'{ "a" : 1 }', b'"\xc3\xa9"', b'{"a":1,"a":2}',
]  # fmt: skip


def test_values_come_back_byte_for_byte(stage: Stage, join: Join) -> None:
    consumer = join()
    body = (
        b'{"records":[' + b",".join(b'{"partition":0,"value": %b }' % one for one in VALUES) + b"]}"
    )

    assert stage.alice.post(f"/topics/{stage.topic}", body, V2_JSON).status == 200
    read = consumer.read("?timeout=10000")

    assert read.body.count(b'"value":') == len(VALUES)
    at = 0
    for value in VALUES:
        at = read.body.index(b'"value":%b,"partition"' % value, at) + 1


def test_keys_headers_and_times_come_back(stage: Stage, join: Join) -> None:
    consumer = join()
    record = {
        "key": "k",
        "value": 1,
        "headers": [{"key": "h", "value": b64(b"\0")}, {"key": "h", "value": None}],
        "timestamp": 1_700_000_000_000,
    }

    first, second = stage.alice.produce(stage.topic, record, record).json["offsets"]
    got = consumer.read("?timeout=10000").json

    assert first["partition"] == second["partition"] == _java_partition(b'"k"')
    assert [(one["key"], one["headers"], one["timestamp"]) for one in got] == [
        ("k", record["headers"], record["timestamp"])
    ] * 2


def _java_partition(key: bytes) -> int:
    """Return the partition of 3 that a Java producer chooses: the key keeps its quotes."""
    known = {b'"k"': 2}
    return known[key]


BAD: list[tuple[bytes, tuple[int, int]]] = [
    (b"", (400, 400)),
    (b"{", (400, 400)),
    (b"[]", (400, 400)),
    (b'{"records":5}', (400, 400)),
    (b'{"records":[5]}', (400, 400)),
    (b'{"records":[{"value":NaN}]}', (400, 400)),
    (b'{"records":[{"value":1}]} x', (400, 400)),
    (b'{"records":[{"value":1,"value":2}]}', (400, 400)),
    (b'{"records":[{"value":1}],"records":[{"value":2}]}', (400, 400)),
    (b'{"records":[{"value":"\xff"}]}', (400, 400)),
    (b'{"records":[{"value":' + b"[" * 65 + b"]" * 65 + b"}]}", (400, 400)),
    (b'{"records":[{"value":' + b"[" * 90_000 + b"]" * 90_000 + b"}]}", (400, 400)),
    (b'{"records":[{"partition":"0","value":1}]}', (400, 400)),
    (b"{}", (422, 422)),
    (b'{"records":[]}', (422, 422)),
    (b'{"records":[{"valur":1}]}', (422, 422)),
    (b'{"recordz":[{"value":1}]}', (422, 422)),
    (b'{"records":[{"value":1,"partition":-1}]}', (422, 422)),
    (b'{"records":[{"value":1,"headers":[{"key":"kafkahub-x","value":null}]}]}', (422, 422)),
    (b'{"records":[' + b",".join([b'{"value":1}'] * 10_001) + b"]}", (422, 422)),
]


def test_a_faulty_request_writes_nothing(stage: Stage) -> None:
    before = _ends(stage)

    for body, expected in BAD:
        answer = stage.alice.post(f"/topics/{stage.topic}", body, V2_JSON)
        assert answer.error == expected, (body[:80], answer)
        assert set(answer.json) == {"error_code", "message"}
    bad = stage.alice.produce(stage.topic, {"value": "?"}, kind=V2_BINARY)

    assert bad.error == (400, 400)
    assert _ends(stage) == before


def _ends(stage: Stage) -> list[int]:
    return [
        stage.alice.get(f"/topics/{stage.topic}/partitions/{one}/offsets").json["end_offset"]
        for one in range(3)
    ]


def test_a_partly_failed_request_says_which(stage: Stage) -> None:
    records: list[Any] = [{"value": 1}, {"value": "x" * 1_100_000}, {"value": 2, "partition": 9}]

    usual = stage.alice.produce(stage.topic, *records)
    strict = stage.alice.post(f"/topics/{stage.topic}?strict=true", {"records": records}, V2_JSON)
    none = stage.alice.post(
        f"/topics/{stage.topic}?strict=true", {"records": records[1:2]}, V2_JSON
    )

    assert usual.status == 200
    assert [one["error_code"] for one in usual.json["offsets"]] == [None, 50002, 40402]
    assert strict.status == 207
    assert none.error == (422, 422)
    assert none.json["offsets"][0]["offset"] is None


def test_metadata_shows_one_virtual_broker_and_granted_topics_only(stage: Stage) -> None:
    alice = stage.alice

    topic = alice.get(f"/topics/{stage.topic}").json

    assert alice.get("/brokers").json == {"brokers": [0]}
    assert alice.get("/topics").json == sorted({stage.topic, stage.read_topic})
    assert alice.get("/topics/").json == alice.get("/topics").json
    assert topic["name"] == stage.topic
    assert topic["configs"]["cleanup.policy"] == "delete"
    one = {
        "partition": 1,
        "leader": 0,
        "replicas": [{"broker": 0, "leader": True, "in_sync": True}],
    }
    assert topic["partitions"][1] == one
    assert alice.get(f"/topics/{stage.topic}/partitions").json[1] == one
    assert alice.get(f"/topics/{stage.topic}/partitions/1").json == one


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/topics/{}"),
        ("GET", "/topics/{}/partitions"),
        ("GET", "/topics/{}/partitions/0"),
        ("GET", "/topics/{}/partitions/0/offsets"),
        ("POST", "/topics/{}"),
        ("POST", "/topics/{}/partitions/0"),
    ],
)
def test_an_ungranted_topic_does_not_exist(stage: Stage, method: str, path: str) -> None:
    def ask(name: str) -> Answer:
        body = {"records": [{"value": 1}]} if method == "POST" else None
        return stage.alice.send(method, path.format(name), body, V2_JSON if body else "")

    foreign, unknown = ask(stage.foreign_topic), ask("no-such-topic")

    assert (foreign.status, foreign.body) == (unknown.status, unknown.body)
    assert foreign.status == 404
    expected = 40403 if path == "/topics/{}" and method == "GET" else 40401
    assert foreign.json["error_code"] == expected


def test_partitions_and_paths_that_are_not_there(stage: Stage) -> None:
    alice, topic = stage.alice, stage.topic

    assert alice.get(f"/topics/{topic}/partitions/3").error == (404, 40402)
    assert alice.get(f"/topics/{topic}/partitions/x").error == (404, 404)
    assert alice.get(f"/topics/{topic}/nothing").error == (404, 404)
    refused = alice.send("PUT", f"/topics/{topic}")
    assert refused.error == (405, 405)
    assert refused.headers["allow"] == "GET, POST"


def test_an_action_that_is_not_granted_is_forbidden(stage: Stage) -> None:
    answer = stage.alice.produce(stage.read_topic, {"value": 1})

    assert answer.error == (403, 40301)


def test_credentials_are_asked_for_in_the_header_only(stage: Stage) -> None:
    alice, key = stage.alice, stage.alice.key or ""
    basic = b64(f"{key[:21]}:{key[22:]}".encode())
    whole = b64(f"{key}:".encode())
    path = f"/topics/{stage.topic}"

    assert stage.nobody.get(path).error == (401, 40101)
    assert "Basic" in stage.nobody.get(path).headers["www-authenticate"]
    assert stage.nobody.get(path, Authorization=f"Basic {basic}").status == 200
    assert stage.nobody.get(path, Authorization=f"Basic {whole}").status == 200
    assert stage.nobody.get(path, Authorization="Bearer nonsense").error == (401, 40101)
    two = stage.nobody.get(path, Authorization=f"Bearer {key}, Basic {b64(b'a:b')}")
    assert two.error == (400, 400)
    hint = stage.nobody.get(f"{path}?key={key}")
    assert hint.error == (401, 40101)
    assert "URL" in hint.json["message"]
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    unknown = stage.nobody.get(path, Authorization=f"Bearer {wrong}")
    assert unknown.body == stage.nobody.get(path, Authorization="Bearer nonsense").body
    assert alice.get(path).headers["ratelimit-policy"].startswith('"requests"')


def test_every_answer_has_a_request_id_and_none_is_html(stage: Stage) -> None:
    paths = ["/topics", "/v3/nothing", "/topics/x/y/z", "/"]

    for path in paths:
        answer = stage.alice.get(path)
        assert "x-request-id" in answer.headers, path
        assert not answer.body.lstrip().startswith(b"<"), path


def test_an_idempotency_key_writes_once(stage: Stage) -> None:
    body = {"records": [{"value": 1}, {"value": 2}]}

    def send(key: str, sent: object = body, by: Any = stage.alice) -> Answer:
        answer: Answer = by.post(f"/topics/{stage.topic}", sent, V2_JSON, Idempotency_Key=key)
        return answer

    first, again, quoted = send("a"), send("a"), send('"a"')

    assert first.status == again.status == quoted.status == 200
    assert first.json == again.json == quoted.json
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert send("a", {"records": [{"value": 3}]}).error == (422, 422)
    assert send("a", by=stage.other).json != first.json
    assert send("a", by=stage.second).json == first.json
    assert send("x" * 256).error == (400, 400)
    refused = send("b", {"records": []})
    assert refused.error == (422, 422)
    assert send("b").status == 200
