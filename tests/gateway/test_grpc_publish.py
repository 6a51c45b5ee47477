"""gRPC: records in, topics, health and reflection, and how calls are refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from kafkahub import config
from kafkahub.kafka.options import reader_options
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from subscriptions.models import Plan
from tests import factories
from tests.conftest import MakeTopic
from tests.gateway.grpc_rig import (
    HUB,
    Client,
    Failure,
    Server,
    Stage,
    caller,
    details_of,
    entitle,
    failing,
    serving,
    staged,
)
from tests.streams.web import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("grpc"), grpc_reflection="1") as process:
        yield process


@pytest.fixture
def play(server: Server, topic: MakeTopic) -> Iterator[Stage]:
    with staged(server, topic) as made:
        yield made


def records_of(topic: str, count: int) -> list[Record]:
    """Return the first records of a topic's only partition."""
    reader = Reader(reader_options(config.load()), on_out_of_range=lambda _: None)
    reader.assign([Position(topic, 0, 0)])
    found: list[Record] = []

    def is_whole() -> bool:
        found.extend(reader.read(count, 0.1))
        return len(found) >= count

    wait_for(is_whole, lambda: len(found))
    reader.close()
    return found


def test_a_record_reaches_kafka_as_it_is(play: Stage) -> None:
    record = pb.Record(
        client_id="mine",
        key=b"k\x00",
        value=b'{"n": 1.50e0}',
        headers=[pb.Header(key="trace", value=b"ab"), pb.Header(key="none")],
        timestamp=Timestamp(seconds=1_700_000_000, nanos=123_000_000),
        partition=0,
    )

    answer = play.client().call("Publish", pb.PublishRequest(topic=play.topic, records=[record]))

    result = answer.results[0]
    assert (result.client_id, result.written.partition, result.written.offset) == ("mine", 0, 0)
    assert result.written.timestamp == record.timestamp
    assert result.written.cursor
    assert records_of(play.topic, 1) == [
        Record(
            play.topic,
            0,
            0,
            1_700_000_000_123,
            b"k\x00",
            b'{"n": 1.50e0}',
            (("trace", b"ab"), ("none", None)),
        )
    ]


def test_a_tombstone_is_no_empty_value(play: Stage) -> None:
    records = [pb.Record(key=b"a"), pb.Record(key=b"a", value=b"")]

    play.client().call("Publish", pb.PublishRequest(topic=play.topic, records=records))

    assert [one.value for one in records_of(play.topic, 2)] == [None, b""]


def test_each_record_has_its_own_result(play: Stage) -> None:
    good, bad = pb.Record(client_id="a", value=b"1"), pb.Record(client_id="b", partition=9)

    answer = play.client().call("Publish", pb.PublishRequest(topic=play.topic, records=[good, bad]))

    first, second = answer.results
    assert (first.client_id, first.WhichOneof("outcome")) == ("a", "written")
    assert (second.client_id, second.error.code) == ("b", grpc.StatusCode.NOT_FOUND.value[0])
    assert details_of(second.error)["ErrorInfo"].metadata["outcome"] == "not_written"
    assert not second.may_have_been_written


def test_batches_of_a_stream_are_answered_in_their_order(play: Stage) -> None:
    batches = [
        pb.PublishStreamRequest(
            seq=number,
            batch=pb.PublishRequest(topic=play.topic, records=[pb.Record(value=b"%d" % number)]),
        )
        for number in range(300)
    ]

    answers = list(play.client().stream("PublishStream", batches))

    assert [one.seq for one in answers] == list(range(300))
    assert [one.value for one in records_of(play.topic, 300)] == [b"%d" % n for n in range(300)]


def test_a_faulty_batch_does_not_end_the_stream(play: Stage) -> None:
    record = pb.Record(value=b"1")
    batches = [
        pb.PublishStreamRequest(seq=1, batch=pb.PublishRequest(topic=play.topic)),
        pb.PublishStreamRequest(seq=2),
        pb.PublishStreamRequest(seq=3, batch=pb.PublishRequest(topic="no", records=[record])),
        pb.PublishStreamRequest(seq=4, batch=pb.PublishRequest(topic=play.topic, records=[record])),
    ]

    answers = list(play.client().stream("PublishStream", batches))

    assert [grpc_code(one.error.code) for one in answers] == [
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OK",
    ]
    assert [one.seq for one in answers] == [1, 2, 3, 4]
    assert len(answers[3].result.results) == 1


def grpc_code(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def test_one_message_can_be_sent_and_comes_back(play: Stage) -> None:
    client = play.client()
    listening = client.messages(topic=play.topic, **{"from": "earliest"}, max_messages=1)

    sent = client.call(
        "SendMessage",
        pb.SendMessageRequest(topic=play.topic, key="k", message=b"hello", headers={"a": "b"}),
    )

    heard = list(listening)
    assert (sent.partition, sent.offset) == (0, 0)
    assert [(one.key, one.message, dict(one.headers)) for one in heard] == [
        ("k", b"hello", {"a": "b"})
    ]
    assert heard[0].timestamp.seconds


def test_a_message_that_is_not_written_fails_the_call(play: Stage) -> None:
    huge = pb.SendMessageRequest(topic=play.topic, message=bytes(MIB + 1))

    failure = failing(lambda: play.client().call("SendMessage", huge))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


BAD: dict[str, tuple[Callable[[str], pb.PublishRequest], str]] = {
    "no records": (lambda t: pb.PublishRequest(topic=t), "records"),
    "too many": (lambda t: pb.PublishRequest(topic=t, records=[pb.Record()] * 1_001), "records"),
    "no topic": (lambda _: pb.PublishRequest(records=[pb.Record()]), "topic"),
    "a header of ours": (
        lambda t: pb.PublishRequest(
            topic=t, records=[pb.Record(headers=[pb.Header(key="KafkaHub-x")])]
        ),
        "records[0].headers[0]",
    ),
    "a long key": (
        lambda t: pb.PublishRequest(topic=t, records=[pb.Record(), pb.Record(key=bytes(65_537))]),
        "records[1].key",
    ),
    "a large record": (
        lambda t: pb.PublishRequest(topic=t, records=[pb.Record(value=bytes(MIB + 1))]),
        "records[0]",
    ),
    "a negative partition": (
        lambda t: pb.PublishRequest(topic=t, records=[pb.Record(partition=-1)]),
        "records[0].partition",
    ),
    "a time before all": (
        lambda t: pb.PublishRequest(topic=t, records=[pb.Record(timestamp=Timestamp(seconds=-5))]),
        "records[0].timestamp",
    ),
    "an acknowledgement that is none": (
        lambda t: pb.PublishRequest(topic=t, records=[pb.Record()], ack=77),  # type: ignore[arg-type]
        "ack",
    ),
}


def test_bad_input_is_named_and_nothing_is_written(play: Stage) -> None:
    client = play.client()

    failures = {
        case: failing(lambda make=make: client.call("Publish", make(play.topic)))  # type: ignore[misc]  # a lambda's default has no type
        for case, (make, _) in BAD.items()
    }

    assert {one.code for one in failures.values()} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert {one.reason for one in failures.values()} == {"INVALID_PARAMETER"}
    assert {case: one.fields for case, one in failures.items()} == {
        case: [place] for case, (_, place) in BAD.items()
    }
    assert client.publish(play.topic, b"1").results[0].written.offset == 0


def test_bytes_that_are_no_message_are_bad_input(play: Stage) -> None:
    client = play.client()
    invoke: Any = client.channel.unary_unary(HUB + "Publish")

    with pytest.raises(grpc.RpcError) as caught:
        invoke(b"\xff\xff\xff", metadata=client.metadata, timeout=10)

    assert Failure(caught.value).code is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_and_ungranted_topics_are_one(play: Stage, topic: MakeTopic) -> None:
    foreign = topic()
    entitle(factories.partner(), foreign, "write")
    client = play.client()

    one = failing(lambda: client.publish(foreign, b"1"))
    other = failing(lambda: client.publish("nowhere", b"1"))

    assert one.code is other.code is grpc.StatusCode.NOT_FOUND
    assert (one.text, one.details) == (other.text, other.details)
    assert one.details["ResourceInfo"].resource_type


def test_an_action_that_is_not_granted_is_denied(play: Stage, topic: MakeTopic) -> None:
    readable = topic()
    entitle(play.alice.partner, readable, "read")
    client = play.client()
    wait_for(
        lambda: (
            readable
            in [one.name for one in client.call("ListTopics", pb.ListTopicsRequest()).topics]
        ),
        lambda: "the grant is not known",
    )

    failure = failing(lambda: client.publish(readable, b"1"))

    assert failure.code is grpc.StatusCode.PERMISSION_DENIED
    assert failure.reason == "ACTION_NOT_GRANTED"


def test_a_missing_scope_is_denied(play: Stage) -> None:
    reader = factories.caller(play.alice.partner, "reader", scopes=frozenset({"topic:*:read"}))

    failure = failing(lambda: play.client(reader.key).publish(play.topic, b"1"))

    assert (failure.code.name, failure.reason) == ("PERMISSION_DENIED", "INSUFFICIENT_SCOPE")


def test_a_call_needs_a_credential(play: Stage) -> None:
    nobody = failing(lambda: play.client(None).publish(play.topic, b"1"))
    wrong = failing(lambda: play.client("khk_live_x").publish(play.topic, b"1"))

    assert nobody.code is wrong.code is grpc.StatusCode.UNAUTHENTICATED
    assert nobody.reason == "UNAUTHENTICATED"


def test_two_credentials_are_refused(play: Stage) -> None:
    client = play.client()
    client.metadata = (*client.metadata, ("authorization", "Bearer another"))

    failure = failing(lambda: client.publish(play.topic, b"1"))

    assert (failure.code.name, failure.reason) == ("INVALID_ARGUMENT", "TWO_CREDENTIALS")


def test_unconfirmed_records_need_a_right(play: Stage) -> None:
    client = play.client()
    ask = pb.PublishRequest(topic=play.topic, records=[pb.Record(value=b"1")])
    ask.ack = pb.ACK_MODE_ENQUEUED

    failure = failing(lambda: client.call("Publish", ask))
    [answer] = client.stream("PublishStream", [pb.PublishStreamRequest(seq=1, batch=ask)])

    assert (failure.code.name, failure.reason) == ("PERMISSION_DENIED", "ACTION_NOT_GRANTED")
    assert answer.error.code == grpc.StatusCode.PERMISSION_DENIED.value[0]


def test_the_rate_is_told_and_held_to(play: Stage) -> None:
    client = play.client()
    record = pb.Record(value=b"1")
    invoke = client.channel.unary_unary(
        HUB + "Publish", pb.PublishRequest.SerializeToString, pb.PublishResponse.FromString
    )

    _, call = invoke.with_call(
        pb.PublishRequest(topic=play.topic, records=[record]),
        metadata=(*client.metadata, ("x-request-id", "mine-1")),
    )

    trailing = dict(call.trailing_metadata())
    assert '"requests"' in trailing["ratelimit-policy"]
    assert trailing["x-request-id"] == "mine-1"


def test_over_the_rate_a_call_says_when_to_come_again(play: Stage) -> None:
    slow = {"key": {"requests": {"per_s": 1, "burst": 3}}}
    Plan.objects.update(rules=slow)
    poor = caller(play.alice.partner, "poor")
    client = play.client(poor.key)

    failures = [failure_of(client, play.topic) for _ in range(12)]

    refused = [one for one in failures if one is not None]
    assert refused
    assert {one.code for one in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert refused[0].details["RetryInfo"].retry_delay.seconds >= 1
    assert refused[0].details["QuotaFailure"].violations[0].subject == "requests"


def failure_of(client: Client, topic: str) -> Failure | None:
    try:
        client.publish(topic, b"1")
    except Failure as failure:
        return failure
    return None


def test_a_message_over_the_cap_is_refused(play: Stage) -> None:
    records = [pb.Record(value=bytes(MIB)) for _ in range(5)]
    request = pb.PublishRequest(topic=play.topic, records=records)
    client = play.client(None, grpc__max_send_message_length=16 * MIB)
    client.metadata = play.client().metadata

    failure = failing(lambda: client.call("Publish", request))

    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_topics_are_listed_with_what_may_be_done(play: Stage, topic: MakeTopic) -> None:
    readable = topic(2)
    entitle(play.alice.partner, readable, "read")
    client = play.client()

    def listed() -> dict[str, tuple[bool, bool, int]]:
        answer = client.call("ListTopics", pb.ListTopicsRequest())
        return {one.name: (one.can_read, one.can_write, one.partitions) for one in answer.topics}

    wait_for(lambda: readable in listed(), listed)
    assert listed() == {readable: (True, False, 2), play.topic: (True, True, 1)}


def test_a_method_that_is_not_there_is_unimplemented(play: Stage) -> None:
    client = play.client()
    invoke: Any = client.channel.unary_unary(HUB + "Nothing")

    with pytest.raises(grpc.RpcError) as caught:
        invoke(b"", metadata=client.metadata, timeout=10)

    assert Failure(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


def test_a_generic_client_needs_nothing_but_reflection(play: Stage) -> None:
    client = play.client()
    intercepted = grpc.intercept_channel(client.channel, WithMetadata(client.metadata))
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(intercepted))

    method = pool.FindServiceByName("kafkahub.v1.KafkaHub").FindMethodByName("Publish")
    request: Any = GetMessageClass(method.input_type)()
    request.topic = play.topic
    request.records.add(client_id="generic", value=b"1")
    answer_class = GetMessageClass(method.output_type)
    invoke: Any = client.channel.unary_unary(
        HUB + "Publish", lambda one: one.SerializeToString(), answer_class.FromString
    )
    answer = invoke(request, metadata=client.metadata, timeout=10)

    assert answer.results[0].client_id == "generic"
    assert answer.results[0].written.offset == 0


class WithMetadata(grpc.StreamStreamClientInterceptor):
    """Adds a credential to the calls of a client that knows of none."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), requests)


def test_reflection_is_refused_without_a_credential(play: Stage) -> None:
    database = ProtoReflectionDescriptorDatabase(play.client(None).channel)

    with pytest.raises(grpc.RpcError) as caught:
        database.get_services()

    assert Failure(caught.value).code is grpc.StatusCode.UNAUTHENTICATED


def test_health_needs_no_credential_and_knows_both_services(server: Server) -> None:
    services = ("", "kafkahub.v1.KafkaHub", "kafkahub.v1.KafkaProxy")

    assert [server.health(name) for name in services] == [1, 1, 1]


def test_the_server_speaks_tls_with_a_certificate_of_its_own(
    django_db_setup: None, tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
    trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    own = Server(tmp_path, files)
    try:
        own.launch()
        with grpc.secure_channel(f"localhost:{own.port}", trust) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            asked = health_pb2.HealthCheckRequest()
            answer = stub.Check(asked, timeout=30, wait_for_ready=True)
    finally:
        own.kill()

    assert answer.status != health_pb2.HealthCheckResponse.UNKNOWN
