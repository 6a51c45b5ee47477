"""REST Proxy v3: resources, streamed records, batches, groups with lag."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.conformance.client import Answer, b64
from tests.conformance.conftest import Join, Stage

pytestmark = pytest.mark.kafka

JSON = "application/json"
CLUSTER = "/v3/clusters/kafkahub"
VALUE = {"value": {"type": "JSON", "data": {"a": 1}}}


def reports(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.split(b"\r\n") if line]


def test_resources_have_kinds_links_and_names(stage: Stage) -> None:
    topic = f"{CLUSTER}/topics/{stage.topic}"
    kinds = {
        "/v3/clusters": "KafkaClusterList",
        CLUSTER: "KafkaCluster",
        f"{CLUSTER}/topics": "KafkaTopicList",
        topic: "KafkaTopic",
        f"{topic}/configs": "KafkaTopicConfigList",
        f"{topic}/configs/retention.ms": "KafkaTopicConfig",
        f"{topic}/partitions": "KafkaPartitionList",
        f"{topic}/partitions/0": "KafkaPartition",
        f"{topic}/partitions/0/offset": "KafkaPartitionWithOffsets",
        f"{CLUSTER}/consumer-groups": "KafkaConsumerGroupList",
    }
    for path, kind in kinds.items():
        answer = stage.alice.get(path)
        assert (answer.status, answer.json["kind"]) == (200, kind), answer
        assert answer.json["metadata"]["self"].endswith(path)
        assert stage.alice.get(f"/kafka{path}").json == answer.json
        assert "x-ratelimit-limit" in answer.headers

    one = stage.alice.get(f"{topic}?include_authorized_operations=true").json
    assert one["authorized_operations"] == ["READ", "WRITE", "DESCRIBE"]
    assert (one["partitions_count"], one["replication_factor"]) == (3, 1)
    names = [each["topic_name"] for each in stage.alice.get(f"{CLUSTER}/topics").json["data"]]
    assert names == sorted({stage.topic, stage.read_topic})


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v3/clusters/other", (404, 404)),
        ("GET", f"{CLUSTER}/brokers", (404, 404)),
        ("GET", f"{CLUSTER}/acls", (404, 404)),
        ("GET", f"{CLUSTER}/topics/no-such", (404, 40401)),
        ("GET", f"{CLUSTER}/consumer-groups/no-such", (404, 40405)),
        ("GET", f"{CLUSTER}/topics/TOPIC/partitions/3", (404, 40402)),
        ("GET", f"{CLUSTER}/topics/TOPIC/partitions/0/offset?offset_type=x", (400, 400)),
        ("POST", f"{CLUSTER}/topics", (403, 40301)),
        ("DELETE", f"{CLUSTER}/topics/TOPIC", (403, 40301)),
        ("PUT", f"{CLUSTER}/topics/TOPIC/configs/retention.ms", (403, 40301)),
        ("PUT", f"{CLUSTER}/topics", (405, 405)),
    ],
)
def test_what_is_not_served(
    stage: Stage, method: str, path: str, expected: tuple[int, int]
) -> None:
    answer = stage.alice.send(method, path.replace("TOPIC", stage.topic))

    assert answer.error == expected


def test_one_record_has_its_report(stage: Stage) -> None:
    record = {
        "partition_id": 1,
        "headers": [{"name": "h", "value": b64(b"v")}],
        "key": {"type": "BINARY", "data": b64(b"\0k")},
        "value": {"type": "STRING", "data": "text"},
        "timestamp": "2026-01-01T00:00:00Z",
    }

    (report,) = reports(stage.alice.post(f"{CLUSTER}/topics/{stage.topic}/records", record, JSON))

    assert report["error_code"] == 200
    assert (report["partition_id"], report["cluster_id"]) == (1, "kafkahub")
    assert report["timestamp"] == "2026-01-01T00:00:00.000Z"
    assert report["key"] == {"type": "BINARY", "size": 2}
    assert report["value"] == {"type": "STRING", "size": 4}


def stream(stage: Stage, *chunks: bytes) -> bytes:
    """Send a chunked body and return the whole answer as it stood on the wire."""
    parts = urlsplit(stage.alice.url)
    head = (
        f"POST {CLUSTER}/topics/{stage.topic}/records HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {stage.alice.key}\r\nContent-Type: {JSON}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as wire:
        wire.sendall(head.encode())
        for chunk in (*chunks, b""):
            wire.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        got = b""
        while more := wire.recv(65_536):
            got += more
    return got


def test_a_thousand_records_are_reported_in_their_order(stage: Stage) -> None:
    text = b"".join(
        json.dumps({"partition_id": 0, "value": {"type": "JSON", "data": one}}).encode()
        for one in range(1_000)
    )

    got = stream(stage, *(text[at : at + 777] for at in range(0, len(text), 777)))

    offsets = [int(part.split(b",")[0]) for part in got.split(b'"offset":')[1:]]
    assert len(offsets) == 1_000
    assert offsets == sorted(offsets)


def test_a_bad_record_does_not_end_the_stream_but_bytes_that_are_no_json_do(stage: Stage) -> None:
    good = json.dumps(VALUE).encode()

    got = stream(stage, good, b'{"value":{"type":"AVRO","data":1}}', good, b"oops", good)

    assert got.count(b'"error_code":200') == 2
    assert got.count(b'"error_code":42206') == 1
    assert got.count(b'"error_code":400') == 1


def test_a_body_without_a_record_is_refused(stage: Stage) -> None:
    path = f"{CLUSTER}/topics/{stage.topic}/records"

    assert stage.alice.post(path, b" ", JSON).error == (422, 42206)
    assert b"42206" in stream(stage)
    assert stage.alice.post(path, b"oops", JSON).error == (400, 400)
    refused = stage.alice.post(path, VALUE, JSON, Idempotency_Key="a")
    assert refused.error == (422, 422)
    strict = stage.alice.post(f"{path}?strict=true", {"partition_id": 9, **VALUE}, JSON)
    assert (strict.status, reports(strict)[0]["error_code"]) == (404, 40402)


def test_a_batch_reports_by_id(stage: Stage) -> None:
    path = f"{CLUSTER}/topics/{stage.topic}/records:batch"
    bad = {"value": {"type": "BINARY", "data": "?"}}
    key = uuid4().hex

    sent = {"entries": [{"id": "a", **VALUE}, {"id": "b", **bad}]}
    answers = [stage.alice.post(path, sent, JSON, Idempotency_Key=key) for _ in range(2)]

    for answer in answers:
        assert answer.status == 207
        assert [one["id"] for one in answer.json["successes"]] == ["a"]
        assert [(one["id"], one["error_code"]) for one in answer.json["failures"]] == [("b", 42206)]
    assert answers[0].json == answers[1].json
    assert answers[1].headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"id": str(one), **VALUE} for one in range(11)],
        [{"id": "a", **VALUE}] * 2,
        [{"id": "x" * 81, **VALUE}],
        [{"id": 5, **VALUE}],
        [VALUE],
    ],
)
def test_a_batch_has_bounds(stage: Stage, entries: list[object]) -> None:
    path = f"{CLUSTER}/topics/{stage.topic}/records:batch"

    assert stage.alice.post(path, {"entries": entries}, JSON).error == (422, 42208)


def test_groups_and_lags_equal_what_v2_committed(stage: Stage, join: Join) -> None:
    name = f"g-{uuid4().hex}"
    consumer = join(group=name, name="one")
    stage.alice.produce(stage.topic, *({"value": one, "partition": 0} for one in range(5)))
    read = consumer.read("?timeout=10000&max_records=2").json
    consumer.post("/offsets")
    group = f"{CLUSTER}/consumer-groups/{name}"

    lags = stage.alice.get(f"{group}/lags").json["data"]
    one = stage.alice.get(f"{group}/lags/{stage.topic}/partitions/0").json
    summary = stage.alice.get(f"{group}/lag-summary").json
    (member,) = stage.alice.get(f"{group}/consumers").json["data"]

    assert len(read) == 2
    assert one["current_offset"] == read[-1]["offset"] + 1
    assert one["lag"] == one["log_end_offset"] - one["current_offset"] == 3
    assert sum(each["lag"] for each in lags) == summary["total_lag"] == summary["max_lag"] == 3
    assert (member["instance_id"], stage.alice.get(group).json["state"]) == ("one", "STABLE")
    assert stage.alice.get(f"{group}/consumers/{member['consumer_id']}").json == member
    assert stage.other.get(group).error == (404, 40405)
