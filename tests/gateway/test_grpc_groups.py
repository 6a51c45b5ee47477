"""gRPC: records of a group, with leases: in calls and in streams, ordered and parallel."""

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from django.db import connection
from django.db.models import Sum

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from subscriptions.cursor import decode
from subscriptions.models import PullException, UsageHour
from tests.conftest import MakeTopic
from tests.gateway.grpc_rig import (
    EARLIEST,
    Client,
    Server,
    Stage,
    Subscriber,
    details_of,
    failing,
    numbers,
    serving,
    staged,
    start,
    subscriber,
)
from tests.streams.web import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

WAIT = {"seconds": 5}


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("grpc"), stream_heartbeat="5") as process:
        yield process


@pytest.fixture
def play(server: Server, topic: MakeTopic) -> Iterator[Stage]:
    with staged(server, topic) as made:
        yield made


class Puller:
    """Somebody who calls Receive and Ack."""

    def __init__(self, play: Stage, client: Client | None = None, **members: Any) -> None:
        self.client = client or play.client()
        self.members = {"group": "g"} | members
        self.topic = play.topic

    def receive(self, most: int = 100, wait: dict[str, int] | None = None) -> pb.ReceiveResponse:
        wish = start(self.topic, position=EARLIEST, **self.members).start
        request = pb.ReceiveRequest(start=wish, max_records=most, wait=wait or WAIT)
        answer: pb.ReceiveResponse = self.client.call("Receive", request)
        return answer

    def values(self, most: int = 100, wait: dict[str, int] | None = None) -> list[bytes]:
        return [one.value for one in self.receive(most, wait).records]

    def settle(self, **acts: Any) -> Sequence[pb.AckFailure]:
        request = pb.AckRequest(group=self.members["group"], acks=pb.AckSet(**acts))
        answer: pb.AckResponse = self.client.call("Ack", request)
        return answer.failed


def expire_leases() -> None:
    """Let a minute pass for all leases."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pull_lease SET expires_at = now() - interval '1 second'")


def reasons(failed: Sequence[pb.AckFailure]) -> list[str]:
    return [details_of(one.status)["ErrorInfo"].reason for one in failed]


def committed(play: Stage) -> int:
    """Return where the group stands on the topic's only partition."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(committed, start) FROM pull_position")
        return int(cursor.fetchone()[0])


def test_records_are_handed_out_and_taken_as_done(play: Stage) -> None:
    play.write(*numbers(10))
    puller = Puller(play)

    first = puller.receive(4)
    failed = puller.settle(ack=[one.ack_id for one in first.records])
    second = puller.values()

    assert [one.value for one in first.records] == numbers(4)
    assert {one.attempt for one in first.records} == {1}
    assert (first.lag_records, list(failed)) == (6, [])
    assert second == numbers(6, 4)
    assert committed(play) == 4


def test_nothing_is_an_empty_list(play: Stage) -> None:
    answer = Puller(play).receive(wait={"seconds": 0})

    assert not answer.records
    assert answer.cursor


def test_a_call_waits_for_the_first_record(play: Stage) -> None:
    puller = Puller(play)
    assert puller.values(wait={"seconds": 0}) == []
    client = play.client()
    wish = start(play.topic, group="g").start
    pending = client.channel.unary_unary(
        "/kafkahub.v1.KafkaHub/Receive",
        pb.ReceiveRequest.SerializeToString,
        pb.ReceiveResponse.FromString,
    ).future(pb.ReceiveRequest(start=wish, wait={"seconds": 20}), metadata=client.metadata)

    play.write(b"1")

    assert [one.value for one in pending.result().records] == [b"1"]


def test_an_ack_is_taken_by_any_server_and_may_come_twice(
    play: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    play.write(*numbers(3))
    puller = Puller(play)
    given = [one.ack_id for one in puller.receive().records]

    with serving(tmp_path_factory.mktemp("other")) as other:
        elsewhere = Puller(play, Client(other.target, play.alice.key))
        once, twice = elsewhere.settle(ack=given), elsewhere.settle(ack=given)

    assert (list(once), list(twice)) == ([], [])
    assert committed(play) == 3


def test_in_order_an_ack_covers_all_before_it(play: Stage) -> None:
    play.write(*numbers(10))
    puller = Puller(play)
    given = puller.receive(5).records

    puller.settle(ack=[given[3].ack_id])

    assert committed(play) == 4
    expire_leases()
    again = puller.receive()
    assert [one.value for one in again.records] == numbers(6, 4)
    assert [one.attempt for one in again.records[:2]] == [2, 1]


def test_in_order_a_nack_goes_back_after_its_delay(play: Stage) -> None:
    play.write(*numbers(5))
    puller = Puller(play)
    given = puller.receive().records

    puller.settle(
        ack=[given[0].ack_id], nack=[pb.Nack(ack_id=given[2].ack_id, delay={"seconds": 1})]
    )
    at_once = puller.values(wait={"seconds": 0})
    later = puller.receive()

    assert at_once == []
    assert [one.value for one in later.records] == numbers(3, 2)
    assert later.records[0].attempt == 2


def test_a_late_ack_fails_and_changes_nothing(play: Stage) -> None:
    play.write(*numbers(3))
    puller = Puller(play)
    given = puller.receive().records
    expire_leases()

    failed = puller.settle(ack=[given[0].ack_id])
    puller.values(wait={"seconds": 0})
    after = puller.settle(ack=[given[0].ack_id])

    assert reasons(failed) == reasons(after) == ["LEASE_EXPIRED"]
    assert committed(play) == 0


def test_a_foreign_ack_id_fails_alone(play: Stage) -> None:
    play.write(b"1")
    puller = Puller(play)
    given = puller.receive().records
    foreign = [b"", b"junk", bytes(10), b"\xff" * 10]

    failed = puller.settle(ack=[*foreign, given[0].ack_id])

    assert [one.ack_id for one in failed] == foreign
    assert committed(play) == 1


def test_a_strangers_ack_id_is_nobodys(play: Stage, server: Server, topic: MakeTopic) -> None:
    play.write(b"1")
    given = Puller(play).receive().records

    with staged(server, topic) as other:
        other.write(b"2")
        stranger = Puller(other)
        stranger.receive()
        failed = stranger.settle(ack=[given[0].ack_id])

    assert reasons(failed) == ["LEASE_EXPIRED"]


def test_a_lease_can_be_extended(play: Stage) -> None:
    play.write(b"1")
    puller = Puller(play, ack_lease={"seconds": 10})
    given = puller.receive().records

    failed = puller.settle(extend=[pb.Extend(ack_id=given[0].ack_id, lease={"seconds": 600})])

    with connection.cursor() as cursor:
        cursor.execute("SELECT expires_at > now() + interval '9 minutes' FROM pull_lease")
        assert cursor.fetchone() == (True,)
    assert not failed


def test_in_parallel_each_record_is_for_itself(play: Stage) -> None:
    play.write(*numbers(6))
    puller = Puller(play, mode=pb.GROUP_MODE_PARALLEL)
    given = puller.receive().records

    puller.settle(ack=[one.ack_id for one in given if int(one.value) % 2 == 0])
    expire_leases()
    again = puller.receive()

    assert sorted(one.value for one in again.records) == [b"1", b"3", b"5"]
    assert {one.attempt for one in again.records} == {2}
    assert committed(play) == 1
    puller.settle(ack=[one.ack_id for one in again.records])
    assert committed(play) == 6


def test_in_parallel_a_nack_comes_again_and_others_go_on(play: Stage) -> None:
    play.write(*numbers(3))
    puller = Puller(play, mode=pb.GROUP_MODE_PARALLEL)
    given = puller.receive(2).records

    puller.settle(nack=[pb.Nack(ack_id=given[0].ack_id)])

    assert {one.value: one.attempt for one in puller.receive().records} == {b"0": 2, b"2": 1}


def test_a_rejected_record_is_a_dead_letter_at_once(play: Stage) -> None:
    play.write(*numbers(2))
    puller = Puller(play, mode=pb.GROUP_MODE_PARALLEL)
    given = puller.receive().records

    request = pb.Reject(ack_id=given[0].ack_id, reason="no such customer")
    puller.settle(reject=[request], ack=[given[1].ack_id])

    dead = PullException.objects.get(state="dead")
    assert (dead.offset, dead.reason) == (0, "no such customer")
    assert committed(play) == 2
    expire_leases()
    assert puller.values(wait={"seconds": 0}) == []


def test_after_twenty_attempts_a_record_is_dead_with_what_it_held(play: Stage) -> None:
    play.write(b"poison")
    puller = Puller(play, mode=pb.GROUP_MODE_PARALLEL)
    puller.settle(nack=[pb.Nack(ack_id=puller.receive().records[0].ack_id)])
    PullException.objects.update(attempt=19)
    last = puller.receive().records[0]
    puller.settle(nack=[pb.Nack(ack_id=last.ack_id)])

    assert puller.values(wait={"seconds": 0}) == []
    dead = PullException.objects.get(state="dead")
    assert last.attempt == 20
    assert b"poison" in bytes(dead.payload or b"")
    assert committed(play) == 1


def test_another_mode_than_the_groups_is_refused(play: Stage) -> None:
    Puller(play).receive(wait={"seconds": 0})

    failure = failing(lambda: Puller(play, mode=pb.GROUP_MODE_PARALLEL).receive())

    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION


def test_an_unknown_group_is_not_found(play: Stage) -> None:
    client = play.client()
    requests = {
        "Ack": pb.AckRequest(group="no", acks=pb.AckSet(ack=[b"x"])),
        "Seek": pb.SeekRequest(group="no", to=EARLIEST),
        "GetPositions": pb.GetPositionsRequest(group="no"),
    }

    codes = {failing(lambda each=each: client.call(*each)).code for each in requests.items()}  # type: ignore[misc]  # a lambda's default has no type

    assert codes == {grpc.StatusCode.NOT_FOUND}


def test_a_group_can_be_moved(play: Stage) -> None:
    play.write(*numbers(5))
    puller = Puller(play)
    given = puller.receive().records
    puller.settle(ack=[given[-1].ack_id])

    answer = puller.client.call("Seek", pb.SeekRequest(group="g", to=pb.Position(last=2)))
    moved = puller.values()
    back = puller.client.call(
        "Seek", pb.SeekRequest(group="g", to=pb.Position(cursor=answer.before))
    )

    assert moved == numbers(2, 3)
    assert decode(back.before).topics == decode(answer.after).topics


def test_positions_tell_how_far_behind_a_group_is(play: Stage) -> None:
    play.write(*numbers(5))
    puller = Puller(play)
    given = puller.receive(2).records
    puller.settle(ack=[given[-1].ack_id])

    answer = puller.client.call("GetPositions", pb.GetPositionsRequest(group="g"))

    assert [(one.topic, one.lag_records) for one in answer.topics] == [(play.topic, 3)]
    assert answer.topics[0].lag_seconds > 0
    other = subscriber(play, position=pb.Position(cursor=answer.cursor))
    assert other.values(3) == numbers(3, 2)


def test_a_stream_in_a_group_goes_on_where_it_was_acked(play: Stage) -> None:
    play.write(*numbers(20))
    wish = {"group": "g", "instance": "one", "position": EARLIEST}
    one = subscriber(play, **wish, credit=pb.Credit(records=10))
    first = one.records(10)
    one.say(acks=pb.AckSet(ack=[first[6].ack_id]))
    wait_for(lambda: committed(play) == 7, lambda: committed(play))

    other = subscriber(play, **wish)

    assert one.hear("closing").reason == "taken_over"
    assert failing(lambda: list(one.talk)).code is grpc.StatusCode.ABORTED
    assert other.values(13) == numbers(13, 7)


def test_an_idle_session_is_told_how_far_it_is_behind(play: Stage) -> None:
    play.write(*numbers(12))
    one = subscriber(play, group="g", position=EARLIEST, credit=pb.Credit(records=5))
    one.records(5)

    beat = one.hear("heartbeat")

    assert beat.lag_records == 7
    assert beat.lag_seconds > 0


def test_what_a_partner_uses_is_counted_once_each_way(
    transactional_db: None, tmp_path: Path, topic: MakeTopic
) -> None:
    values = numbers(6)
    with serving(tmp_path, stream_drain="0") as own, staged(own, topic) as play:
        client = play.client()
        client.publish(play.topic, *values)
        assert Puller(play, client).values() == values
        for wish in ({"group": "h"}, {"until": pb.Position(edge=pb.EDGE_LATEST)}, {}):
            one = subscriber(play, position=EARLIEST, **wish)
            assert one.values(6) == values
            one.close()
        own.stop()  # which writes what was counted

    rows = UsageHour.objects.filter(partner=play.alice.partner, door="grpc", topic=play.topic)
    used = rows.aggregate(ins=Sum("records_in"), outs=Sum("records_out"), sent=Sum("bytes_out"))
    assert (used["ins"], used["outs"]) == (6, 24)
    assert used["sent"] > 24 * 20


def test_a_killed_server_loses_nothing_that_was_not_acked(
    django_db_setup: None, topic: MakeTopic, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(tmp_path_factory.mktemp("killed")) as own, staged(own, topic) as play:
        play.write(*numbers(30))
        wish = {"group": "g", "instance": "one", "position": EARLIEST}
        one = subscriber(play, **wish)
        first = one.records(30)
        one.say(acks=pb.AckSet(ack=[first[9].ack_id]))
        wait_for(lambda: committed(play) == 10, lambda: committed(play))

        own.kill()
        own.start()
        other = subscriber(play, **wish)

        assert other.values(20) == numbers(20, 10)


def test_a_stream_is_told_of_late_acks_and_goes_on(play: Stage) -> None:
    one = subscriber(play, group="g", instance="one")

    one.say(acks=pb.AckSet(ack=[b"never given"]))
    failed = one.hear("ack_failures").failed
    play.write(b"1")

    assert reasons(failed) == ["UNKNOWN_ACK_ID"]
    assert one.values(1) == [b"1"]


def test_two_instances_share_a_topic(server: Server, topic: MakeTopic) -> None:
    with staged(server, topic, partitions=2) as play:
        one = subscriber(play, group="g", instance="one")
        other = subscriber(play, group="g", instance="other")
        marks = [uuid.uuid4().hex.encode() for _ in range(2)]
        # Until both know what they own, a record may reach either; none reaches both.
        for partition, mark in enumerate(marks):
            play.write(mark, partition=partition)

        found = {**by_partition(one, 1), **by_partition(other, 1)}

    assert found == {0: marks[0], 1: marks[1]}


def by_partition(who: Subscriber, count: int) -> dict[int, bytes]:
    return {one.partition: one.value for one in who.records(count)}


def test_a_partition_waits_once_a_thousand_records_are_out(play: Stage) -> None:
    play.write(*numbers(1_200))
    puller = Puller(play)

    given = [*puller.receive(1_000).records, *puller.receive(1_000, {"seconds": 0}).records]
    full = puller.values(wait={"seconds": 0})
    puller.settle(ack=[given[-1].ack_id])

    assert len(given) == 1_000
    assert full == []
    assert puller.values(1_000) == numbers(200, 1_000)


def test_one_idempotency_key_writes_once(play: Stage) -> None:
    client = play.client()

    one = client.publish(play.topic, b"1", b"2", idempotency_key="key-1")
    other = client.publish(play.topic, b"1", b"2", idempotency_key="key-1")
    reused = failing(lambda: client.publish(play.topic, b"3", idempotency_key="key-1"))
    last = client.publish(play.topic, b"4").results[0].written.offset

    assert (one.replayed, other.replayed) == (False, True)
    assert [each.written.offset for each in other.results] == [0, 1]
    assert (reused.code.name, reused.reason) == ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")
    assert last == 2
