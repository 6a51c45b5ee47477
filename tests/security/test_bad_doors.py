"""What nobody foresaw: random requests at the REST and gRPC doors meet no fault of ours."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from subscriptions.models import Grant
from tests import factories
from tests.conformance.client import V2, V2_JSON, Answer, Client
from tests.conftest import MakeTopic
from tests.gateway import grpc_rig
from tests.gateway.grpc_rig import Server
from tests.streams.web import Web, running, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

ASKED = 1_500
"""Requests at each door; every run asks the same ones."""
CALLED = 60
"""Calls of each method."""
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
FOREIGN_CODES = {"40002", "40404", "40901", "42203", "42901", "50101", "50301"}
"""Numbers of Confluent that are never sent."""


@pytest.fixture(scope="module")
def servers(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Web, Server]]:
    folder = tmp_path_factory.mktemp("doors")
    with running(folder) as web, grpc_rig.serving(folder) as own:
        yield web, own


class Target(NamedTuple):
    """A partner at both servers, and the topic it may use."""

    rest: Client
    grpc: grpc_rig.Client
    topic: str
    logs: list[Any]

    def failures(self) -> list[str]:
        """Return what the servers logged as faults of their own."""
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        return [line for line in lines if '"level":"error"' in line]


@pytest.fixture
def target(servers: tuple[Web, Server], topic: MakeTopic) -> Iterator[Target]:
    web, own = servers
    name, owner = topic(2), factories.partner()
    factories.roomy_plan()
    for action in Grant.Action.values:
        Grant.objects.create(partner=owner, topic=factories.topic(name), action=action)
    key = factories.caller(owner, scopes=frozenset({"topic:*:read", "topic:*:write"})).key
    client = grpc_rig.Client(own.target, key)
    made = Target(Client(web.url, key), client, name, [web.log, own.log])
    wait_for(lambda: name in made.rest.get("/topics").json, lambda: name)
    wait_for(lambda: name in str(client.call("ListTopics", pb.ListTopicsRequest())), lambda: name)
    yield made
    client.close()


TEXTS = ("", "a", "ü", "\x00", "\ud7ff", "x" * 300, "../..", "%00", "-1", "9" * 30, "null", "[]")
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**64, 1e300, 0.5)
PATHS = (
    *("/topics/{t}", "/topics/{t}/partitions/{x}", "/topics/{t}/partitions/{x}/offsets"),
    *("/consumers/{x}", "/consumers/{x}/instances/{x}", "/consumers/g/instances/i/subscription"),
    *("/consumers/g/instances/i/assignments", "/consumers/g/instances/i/records"),
    *("/consumers/g/instances/i/offsets", "/consumers/g/instances/i/positions"),
    *("/consumers/g/instances/i/positions/end", "/v3/clusters/{x}", "/v3/clusters/kafkahub/topics"),
    *("/v3/clusters/kafkahub/topics/{t}/records", "/v3/clusters/kafkahub/topics/{t}/configs/{x}"),
    *("/v3/clusters/kafkahub/topics/{t}/records:batch", "/kafka/v3/clusters/kafkahub/acls"),
    *("/v3/clusters/kafkahub/consumer-groups/{x}/lags", "/v3/clusters/kafkahub/topics/{t}"),
    *(
        "/api/v1/topics/{t}/records",
        "/api/v1/topics/{t}/records:batch",
        "/api/v1/topics/{x}/records",
    ),
)
KINDS = (
    *("application/vnd.kafka.json.v2+json", "application/vnd.kafka.binary.v2+json"),
    *("application/vnd.kafka.v2+json", "application/json", "application/x-ndjson", "text/plain"),
    *("application/cloudevents+json", "text/html", "", "application/json; charset=latin-1"),
)
NAMES = (
    *("records", "value", "key", "partition", "timestamp", "headers", "offsets", "topics"),
    *("topic_pattern", "partitions", "topic", "offset", "name", "format", "entries", "id", "type"),
    *("data", "auto.offset.reset", "fetch.min.bytes", "value_base64", "metadata", "timestamps"),
)
QUERY = (
    *("timeout", "max_bytes", "max_records", "cursor", "from", "since", "limit", "wait", "strict"),
    *("filter", "on_gap", "key", "partition", "timestamp", "ack", "partitions", "async", "nothing"),
)


INSTANCE = "/consumers/g/instances/i"
V3 = "/v3/clusters/kafkahub/topics/{t}"
SHAPES: tuple[tuple[str, Callable[["Made"], Any]], ...] = (
    (f"{INSTANCE}/offsets", lambda m: {"offsets": [m.place(offset=m.number(), metadata=m.text())]}),
    (f"{INSTANCE}/positions", lambda m: {"offsets": [m.place(offset=m.number())]}),
    (f"{INSTANCE}/positions", lambda m: {"timestamps": [m.place(timestamp=m.any())]}),
    (f"{INSTANCE}/positions/end", lambda m: {"partitions": [m.place()]}),
    (f"{INSTANCE}/assignments", lambda m: {"partitions": [m.place()]}),
    (f"{INSTANCE}/subscription", lambda m: {"topics": [m.text(), m.topic]}),
    (f"{INSTANCE}/subscription", lambda m: {"topic_pattern": m.text()}),
    ("/topics/{t}", lambda m: {"records": [m.record_v2()]}),
    (f"{V3}/records", lambda m: m.record_v3()),
    (f"{V3}/records:batch", lambda m: {"entries": [{"id": m.text()} | m.record_v3()]}),
    ("/api/v1/topics/{t}/records:batch", lambda m: {"records": [m.record_native()]}),
)
"""What is well formed, to the doors that take it, with members that are hardly so."""


class Made:
    """Members that are random, and mostly at a bound."""

    def __init__(self, chance: random.Random, topic: str) -> None:
        self.chance = chance
        self.topic: str = topic

    def number(self) -> float:
        return self.chance.choice(NUMBERS)

    def text(self) -> str:
        return self.chance.choice(TEXTS)

    def any(self) -> Any:
        return self.chance.choice([self.number(), self.text(), None, "2026-01-01T00:00:00Z"])

    def place(self, **more: Any) -> dict[str, Any]:
        topic = self.chance.choice([self.topic, self.text()])
        return {"topic": topic, "partition": self.chance.choice([0, 1, self.number()])} | more

    def some(self, **members: Any) -> dict[str, Any]:
        return {name: one for name, one in members.items() if self.chance.random() < 0.6}

    def record_v2(self) -> dict[str, Any]:
        headers = [{"key": self.text(), "value": self.any()}]
        return self.some(
            key=value(self.chance),
            value=value(self.chance),
            partition=self.number(),
            timestamp=self.number(),
            headers=headers,
        )

    def record_v3(self) -> dict[str, Any]:
        typed = {"type": self.chance.choice(["JSON", "STRING", "BINARY", "x"]), "data": self.any()}
        headers = [{"name": self.text(), "value": self.text()}]
        return self.some(
            partition_id=self.number(),
            headers=headers,
            key=typed,
            value=typed,
            timestamp=self.any(),
        )

    def record_native(self) -> dict[str, Any]:
        return self.some(
            id=self.text(),
            key=self.text(),
            key_base64=self.text(),
            value=value(self.chance),
            headers={self.text(): self.any()},
            timestamp=self.any(),
            partition=self.number(),
        )


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return JSON that is nearly what somebody would send."""
    kinds = ["text", "number", "word"] + (["object", "array"] * 3 if depth < 4 else [])
    match chance.choice(kinds):
        case "text":
            return chance.choice(TEXTS)
        case "number":
            return chance.choice(NUMBERS)
        case "word":
            return chance.choice([None, True, False])
        case "array":
            return [value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {chance.choice(NAMES): value(chance, depth + 1) for _ in range(chance.randrange(5))}


def body(chance: random.Random) -> bytes:
    text = json.dumps(value(chance)).encode()
    if chance.random() < 0.2:
        at = chance.randrange(len(text) + 1)
        return text[:at] + chance.randbytes(3) + text[at:]
    return text


def ask_well(chance: random.Random, target: Target) -> Answer:
    """Send a request whose shape is right."""
    path, make = chance.choice(SHAPES)
    given = json.dumps(make(Made(chance, target.topic))).encode()
    native = path.startswith(("/api", "/v3"))
    kind = "application/json" if native else V2 if path.startswith("/cons") else V2_JSON
    return target.rest.send("POST", path.replace("{t}", target.topic), given, kind)


def ask(chance: random.Random, target: Target) -> Answer:
    """Send a random request."""
    if chance.random() < 0.5:
        return ask_well(chance, target)
    path = chance.choice(PATHS).replace("{t}", target.topic)
    path = path.replace("{x}", chance.choice(["0", "i", "g", "-1", "%00", "%C3%BC", "x" * 250]))
    method = chance.choice(["GET", "POST", "POST", "DELETE", "PUT", "PATCH"])
    named = [
        f"{name}={chance.choice(['', '0', '1', '-1', 'x', '%FF', '9' * 25])}" for name in QUERY
    ]
    query = "&".join(chance.sample(named, chance.randrange(3)))
    headers = {"Accept": chance.choice(["*/*", "application/json", "text/html", ""])}
    if chance.random() < 0.3:
        headers["Idempotency-Key"] = chance.choice(["a", '"b"', " ", "x" * 300])
    if chance.random() < 0.1:
        headers["Content-Encoding"] = chance.choice(["gzip", "br"])
    content = None if method == "GET" else body(chance)
    return target.rest.send(method, f"{path}?{query}", content, chance.choice(KINDS), **headers)


def test_no_request_meets_a_fault_of_rest(target: Target) -> None:
    chance, seen = random.Random(6), Counter[int]()  # noqa: S311 - the same ones each run
    target.rest.post("/consumers/g", {"name": "i", "format": "json"})

    for _ in range(ASKED):
        answer = ask(chance, target)
        seen[answer.status] += 1
        assert answer.status < 500, answer
        assert "x-request-id" in answer.headers
        assert "html" not in answer.headers.get("content-type", "")
        if answer.status >= 400:
            told = answer.json
            assert {"error_code", "message"} == told.keys() or {"code", "title"} <= told.keys()
            assert str(told.get("error_code")) not in FOREIGN_CODES

    assert target.failures() == []
    assert len(seen) >= 8, f"the requests were too alike: {seen}"


def fill(chance: random.Random, message: Message, topic: str, depth: int = 0) -> None:
    """Set random members of a message."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5:
            continue
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            if depth < 3:
                inner = getattr(message, field.name)
                fill(chance, inner.add() if field.is_repeated else inner, topic, depth + 1)
                if not field.is_repeated:
                    inner.SetInParent()
        elif field.message_type is None:
            made = scalar(chance, field, topic)
            if field.is_repeated:
                getattr(message, field.name).append(made)
            else:
                setattr(message, field.name, made)


INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31))
SCALARS = {
    FieldDescriptor.CPPTYPE_BOOL: (True, False),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, -1.0, float("nan"), float("inf")),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 500, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 500, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT64: (*INTEGERS, 2**63 - 1, -(2**63), 253_402_300_800),
}


def scalar(chance: random.Random, field: Any, topic: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice([b"", b"\x00\xff", chance.randbytes(40), b"x" * 70_000])
    if field.type == FieldDescriptor.TYPE_STRING:
        return topic if "topic" in field.name else chance.choice(TEXTS)
    return chance.choice(SCALARS.get(field.cpp_type, INTEGERS))


def request(chance: random.Random, kind: type[Message], topic: str) -> bytes:
    """Return a random request; some are no message at all."""
    made = kind()
    fill(chance, made, topic)
    raw = made.SerializeToString()
    if chance.random() < 0.15:
        at = chance.randrange(len(raw) + 1)
        return raw[:at] + chance.randbytes(4)
    return raw


def methods() -> Iterator[tuple[str, type[Message], bool]]:
    """Yield path, request class, and whether the client streams."""
    for service in pb.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            kind: type[Message] = getattr(pb, method.input_type.name)
            path = f"/{service.full_name}/{method.name}"
            yield path, kind, method.client_streaming or method.server_streaming


def status_of(target: Target, path: str, raw: bytes, *, streams: bool) -> grpc.StatusCode:
    """Return how a call ends; a stream that is open is left after a moment."""
    channel, given = target.grpc.channel, {"metadata": target.grpc.metadata, "timeout": 2}
    invoke: Any = channel.stream_stream(path) if streams else channel.unary_unary(path)
    try:
        talk = invoke(iter([raw]) if streams else raw, **given)
        if streams:
            next(talk, None)
            talk.cancel()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def test_no_message_meets_a_fault_of_grpc(target: Target) -> None:
    chance, seen = random.Random(6), Counter[str]()  # noqa: S311 - the same ones each run

    for path, kind, streams in methods():
        for _ in range(CALLED):
            raw = request(chance, kind, target.topic)
            code = status_of(target, path, raw, streams=streams)
            seen[code.name] += 1
            assert code not in FAULTS, (path, raw)

    assert target.failures() == []
    assert len(seen) >= 3, f"the calls were too alike: {seen}"
