"""gRPC: what will never come is told, in a group as in a stream of one's own."""

from collections.abc import Iterator

import pytest

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from tests.conftest import MakeTopic
from tests.delivery.kafka import delete_before, recreate
from tests.gateway.grpc_rig import (
    EARLIEST,
    Failure,
    Server,
    Stage,
    failing,
    numbers,
    serving,
    staged,
    start,
)
from tests.streams.web import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

SEEN_S = 40.0
"""By then every process has seen that a topic is another one."""


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("grpc")) as process:
        yield process


@pytest.fixture
def play(server: Server, topic: MakeTopic) -> Iterator[Stage]:
    with staged(server, topic) as made:
        yield made


def receive(play: Stage, on_gap: "pb.OnGap" = pb.ON_GAP_CONTINUE) -> pb.ReceiveResponse:
    """Take what there is in a group, and acknowledge it."""
    client = play.client()
    wish = start(play.topic, group="g", position=EARLIEST, on_gap=on_gap).start
    answer: pb.ReceiveResponse = client.call("Receive", pb.ReceiveRequest(start=wish))
    if answer.records:
        acks = pb.AckSet(ack=[answer.records[-1].ack_id])
        client.call("Ack", pb.AckRequest(group="g", acks=acks))
    return answer


def test_a_group_is_told_of_a_topic_made_anew_and_begins_it(play: Stage) -> None:
    play.write(*numbers(5))
    assert len(receive(play).records) == 5
    recreate(play.topic)
    play.write(*numbers(7, 10))
    gaps: list[pb.Gap] = []
    values: list[bytes] = []

    def is_read() -> bool:
        try:
            answer = receive(play)
        except Failure:  # the topic is away for a moment
            return False
        gaps.extend(answer.gaps)
        values.extend(one.value for one in answer.records)
        return values[-7:] == numbers(7, 10)  # copies may come before it is seen; nothing is missed

    wait_for(is_read, lambda: (gaps, values), SEEN_S)

    assert [(gap.topic, gap.reason) for gap in gaps] == [(play.topic, "recreated")]


def test_a_call_that_asks_to_fail_is_told_where_to_go_on(play: Stage) -> None:
    play.write(*numbers(6))
    wish = start(play.topic, group="g", position=EARLIEST).start
    few = pb.ReceiveRequest(start=wish, max_records=2)
    first = play.client().call("Receive", few)
    acks = pb.AckSet(ack=[first.records[-1].ack_id])
    play.client().call("Ack", pb.AckRequest(group="g", acks=acks))
    delete_before(play.topic, 4)
    play.server.kill()  # its memory may still have what Kafka has not
    play.server.start()

    failure = failing(lambda: receive(play, pb.ON_GAP_FAIL))
    behind = receive(play, pb.ON_GAP_FAIL)

    assert (failure.code.name, failure.reason) == ("OUT_OF_RANGE", "CURSOR_EXPIRED")
    told = failure.details["ErrorInfo"].metadata
    assert told["topic"] == play.topic
    assert told["resume"]
    assert [one.value for one in behind.records] == numbers(2, 4)
