"""REST Proxy v2: consumers whose state no node keeps for itself."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.client import V2_BINARY, V2_JSON, Answer
from tests.conformance.conftest import Consumer, Join, Stage, wait_for

pytestmark = pytest.mark.kafka

WAIT = "?timeout=10000"


def values(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer
    return [one["value"] for one in answer.json]


def places(answer: Answer) -> list[tuple[int, int]]:
    return [(one["partition"], one["offset"]) for one in answer.json]


def read_all(consumer: Consumer, count: int) -> list[Any]:
    """Return ``count`` values, or more if they come together."""
    found: list[Any] = []

    def is_enough(answer: Answer) -> bool:
        found.extend(values(answer))
        return len(found) >= count

    wait_for(lambda: consumer.read("?timeout=1000"), is_enough)
    return found


OUT = 422, 40001
CONFIG = 422, 42204


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "a b"}, CONFIG),
        ({"name": "x" * 201}, CONFIG),
        ({"format": "avro"}, CONFIG),
        ({"auto.offset.reset": "smallest"}, CONFIG),
        ({"auto.commit.enable": "maybe"}, CONFIG),
        ({"isolation.level": "read_uncommitted"}, CONFIG),
        ({"fetch.min.bytes": -2}, OUT),
        ({"fetch.min.bytes": "10000001"}, OUT),
        ({"max.poll.records": 0}, OUT),
        ({"max.poll.records": 1_001}, OUT),
        ({"consumer.request.timeout.ms": 0}, OUT),
        ({"consumer.instance.timeout.ms": 29_999}, OUT),
        ({"name": 5}, (400, 400)),
        ([], (400, 400)),
    ],
)
def test_settings_have_bounds(stage: Stage, settings: object, expected: tuple[int, int]) -> None:
    assert stage.alice.post("/consumers/bounds", settings).error == expected


def test_an_instance_is_made_with_text_or_without_body(stage: Stage) -> None:
    group = f"g-{uuid4().hex}"
    texts = {"name": "n", "format": "JSON", "auto.commit.enable": "False", "fetch.min.bytes": "5"}

    made = stage.alice.post(f"/consumers/{group}", texts)
    again = stage.second.post(f"/consumers/{group}", texts)
    bare = stage.alice.send("POST", f"/consumers/{group}")
    odd = stage.alice.post(f"/consumers/{group}", {"schema.registry": 1})
    other = stage.other.post(f"/consumers/{group}", texts)

    assert made.json["instance_id"] == "n"
    assert made.json["base_uri"].endswith(f"/consumers/{group}/instances/n")
    assert again.error == (409, 40902)
    assert bare.json["instance_id"].startswith("rest-consumer-")
    assert odd.headers["kafkahub-ignored"] == "schema.registry"
    assert other.status == 200


def test_nothing_after_the_subscription_is_missed(stage: Stage, join: Join) -> None:
    consumer = join()

    stage.alice.values(stage.topic, "between")

    assert values(consumer.read(WAIT)) == ["between"]


def test_any_node_serves_an_instance(stage: Stage, join: Join) -> None:
    here = join()
    there = here.at(stage.second)
    read = []

    for number in range(6):
        stage.alice.values(stage.topic, number)
        read += values((here, there)[number % 2].read(WAIT))
    committed = there.post("/offsets")
    gone = there.caller.delete(there.path)

    assert read == list(range(6))
    assert committed.status == 200
    assert gone.status == 204
    assert here.read().error == (404, 40403)


def test_what_did_not_arrive_is_handed_out_again(stage: Stage, join: Join) -> None:
    consumer = join()
    stage.alice.values(stage.topic, 1, 2, 3)

    first = consumer.read(WAIT, KafkaHub_Read_Id="0")
    lost = consumer.at(stage.second).read(WAIT, KafkaHub_Read_Id="0")
    right = consumer.read(KafkaHub_Read_Id=lost.headers["kafkahub-read-id"])

    assert sorted(values(first)) == sorted(values(lost)) == [1, 2, 3]
    assert "kafkahub-redelivered" not in first.headers
    assert lost.headers["kafkahub-redelivered"] == "true"
    assert values(right) == []


def test_two_reads_at_once_share_the_records(stage: Stage, join: Join) -> None:
    consumer = join()
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(each.read, WAIT) for each in (consumer, consumer.at(stage.second))]
        wait_for(lambda: stage.alice.get("/topics"), lambda _: True)
        stage.alice.values(stage.topic, 1, 2, 3)
        found = [value for read in reads for value in values(read.result())]
    found += read_all(consumer, 3 - len(found)) if len(found) < 3 else []

    assert sorted(found) == [1, 2, 3]


def test_a_read_waits_no_longer_than_it_must(stage: Stage, join: Join) -> None:
    consumer = join(fetch__min__bytes=1_000, consumer__request__timeout__ms=500)
    stage.alice.values(stage.topic, "small")

    assert values(consumer.read()) == ["small"]
    assert values(consumer.read("?timeout=0")) == []


def test_bounds_of_a_read_hold_and_pages_lose_nothing(stage: Stage, join: Join) -> None:
    consumer = join()
    stage.alice.values(stage.topic, *range(25))

    pages = [consumer.read(f"{WAIT}&max_records=10") for _ in range(3)]
    seen = [place for page in pages for place in places(page)]

    assert [len(page.json) for page in pages] == [10, 10, 5]
    assert len(set(seen)) == 25
    for number in range(3):
        own = [offset for partition, offset in seen if partition == number]
        assert own == sorted(own)


def test_a_record_that_cannot_be_given_is_an_entry(stage: Stage, join: Join) -> None:
    consumer = join()
    stage.alice.produce(stage.topic, {"value": "/w==", "partition": 0}, kind=V2_BINARY)
    for value in ("x" * 200, 1):
        stage.alice.produce(stage.topic, {"value": value, "partition": 0})
    wait_for(lambda: stage.alice.get(f"/topics/{stage.topic}/partitions/0/offsets"), lambda _: True)

    bad, large, good = consumer.read(f"{WAIT}&max_bytes=100").json

    assert bad["error_code"] == 42207
    assert bad["value_base64"] == "/w=="
    assert (large["error_code"], large["value_base64"]) == (41301, None)
    assert bad["key"] is large["value"] is None
    assert good["value"] == 1


def test_another_embedded_format_is_refused(stage: Stage, join: Join) -> None:
    consumer = join()

    assert consumer.read(Accept=V2_BINARY).error == (406, 40601)
    assert consumer.read(Accept="text/html").error == (406, 406)
    assert consumer.read(Accept=V2_JSON).status == 200


def test_states_that_exclude_each_other(stage: Stage, join: Join) -> None:
    bare = join(topics=[])
    part = {"partitions": [{"topic": stage.topic, "partition": 0}]}
    subscribed, assigned = join(), join(topics=[])
    assert assigned.post("/assignments", part).status == 204

    assert bare.read().error == (409, 40903)
    assert bare.post("/subscription", {"topics": ["a"], "topic_pattern": "b"}).error == (409, 40903)
    assert subscribed.post("/assignments", part).error == (409, 40903)
    assert assigned.post("/subscription", {"topics": ["a"]}).error == (409, 40903)
    assert bare.post("/positions/end", part).error == (409, 40903)
    assert assigned.get("/assignments").json == part
    assert subscribed.get("/subscription").json == {"topics": [stage.topic]}
    assert subscribed.caller.delete(f"{subscribed.path}/subscription").status == 204
    assert subscribed.get("/subscription").json == {"topics": []}
    assert subscribed.post("/assignments", part).status == 204


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "a{2}", "^a", "a**", "[", "[]", "[[]", "\\", "x" * 201]
)
def test_a_pattern_that_is_not_taken(stage: Stage, join: Join, pattern: str) -> None:
    answer = join(topics=[]).post("/subscription", {"topic_pattern": pattern})

    assert answer.error == (422, 42204)


def test_a_pattern_reads_what_it_matches(stage: Stage, join: Join) -> None:
    consumer = join(topics=[])
    pattern = stage.topic[:-1] + "[a-z0-9]|nothing.*"

    assert consumer.post("/subscription", {"topic_pattern": pattern}).status == 204
    stage.alice.values(stage.topic, 1)

    assert consumer.get("/subscription").json == {"topics": [stage.topic]}
    assert values(consumer.read(WAIT)) == [1]


def test_commits_cover_what_was_delivered(stage: Stage, join: Join) -> None:
    consumer = join(auto__commit__enable=False)
    before = consumer.post("/offsets", {})
    stage.alice.values(stage.topic, 1)
    (one,) = consumer.read(WAIT).json

    all_of_it = consumer.post("/offsets")
    place = {"topic": stage.topic, "partition": one["partition"]}
    body = consumer.caller.send(
        "GET", f"{consumer.path}/offsets", {"partitions": [place]}, "application/json"
    )
    query = consumer.get(f"/offsets?partitions={stage.topic}:{one['partition']}")

    assert (before.status, before.json) == (all_of_it.status, all_of_it.json) == (200, [])
    expected = [{**place, "offset": one["offset"] + 1, "metadata": ""}]
    assert body.json == query.json == consumer.get("/offsets").json == {"offsets": expected}
    explicit = {**place, "offset": one["offset"] + 41, "metadata": "m"}
    assert consumer.post("/offsets", {"offsets": [explicit]}).json == []
    (told,) = consumer.get("/offsets").json["offsets"]
    assert (told["offset"], told["metadata"]) == (one["offset"] + 42, "m")
    foreign = {"topic": "elsewhere", "partition": 0, "offset": 1}
    assert consumer.post("/offsets", {"offsets": [foreign]}).error == (409, 40903)


def test_auto_commit_commits_what_the_read_before_delivered(stage: Stage, join: Join) -> None:
    group = f"g-{uuid4().hex}"
    first = join(group=group, name="first")
    stage.alice.values(stage.topic, 1)
    assert values(first.read(WAIT)) == [1]
    stage.alice.values(stage.topic, 2)
    assert values(first.read(WAIT)) == [2]
    first.caller.delete(first.path)

    second = join(group=group, name="second")
    stage.alice.values(stage.topic, 3)

    assert read_all(second, 1) == [3]


def test_positions_move_by_offset_time_and_edge(stage: Stage, join: Join) -> None:
    consumer = join(topics=[])
    part = {"topic": stage.topic, "partition": 1}
    stage.alice.produce(
        stage.topic,
        *(
            {"value": number, "partition": 1, "timestamp": 1_700_000_000_000 + number}
            for number in range(3)
        ),
    )
    end = stage.alice.get(f"/topics/{stage.topic}/partitions/1/offsets").json["end_offset"]
    consumer.post("/assignments", {"partitions": [part]})

    def read_from(path: str, body: object) -> list[Any]:
        assert consumer.post(path, body).status == 204
        return values(consumer.read(f"{WAIT}&max_records=1"))

    assert read_from("/positions", {"offsets": [{**part, "offset": end - 2}]}) == [1]
    assert consumer.post("/positions/end", {"partitions": [part]}).status == 204
    assert values(consumer.read("?timeout=1")) == []
    assert read_from("/positions/beginning", {"partitions": [part]}) is not None
    future = {**part, "timestamp": "2090-01-01T00:00:00Z"}
    assert consumer.post("/positions", {"timestamps": [future]}).status == 204
    assert values(consumer.read("?timeout=1")) == []
    assert consumer.post("/positions", {"offsets": [{**part, "offset": -1}]}).error == (422, 422)


def test_instances_share_partitions_and_take_over(stage: Stage, join: Join) -> None:
    group = f"g-{uuid4().hex}"
    first, second = join(group=group, name="a"), join(group=group, name="b").at(stage.second)

    held = [_held(one) for one in (first, second)]
    assert sorted(len(one) for one in held) == [1, 2]
    assert not set(held[0]) & set(held[1])
    stage.alice.produce(stage.topic, *({"value": one, "partition": one} for one in range(3)))
    found = read_all(first, len(held[0])) + read_all(second, len(held[1]))
    second.caller.delete(second.path)

    assert sorted(found) == [0, 1, 2]
    assert len(_held(first)) == 3
    lost = {"topic": stage.topic, "partition": held[1][0], "offset": 0}
    assert first.post("/offsets", {"offsets": [lost]}).status == 200


def _held(consumer: Consumer) -> list[int]:
    return [one["partition"] for one in consumer.get("/assignments").json["partitions"]]


def test_a_partition_that_moved_on_is_not_committed_by_its_old_owner(
    stage: Stage, join: Join
) -> None:
    group = f"g-{uuid4().hex}"
    first = join(group=group, name="a")
    assert len(_held(first)) == 3
    second = join(group=group, name="b")
    lost = _held(second)[0]

    answer = first.post(
        "/offsets", {"offsets": [{"topic": stage.topic, "partition": lost, "offset": 5}]}
    )

    assert answer.error == (409, 40903)
    assert second.get("/offsets").json == {"offsets": []}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", ""),
        ("GET", "/subscription"),
        ("DELETE", "/subscription"),
        ("GET", "/assignments"),
        ("GET", "/records"),
        ("GET", "/offsets"),
        ("POST", "/offsets"),
    ],
)
def test_another_partners_instance_does_not_exist(
    stage: Stage, join: Join, method: str, path: str
) -> None:
    consumer = join()

    foreign = stage.other.send(method, f"{consumer.path}{path}")
    unknown = stage.other.send(method, f"/consumers/x/instances/y{path}")

    assert foreign.error == (404, 40403)
    assert foreign.body == unknown.body
    assert consumer.get("/subscription").json == {"topics": [stage.topic]}


def test_normal_polling_over_nodes_gives_each_record_once(stage: Stage, join: Join) -> None:
    consumer = join()
    stop = threading.Event()

    def write() -> None:
        for number in range(0, 200, 20):
            stage.alice.values(stage.topic, *range(number, number + 20))
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    found: list[Any] = []
    turn = 0
    while len(found) < 200:
        here = consumer.at(stage.second if turn % 2 else stage.alice)
        found += values(here.read("?timeout=5000"))
        turn += 1
        assert turn < 100, found
    writer.join()

    assert sorted(found) == list(range(200))
