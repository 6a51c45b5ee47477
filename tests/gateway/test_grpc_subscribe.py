"""gRPC: records out without a group: live, from a position, counted, up to an end."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.proto.generate import generate
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from subscriptions.models import ApiKey, Grant
from tests.conftest import MakeTopic
from tests.gateway.grpc_rig import (
    EARLIEST,
    Server,
    Stage,
    caller,
    details_of,
    failing,
    numbers,
    serving,
    staged,
    start,
    subscriber,
)

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]


SERVING, NOT_SERVING = 1, 2


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("grpc")
    with serving(folder, stream_heartbeat="5", stream_drain="1") as process:
        yield process


@pytest.fixture
def play(server: Server, topic: MakeTopic) -> Iterator[Stage]:
    with staged(server, topic) as made:
        yield made


def test_what_is_written_after_ready_comes(play: Stage) -> None:
    alice = subscriber(play)

    play.write(b'{"n": 1.50e0}')

    record = alice.records(1)[0]
    assert (record.topic, record.partition, record.offset) == (play.topic, 0, 0)
    assert (record.key, record.value) == (b"key", b'{"n": 1.50e0}')
    assert record.timestamp.seconds
    assert record.ack_id == b""
    assert record.attempt == 0


def test_a_cursor_goes_on_at_the_next_record(play: Stage) -> None:
    play.write(*numbers(10))
    one = subscriber(play, position=EARLIEST, credit=pb.Credit(records=4))
    first = one.values(4)
    one.close()

    other = subscriber(play, position=pb.Position(cursor=one.cursor))

    assert first + other.values(6) == numbers(10)


@pytest.mark.parametrize(
    ("position", "first"),
    [(EARLIEST, 0), (pb.Position(last=3), 7), (pb.Position(edge=pb.EDGE_UNSPECIFIED), 10)],
)
def test_a_stream_begins_where_it_is_asked_to(
    play: Stage, position: pb.Position, first: int
) -> None:
    play.write(*numbers(10))
    alice = subscriber(play, position=position)

    play.write(*numbers(1, 10))

    assert alice.values(11 - first) == numbers(11 - first, first)


def test_a_filter_sees_the_value(play: Stage) -> None:
    alice = subscriber(play, filter='{"value":{"n":{"$gte":5}}}')

    play.write(*(b'{"n":%d}' % number for number in range(8)))

    assert alice.values(3) == [b'{"n":5}', b'{"n":6}', b'{"n":7}']


def test_records_beyond_the_credits_wait(play: Stage) -> None:
    play.write(*numbers(100))
    alice = subscriber(play, position=EARLIEST, credit=pb.Credit(records=7))
    first = alice.values(7)

    alice.hear("heartbeat")  # 5 s of silence: nothing came beyond the balance
    alice.say(credit=pb.Credit(records=3))
    second = alice.values(3)

    assert first + second == numbers(10)


def test_one_record_may_exceed_the_bytes(play: Stage) -> None:
    play.write(*(bytes(600) for _ in range(6)), key=None)
    alice = subscriber(play, position=EARLIEST, credit=pb.Credit(bytes=1_000))
    first = alice.records(2)

    alice.say(credit=pb.Credit(bytes=201))
    second = alice.records(1)

    assert [one.offset for one in (*first, *second)] == [0, 1, 2]


def test_credits_never_run_over(play: Stage) -> None:
    alice = subscriber(play, position=EARLIEST, credit=pb.Credit(records=1))
    play.write(*numbers(50))

    for number in range(50):
        assert alice.hear("events").records[0].value == b"%d" % number
        alice.say(credit=pb.Credit(records=1))


def test_idle_streams_get_heartbeats_with_a_cursor(play: Stage) -> None:
    alice = subscriber(play)

    beat = alice.hear("heartbeat")

    assert beat.state == "live"
    assert (beat.cursor, beat.lag_records) == (alice.cursor, 0)
    assert beat.token_expires.seconds > 0


def test_a_stream_ends_where_it_is_asked_to(play: Stage) -> None:
    play.write(*numbers(700))
    client = play.client()
    wish = start(play.topic, position=EARLIEST, until=pb.Position(edge=pb.EDGE_LATEST))

    messages = list(client.stream("Subscribe", [wish]))

    kinds = [one.WhichOneof("kind") for one in messages]
    found = [record.value for one in messages for record in one.events.records]
    assert (kinds[0], kinds[-1]) == ("ready", "closing")
    assert found == numbers(700)
    assert max(len(one.events.records) for one in messages) <= 500
    assert (messages[-1].closing.reason, messages[-1].closing.action) == ("end", pb.ACTION_STOP)


BAD = {
    "no topics": (pb.SubscribeRequest(start=pb.Start()), "start.topics"),
    "a topic twice": (pb.SubscribeRequest(start=pb.Start(topics=["a", "a"])), "start.topics"),
    "no start": (pb.SubscribeRequest(credit=pb.Credit(records=1)), "start"),
    "a mode without a group": (
        pb.SubscribeRequest(start=pb.Start(topics=["a"], mode=pb.GROUP_MODE_ORDERED)),
        "start.group",
    ),
    "too long a tail": (start("a", position=pb.Position(last=1_001)), "start.from.last"),
    "an empty cursor": (start("a", position=pb.Position(cursor="")), "start.from.cursor"),
    "too much credit": (start("a", credit=pb.Credit(records=1_000_001)), "start.credit"),
    "a short lease": (
        start("a", group="g", ack_lease={"seconds": 9}),
        "start.ack_lease",
    ),
    "a group's name": (start("a", group="g/h"), "start.group"),
    "no end": (start("a", until=pb.Position()), "start.until"),
}


def test_a_bad_start_is_named(play: Stage) -> None:
    client = play.client()

    failures = {
        case: failing(lambda request=request: list(client.stream("Subscribe", [request])))  # type: ignore[misc]  # a lambda's default has no type
        for case, (request, _) in BAD.items()
    }

    assert {one.code for one in failures.values()} == {grpc.StatusCode.INVALID_ARGUMENT}
    missing = {case for case, one in failures.items() if BAD[case][1] not in one.fields}
    assert missing == set()


def test_bad_filters_and_cursors_have_their_reason(play: Stage) -> None:
    client = play.client()
    wishes = [
        start(play.topic, filter="{"),
        start(play.topic, filter='{"nothing":1}'),
        start(play.topic, position=pb.Position(cursor="junk")),
    ]

    failures = [
        failing(lambda wish=wish: list(client.stream("Subscribe", [wish])))  # type: ignore[misc]  # a lambda's default has no type
        for wish in wishes
    ]

    assert [one.reason for one in failures] == [
        "INVALID_FILTER",
        "INVALID_FILTER",
        "INVALID_CURSOR",
    ]
    assert {one.code for one in failures} == {grpc.StatusCode.INVALID_ARGUMENT}


def test_nothing_said_for_long_is_no_start(play: Stage) -> None:
    failure = failing(lambda: list(play.client().stream("Subscribe", [])))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "said",
    [
        {"start": pb.Start(topics=["x"])},
        {"credit": pb.Credit(records=1_000_000)},
        {},
    ],
)
def test_a_wrong_word_ends_the_stream_with_a_closing(play: Stage, said: dict[str, Any]) -> None:
    alice = subscriber(play, credit=pb.Credit(records=5))

    alice.say(**said)

    closing = alice.hear("closing")
    failure = failing(lambda: list(alice.talk))
    assert (closing.reason, closing.action) == ("protocol_error", pb.ACTION_STOP)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields


def test_an_ack_without_a_group_fails_and_the_stream_goes_on(play: Stage) -> None:
    alice = subscriber(play)

    alice.say(acks=pb.AckSet(ack=[b"mine"]))
    failed = alice.hear("ack_failures").failed
    play.write(b"1")

    assert failed[0].ack_id == b"mine"
    assert details_of(failed[0].status)["ErrorInfo"].reason == "UNKNOWN_ACK_ID"
    assert alice.values(1) == [b"1"]


def test_a_topic_that_is_not_granted_is_not_found(play: Stage) -> None:
    failure = failing(lambda: list(play.client().stream("Subscribe", [start("nowhere")])))

    assert failure.code is grpc.StatusCode.NOT_FOUND


def test_a_revoked_key_ends_its_streams(play: Stage) -> None:
    alice = subscriber(play)

    ApiKey.objects.filter(pk=play.alice.row.pk).update(revoked_at="2026-01-01T00:00:00Z")

    closing = alice.hear("closing")
    failure = failing(lambda: list(alice.talk))
    assert (closing.reason, closing.action) == ("revoked", pb.ACTION_STOP)
    assert failure.code is grpc.StatusCode.PERMISSION_DENIED


def test_a_grant_that_goes_ends_the_stream(play: Stage) -> None:
    alice = subscriber(play)

    Grant.objects.filter(partner=play.alice.partner, action="read").delete()

    assert alice.hear("closing").reason == "revoked"


def test_a_renewed_credential_outlives_the_old_one(play: Stage) -> None:
    alice = subscriber(play)
    other = caller(play.alice.partner, "newer")
    alice.say(renew_token=other.key)
    alice.say(acks=pb.AckSet(ack=[b"x"]))
    alice.hear("ack_failures")  # so that the other one is heard as well

    ApiKey.objects.filter(pk=play.alice.row.pk).update(revoked_at="2026-01-01T00:00:00Z")
    alice.hear("heartbeat")
    play.write(b"1")

    assert alice.values(1) == [b"1"]


def test_another_partners_credential_renews_nothing(play: Stage, topic: MakeTopic) -> None:
    alice = subscriber(play)

    with staged(play.server, topic) as foreign:
        alice.say(renew_token=foreign.alice.key)
        closing = alice.hear("closing")

    assert closing.reason == "protocol_error"
    assert failing(lambda: list(alice.talk)).code is grpc.StatusCode.UNAUTHENTICATED


def test_a_drain_and_a_kill_lose_nothing_for_who_keeps_the_cursor(
    django_db_setup: None, topic: MakeTopic, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        serving(tmp_path_factory.mktemp("drained"), stream_drain="1") as own,
        staged(own, topic) as play,
    ):
        play.write(*numbers(3))
        alice = subscriber(play, position=EARLIEST)
        first = alice.values(3)

        healths = play.client().healths()
        assert next(healths).status == SERVING
        own.signal(signal.SIGTERM)
        assert next(healths).status == NOT_SERVING
        healths.cancel()
        closing = alice.hear("closing")
        failure = failing(lambda: list(alice.talk))
        assert own.process is not None
        assert own.process.wait(30) == 0
        own.start()
        play.write(*numbers(2, 3))
        other = subscriber(
            play, position=pb.Position(cursor=closing.cursor), credit=pb.Credit(records=1)
        )
        second = other.values(1)
        own.kill()
        failing(lambda: list(other.talk))
        own.start()
        third = subscriber(play, position=pb.Position(cursor=other.cursor))

        assert (closing.reason, closing.action) == ("drain", pb.ACTION_RECONNECT)
        assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "DRAIN")
        assert failure.details["RetryInfo"].retry_delay.ByteSize()
        assert first + second + third.values(1) == numbers(5)


CLIENT = """
import sys, grpc
from kafkahub.v1 import kafkahub_pb2 as pb, kafkahub_pb2_grpc as stubs
target, key, topic = sys.argv[1:]
metadata = (("authorization", "Bearer " + key),)
with grpc.insecure_channel(target) as channel:
    hub = stubs.KafkaHubStub(channel)
    batch = pb.PublishRequest(topic=topic, records=[pb.Record(value=b"made")])
    hub.Publish(batch, metadata=metadata)
    begin = pb.Start(topics=[topic], **{"from": pb.Position(edge=pb.EDGE_EARLIEST)},
                     until=pb.Position(edge=pb.EDGE_LATEST))
    answers = hub.Subscribe(iter([pb.SubscribeRequest(start=begin)]), metadata=metadata)
    print([record.value for answer in answers for record in answer.events.records])
"""


def test_a_client_made_of_the_contract_alone_works(play: Stage, tmp_path: Path) -> None:
    assert generate(tmp_path, is_client=True) == 0

    done = subprocess.run(
        [sys.executable, "-c", CLIENT, play.server.target, play.alice.key, play.topic],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("[b'made']\n", 0), done.stderr
