"""The consumer group: who reads which partition, from where, and what happens at a change."""

import time
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.consumer import GroupConsumer
from kafkahub.kafka.faults import ConsumerBroken, Kind, NotAssigned, OutOfRange
from kafkahub.kafka.intake import Part
from kafkahub.kafka.record import Position, Record
from tests.kafkahub.kafka.conftest import Produce

DEADLINE_S = 30.0
PARTITIONS = 4


class Member:
    """One member of the group, with the positions that PostgreSQL would keep for all of them."""

    def __init__(self, settings: config.Config, group: str, floors: dict[Part, int]) -> None:
        self.floors = floors
        self.events: list[tuple[str, list[Part]]] = []
        self.out_of_range: list[OutOfRange] = []
        self.trouble: list[Kind] = []
        self.fails = False
        self.consumer = GroupConsumer(
            options.consumer_options(settings),
            group=group,
            on_assigned=self._begin,
            on_revoked=lambda parts: self.events.append(("revoked", parts)),
            on_lost=lambda parts: self.events.append(("lost", parts)),
            on_error=lambda kind, *_: self.trouble.append(kind),
            on_out_of_range=self.out_of_range.append,
        )

    def _begin(self, parts: list[Part]) -> dict[Part, int]:
        if self.fails:
            raise RuntimeError("no positions")
        self.events.append(("assigned", parts))
        return {part: self.floors.get(part, 0) for part in parts}

    def read(self) -> list[Record]:
        records = self.consumer.read(500, 0.1)
        for record in records:
            self.floors[record.topic, record.partition] = record.offset + 1
        return records


Join = Callable[[], Member]

apache_only = pytest.mark.parametrize(
    "settings", [pytest.param("apache", marks=pytest.mark.kafka)], indirect=True
)
"""The in-memory cluster takes seconds for each change of a group, so it gets one test."""


@pytest.fixture
def join(settings: config.Config, topic: str) -> Iterator[Join]:
    """Return a function that makes a member of the topic's own group; all share the floors."""
    members: list[Member] = []
    floors: dict[Part, int] = {}

    def make() -> Member:
        members.append(Member(settings, f"group.{topic}", floors))
        members[-1].consumer.subscribe([topic])
        return members[-1]

    yield make
    for member in members:
        member.consumer.close()


def read_until(is_enough: Callable[[list[Record]], bool], *members: Member) -> list[Record]:
    """Read with all members until the condition holds; fail with what was seen otherwise."""
    records: list[Record] = []
    end = time.monotonic() + DEADLINE_S
    while not is_enough(records):
        assert time.monotonic() < end, ([member.events for member in members], records)
        for member in members:
            records += member.read()
    return records


def owns_all(member: Member) -> Callable[[object], bool]:
    return lambda _: len(member.consumer.assignment()) == PARTITIONS


def test_reading_begins_where_the_positions_say(join: Join, topic: str, produce: Produce) -> None:
    for _ in range(3):
        produce(partition=2)
    member = join()
    member.floors[topic, 2] = 2

    records = read_until(lambda records: len(records) == 1, member)

    assert [(record.partition, record.offset) for record in records] == [(2, 2)]
    assert member.consumer.assignment() == {(topic, number) for number in range(PARTITIONS)}
    assert member.consumer.position(topic, 2) == 3


@apache_only
def test_the_commit_of_the_group_is_never_a_place_to_begin(
    join: Join, topic: str, produce: Produce
) -> None:
    for _ in range(3):
        produce(partition=0)
    first = join()
    read_until(lambda records: len(records) == 3, first)
    first.consumer.commit_advisory([Position(topic, 0, 3)])
    first.consumer.close()

    second = join()
    second.floors[topic, 0] = 1

    assert [r.offset for r in read_until(lambda records: len(records) == 2, second)] == [1, 2]
    assert first.consumer.commit_failures == 0


@apache_only
def test_a_second_member_takes_over_a_part_and_nothing_is_read_twice(
    join: Join, topic: str, produce: Produce
) -> None:
    first = join()
    read_until(owns_all(first), first)
    second = join()

    read_until(lambda _: len(second.consumer.assignment()) == PARTITIONS / 2, first, second)
    for partition in range(PARTITIONS):
        produce(partition=partition)
    records = read_until(lambda records: len(records) == PARTITIONS, first, second)

    assert first.consumer.assignment().isdisjoint(second.consumer.assignment())
    assert {record.partition for record in records} == set(range(PARTITIONS))
    assert ("revoked", sorted(second.consumer.assignment())) in [
        (name, sorted(parts)) for name, parts in first.events
    ]


@apache_only
def test_a_member_that_leaves_hands_everything_over(
    join: Join, topic: str, produce: Produce
) -> None:
    first = join()
    read_until(owns_all(first), first)
    produce(partition=1)
    read_until(lambda records: len(records) == 1, first)

    first.consumer.close()
    second = join()
    read_until(owns_all(second), second)
    produce(partition=1)

    assert first.events[-1][0] == "revoked"
    assert [r.offset for r in read_until(lambda records: len(records) == 1, second)] == [1]


@apache_only
def test_paused_partitions_stay_ours_and_wait(join: Join, topic: str, produce: Produce) -> None:
    member = join()
    read_until(owns_all(member), member)
    parts = member.consumer.assignment()
    member.consumer.pause([*parts, ("test.not.ours", 0)])
    produce(partition=0)

    assert member.consumer.read(10, 0.5) == []
    member.consumer.resume([*parts, ("test.not.ours", 0)])

    assert len(read_until(lambda records: len(records) == 1, member)) == 1


@apache_only
def test_an_offset_that_is_not_there_stops_only_its_partition(
    join: Join, topic: str, produce: Produce
) -> None:
    member = join()
    member.floors[topic, 0] = 50
    produce(partition=0)
    produce(partition=1)

    records = read_until(lambda records: bool(member.out_of_range and records), member)
    assert [record.partition for record in records] == [1]
    assert member.out_of_range == [OutOfRange(topic, 0, 50, 0, 1)]

    member.consumer.seek(Position(topic, 0, 0))
    records = read_until(lambda records: len(records) == 1, member)
    assert [(record.partition, record.offset) for record in records] == [(0, 0)]


@apache_only
def test_a_failing_start_is_raised_and_nothing_is_read_after_it(join: Join) -> None:
    member = join()
    member.fails = True

    with pytest.raises(RuntimeError, match="no positions"):
        read_until(lambda _: False, member)
    with pytest.raises(ConsumerBroken):
        member.read()


@apache_only
def test_topics_can_be_replaced_and_given_up(join: Join, topic: str) -> None:
    member = join()
    read_until(owns_all(member), member)

    member.consumer.subscribe([])
    read_until(lambda _: not member.consumer.assignment(), member)
    with pytest.raises(NotAssigned):
        member.consumer.position(topic, 0)

    member.consumer.subscribe([topic])
    read_until(owns_all(member), member)
    assert [name for name, _ in member.events] == ["assigned", "revoked", "assigned"]


@apache_only
def test_a_topic_that_is_not_there_is_told_and_the_others_are_read(
    join: Join, topic: str, produce: Produce
) -> None:
    member = join()
    member.consumer.subscribe([topic, "test.nothing"])
    produce(partition=0)

    read_until(lambda records: bool(records and member.trouble), member)

    assert Kind.UNKNOWN_TOPIC in member.trouble


@pytest.mark.kafka
def test_being_turned_away_is_a_state_that_can_be_seen() -> None:
    refusing = config.load().model_copy(
        update={
            "kafka_security_protocol": "SASL_PLAINTEXT",
            "kafka_sasl_username": "nobody",
            "kafka_sasl_password": SecretStr("nothing"),
        }
    )
    member = Member(refusing, "group.refused", {})
    member.consumer.subscribe(["orders"])

    read_until(lambda _: member.consumer.refused is not None, member)

    assert member.consumer.refused is Kind.AUTHENTICATION
    member.consumer.close()


@apache_only
def test_subscribing_anew_gives_all_partitions_up_and_takes_them_again(
    join: Join, topic: str, produce: Produce
) -> None:
    member = join()
    read_until(owns_all(member), member)

    member.consumer.subscribe([])
    member.consumer.subscribe([topic])
    produce(partition=0)
    records = read_until(lambda records: len(records) == 1, member)

    assert [name for name, _ in member.events] == ["assigned", "revoked", "assigned"]
    assert [record.offset for record in records] == [0]
