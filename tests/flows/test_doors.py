"""One partner, one key, one grant, one cursor, one group: whatever the door."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db.models import Sum

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from subscriptions.models import Grant, UsageHour
from tests import factories
from tests.conformance.client import V2, Answer, Client, b64
from tests.fakes.endpoint import Endpoint, Received
from tests.flows.conftest import Hub
from tests.gateway import grpc_rig
from tests.gateway.grpc_rig import Server
from tests.streams.reading import Reading
from tests.streams.talk import greeted
from tests.streams.web import Web, running, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

RECORDS = 6
SCOPES = frozenset({"topic:*:read", "topic:*:write"})


@pytest.fixture(scope="module")
def servers(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Web, Server]]:
    folder = tmp_path_factory.mktemp("doors")
    with running(folder) as web, grpc_rig.serving(folder) as grpc:
        yield web, grpc


class Doors(NamedTuple):
    """Both servers, and a partner's callers at them."""

    web: Web
    rest: Client
    grpc: grpc_rig.Client
    hub: Hub

    def entitled(self, topic: str, **rules: Any) -> None:
        """Let the partner read and write a topic, and wait until both servers know."""
        Grant.objects.update_or_create(
            partner=self.hub.partner,
            topic=factories.topic(topic),
            action=Grant.Action.READ,
            defaults=rules,
        )
        Grant.objects.create(
            partner=self.hub.partner, topic=factories.topic(topic), action=Grant.Action.WRITE
        )
        wait_for(lambda: topic in self.rest.get("/topics").json, lambda: topic)
        wait_for(lambda: topic in self.listed(), self.listed)

    def listed(self) -> list[str]:
        answer = self.grpc.call("ListTopics", pb.ListTopicsRequest())
        return [one.name for one in answer.topics if one.can_read and one.can_write]

    def rest_from(self, topic: str, cursor: str) -> list[int]:
        """Return what a REST read brings behind a cursor."""
        answer = self.rest.get(f"/api/v1/topics/{topic}/records?cursor={cursor}&wait=5")
        assert answer.json["gaps"] == []
        return [one["value"]["id"] for one in answer.json["records"]]

    def grpc_from(self, topic: str, cursor: str, count: int) -> list[int]:
        """Return what a subscription brings behind a cursor."""
        first = grpc_rig.start(topic, position=pb.Position(cursor=cursor))
        one = grpc_rig.Subscriber(self.grpc, first)
        one.hear("ready")
        found = [json.loads(value)["id"] for value in one.values(count)]
        one.close()
        return found


@pytest.fixture
def doors(servers: tuple[Web, Server], hub: Hub) -> Iterator[Doors]:
    web, grpc = servers
    factories.roomy_plan()
    key = factories.caller(hub.partner, scopes=SCOPES).key
    client = grpc_rig.Client(grpc.target, key)
    yield Doors(web, Client(web.url, key), client, hub)
    client.close()


def orders(first: int, count: int) -> list[bytes]:
    return [b'{"id":%d}' % number for number in range(first, first + count)]


def test_a_webhooks_cursor_goes_on_at_rest_and_grpc(doors: Doors) -> None:
    topic = doors.hub.topic()
    doors.entitled(topic)
    with Endpoint() as receiver:
        endpoint, _ = doors.hub.endpoint(receiver.url)
        doors.hub.subscribe(topic, endpoint)
        doors.hub.engine()
        received: list[Received] = []

        def deliver() -> bool:
            """Deliver one more record; return whether the engine knows of cursors by now."""
            doors.hub.produce(topic, orders(len(received), 1))
            received[:] = receiver.wait_for(len(received) + 1)
            return "kafkahub-cursor" in received[-1].headers

        wait_for(deliver, lambda: received[-1:])
    count, cursor = len(received), received[-1].headers["kafkahub-cursor"]
    doors.hub.produce(topic, orders(count, 3))

    assert doors.rest_from(topic, cursor) == [count, count + 1, count + 2]
    assert doors.grpc_from(topic, cursor, 3) == [count, count + 1, count + 2]


def test_a_streams_id_goes_on_at_rest_and_grpc(doors: Doors) -> None:
    topic = doors.hub.topic()
    doors.entitled(topic)
    doors.hub.produce(topic, orders(0, RECORDS))
    headers = {"Authorization": f"Bearer {doors.rest.key}", "Accept": "text/event-stream"}
    reading = Reading(doors.web, f"/streams/{topic}?from=earliest&id=every", headers)
    cursor = ""
    while (frame := reading.frame()) is not None:
        if frame.event == "message" and frame.json["value"]["id"] == 2:
            cursor = frame.id or ""
            break
    reading.connection.close()

    assert doors.rest_from(topic, cursor) == [3, 4, 5]
    assert doors.grpc_from(topic, cursor, 3) == [3, 4, 5]
    written = doors.rest.post(
        f"/api/v1/topics/{topic}/records", b'{"id":6}', "application/json"
    ).json["records"][0]["cursor"]
    doors.hub.produce(topic, orders(7, 1))
    assert doors.rest_from(topic, written) == [7]


def test_one_group_is_read_in_turns_by_v2_grpc_and_websocket(doors: Doors) -> None:
    topic = doors.hub.topic()
    doors.entitled(topic)
    doors.hub.produce(topic, orders(0, RECORDS))
    instance = "/consumers/g/instances/i"
    settings = {"name": "i", "format": "json", "auto.offset.reset": "earliest"}

    def by_v2(most: int) -> list[int]:
        """Read and commit as an instance that comes and goes."""
        assert doors.rest.post("/consumers/g", settings).status == 200
        doors.rest.post(f"{instance}/subscription", {"topics": [topic]})
        answer = doors.rest.get(f"{instance}/records?timeout=5000&max_records={most}")
        assert doors.rest.delete(instance).status == 204
        return [one["value"]["id"] for one in answer.json]

    def by_grpc(most: int) -> list[int]:
        """Take and acknowledge so many in a session, and leave the group."""
        credit = pb.Credit(records=most)
        first = grpc_rig.start(topic, group="g", position=grpc_rig.EARLIEST, credit=credit)
        one = grpc_rig.Subscriber(doors.grpc, first)
        one.hear("ready")
        records = one.records(most)
        one.say(acks=pb.AckSet(ack=[records[-1].ack_id]))
        wait_for(lambda: committed(doors) == records[-1].offset + 1, lambda: committed(doors))
        one.close()
        wait_for(lambda: members(doors) == [], lambda: members(doors))
        return [json.loads(record.value)["id"] for record in records]

    def by_websocket(most: int) -> list[int]:
        """Take and acknowledge so many on a connection, and leave the group."""
        with greeted(doors.web.port, doors.rest.key or "") as one:
            one.subscribe("a", topic, group="g", credit=most)
            frame = one.hear_until("events")
            one.say("ack", sub="a", cursor=frame["cursor"])
            one.say("unsubscribe", id="u", sub="a")
            one.hear_until("unsubscribed")
        wait_for(lambda: members(doors) == [], lambda: members(doors))
        return [event["value"]["id"] for event in frame["events"]]

    assert by_v2(1) == [0]
    assert by_grpc(1) == [1]
    assert by_websocket(2) == [2, 3]
    assert by_grpc(1) == [4]
    assert by_v2(10) == [5]
    summary = doors.rest.get("/v3/clusters/kafkahub/consumer-groups/g/lag-summary")
    assert summary.json["total_lag"] == 0
    assert committed(doors) == RECORDS


def test_where_the_grant_says_so_records_are_taken_before_kafka_has_them(doors: Doors) -> None:
    topic = doors.hub.topic()
    doors.entitled(topic)
    at, json_type = f"/api/v1/topics/{topic}/records", "application/json"
    ask = pb.PublishRequest(topic=topic, records=[pb.Record(client_id="a", value=b'{"id":3}')])
    ask.ack = pb.ACK_MODE_ENQUEUED

    def by_rest() -> Answer:
        return doors.rest.post(f"{at}?ack=enqueued", b'{"id":0}', json_type)

    assert by_rest().code == (403, "action_not_granted")
    Grant.objects.filter(topic=topic, action=Grant.Action.WRITE).update(allow_unconfirmed=True)
    wait_for(lambda: by_rest().status == 202, by_rest)
    lines = b'{"id":1}\n{"id":2}'
    many = doors.rest.post(f"{at}?ack=enqueued", lines, "application/x-ndjson")
    some = doors.rest.post(
        f"{at}:batch?ack=enqueued",
        {"records": [{"id": "x", "value": 1}, {"id": "y", "value_base64": b64(bytes(1_100_000))}]},
        json_type,
    )
    keyed = doors.rest.post(f"{at}?ack=enqueued", b"1", json_type, Idempotency_Key="k")
    wait_for(lambda: grpc_takes(doors, ask), lambda: "the grant is not known")
    ask.idempotency_key = "k"
    failure = grpc_rig.failing(lambda: doors.grpc.call("Publish", ask))

    assert (many.status, many.json) == (202, {"accepted": 2})
    assert (some.status, some.json) == (202, {"accepted": 1})
    assert keyed.code == (400, "invalid_parameter")
    assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", ["idempotency_key"])
    read = doors.rest.get(f"{at}?wait=10")
    wait_for(lambda: len(doors.rest.get(at).json["records"]) == 5, lambda: doors.rest.get(at).json)
    assert read.status == 200


def grpc_takes(doors: Doors, ask: pb.PublishRequest) -> bool:
    """Return whether a record was taken: then its result has no outcome yet."""
    try:
        [result] = doors.grpc.call("Publish", ask).results
    except grpc_rig.Failure:
        return False
    return result.client_id == "a" and result.WhichOneof("outcome") is None


def test_a_grant_may_hide_the_offsets_of_what_is_written(doors: Doors) -> None:
    topic = doors.hub.topic()
    doors.entitled(topic)
    Grant.objects.filter(topic=topic, action=Grant.Action.WRITE).update(hide_offsets=True)

    def by_v2() -> dict[str, Any]:
        (told,) = doors.rest.values(topic, 1)
        return told

    wait_for(lambda: by_v2()["offset"] == -1, by_v2)
    native = doors.rest.post(f"/api/v1/topics/{topic}/records", b"1", "application/json")
    [shown] = native.json["records"]
    wait_for(lambda: doors.grpc.publish(topic, b"1").results[0].written.offset == -1, lambda: topic)

    assert (shown["partition"], shown["offset"], shown["cursor"]) == (-1, -1, None)


def test_each_record_is_counted_once_however_it_was_written(hub: Hub, tmp_path: Path) -> None:
    topic, key = hub.topic(), factories.caller(hub.partner, scopes=SCOPES).key
    factories.roomy_plan()
    Grant.objects.create(
        partner=hub.partner,
        topic=factories.topic(topic),
        action=Grant.Action.WRITE,
        allow_unconfirmed=True,
    )
    with running(tmp_path) as web:
        rest = Client(web.url, key)
        wait_for(lambda: topic in rest.get("/topics").json, lambda: topic)
        entries = {"entries": [{"id": "a", "value": {"type": "JSON", "data": 1}}]}
        at = f"/v3/clusters/kafkahub/topics/{topic}/records:batch"
        for _ in range(2):  # the second time tells what the first did
            rest.produce(topic, {"value": 1}, Idempotency_Key="v2")
            rest.post(at, entries, "application/json", Idempotency_Key="v3")
            native = f"/api/v1/topics/{topic}/records"
            rest.post(native, b"1", "application/json", Idempotency_Key="native")
        rest.post(f"{native}?ack=enqueued", b"1\n2", "application/x-ndjson")
        rest.produce(topic, {"value": 1, "partition": 99})
        web.stop()  # which writes what was counted

    used = UsageHour.objects.filter(partner=hub.partner, topic=topic)
    sums = used.aggregate(Sum("records_in"), Sum("records_failed"), Sum("records_lost"))
    assert sums == {"records_in__sum": 5, "records_failed__sum": 1, "records_lost__sum": 0}


def committed(doors: Doors) -> int | None:
    told = doors.grpc.call("GetPositions", pb.GetPositionsRequest(group="g"))
    lag = told.topics[0].lag_records
    return RECORDS - int(lag)


def members(doors: Doors) -> list[Any]:
    told = doors.rest.get("/v3/clusters/kafkahub/consumer-groups/g/consumers")
    return [one["consumer_id"] for one in told.json["data"]]


def test_a_grant_that_hides_records_shows_no_place_at_any_door(doors: Doors) -> None:
    topic = doors.hub.topic()
    doors.entitled(topic, key_rule={"equals": "1"})
    doors.hub.produce(topic, orders(0, RECORDS))  # their keys are 0 to 5

    read = doors.rest.get(f"/api/v1/topics/{topic}/records").json
    assert [one["value"] for one in read["records"]] == [{"id": 1}]
    assert not {"partition", "offset"} & read["records"][0].keys()
    assert read["lag_records"] is None

    first = grpc_rig.start(topic, position=grpc_rig.EARLIEST)
    one = grpc_rig.Subscriber(doors.grpc, first)
    one.hear("ready")
    [seen] = one.records(1)
    one.close()
    assert seen.id
    assert not seen.HasField("partition")
    assert not seen.HasField("offset")

    produced = doors.rest.produce(topic, {"value": 1}).json["offsets"][0]
    assert produced["offset"] == -1
    offsets = doors.rest.get(f"/topics/{topic}/partitions/0/offsets")
    assert offsets.error == (403, 40301)
    assert f"GET /api/v1/topics/{topic}/records" in offsets.json["message"]
    doors.rest.post("/consumers/h", {"name": "i"})
    named = doors.rest.post("/consumers/h/instances/i/subscription", {"topics": [topic]}, V2)
    assert named.error == (403, 40301)
    pattern = {"topic_pattern": f"{topic}.*"}
    assert doors.rest.post("/consumers/h/instances/i/subscription", pattern, V2).status == 204
    assert doors.rest.get("/consumers/h/instances/i/subscription").json == {"topics": []}
    v3 = f"/v3/clusters/kafkahub/topics/{topic}/partitions/0/offset"
    assert doors.rest.get(v3).error == (403, 40301)


@pytest.fixture(autouse=True)
def _logs(servers: tuple[Web, Server], tmp_path: Path) -> Iterator[None]:
    """Show the end of both logs when a test fails."""
    yield
    for server in servers:
        print(server.log.read_text()[-2_000:])  # noqa: T201 - shown when the test fails
