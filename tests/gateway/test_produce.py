"""Writing for partners: authorised, in order, and with an answer for every record."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from gateway import produce
from gateway.produce import HandOver, Writer
from kafkahub import config
from kafkahub.errors import ActionNotGranted, Forbidden, NotFound
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.options import admin_options, producer_options
from kafkahub.kafka.producer import FULL, UNANSWERED, Batch, Producer
from kafkahub.kafka.record import Entry, Refused, Result, Written
from subscriptions import cursor
from subscriptions.grants import Action, Grant, Principal
from subscriptions.live import NOTHING, LiveTopic, Snapshot
from tests.conftest import MakeTopic

ALICE = Principal(
    partner="acme",
    kind="key",
    id="key_1",
    name="alice",
    mode="live",
    scopes=frozenset({"topic:*:write"}),
    topics=None,
    expires_at_ms=2**50,
)


def snapshot(topic: str, action: Action = "write") -> Snapshot:
    """Return a world in which acme may do one thing on one topic."""
    grant = Grant("grt_1", "acme", topic, action, version=1)
    facts = LiveTopic(
        name=topic,
        format="json",
        content_type="application/json",
        type_source="constant",
        type_value="",
        is_sandbox=False,
        is_sensitive=False,
        is_enabled=True,
    )
    return replace(NOTHING, grants={("acme", topic, action): grant}, topics={topic: facts})


class NoEnds:
    """A cluster that does not tell where partitions end."""

    def cluster_id(self, deadline_s: float) -> str:
        raise KafkaUnavailable(f"no answer in {deadline_s} s")

    def topic_id(self, topic: str, deadline_s: float) -> str:
        raise KafkaUnavailable(f"{topic}: no answer in {deadline_s} s")

    def watermarks(self, topic: str, deadline_s: float) -> dict[int, tuple[int, int]]:
        raise KafkaUnavailable(f"{topic}: no answer in {deadline_s} s")


class Held:
    """A producer that answers when it is told to."""

    def __init__(self, hand_over: HandOver) -> None:
        self.hand_over = hand_over
        self.batches: list[Batch] = []

    def produce_all(self, topic: str, entries: Sequence[Entry]) -> Batch:
        assert topic
        self.batches.append(Batch(len(entries)))
        return self.batches[-1]

    def close(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer everything, in one round."""
        for batch in self.batches:
            for index in range(len(batch.results)):
                batch.settle(index, Written(0, index, None))
        self.hand_over(self.batches)
        self.batches = []


def shared(hand_over: HandOver) -> Producer:
    return Producer(producer_options(config.load()), hand_over=hand_over)


@contextlib.asynccontextmanager
async def writer(
    world: Snapshot, make: Callable[[HandOver], produce.Giver] = shared, *, knows_ends: bool = True
) -> AsyncIterator[Writer]:
    ends = Admin(admin_options(config.load())) if knows_ends else NoEnds()
    made = Writer(lambda: world, make, ends)
    try:
        yield made
    finally:
        await made.close()


def test_who_may_write_gets_the_topic() -> None:
    async def run() -> None:
        async with writer(snapshot("orders")) as one:
            assert one.authorize(ALICE, "orders").format == "json"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("principal", "topic", "action", "refusal"),
    [
        (ALICE, "payments", "write", NotFound),
        (replace(ALICE, partner="other"), "orders", "write", NotFound),
        (replace(ALICE, mode="test"), "orders", "write", NotFound),
        (replace(ALICE, topics=frozenset({"payments"})), "orders", "write", NotFound),
        (ALICE, "orders", "read", ActionNotGranted),
        (replace(ALICE, scopes=frozenset({"topic:*:read"})), "orders", "write", Forbidden),
        (replace(ALICE, scopes=frozenset()), "payments", "write", NotFound),
    ],
)
def test_who_may_not_is_refused(
    principal: Principal, topic: str, action: Action, refusal: type[Exception]
) -> None:
    async def run() -> None:
        async with writer(snapshot("orders", action)) as one:
            with pytest.raises(refusal):
                one.authorize(principal, topic)

    asyncio.run(run())


@pytest.mark.kafka
def test_every_record_is_answered_in_the_order_it_was_given(topic: MakeTopic) -> None:
    name = topic(1)
    refused = Refused("record_too_large", "Too large.")

    async def run() -> list[object]:
        async with writer(snapshot(name)) as one:
            given: list[produce.Given] = [Entry(None, b"1"), refused, Entry(None, b"2")]
            return list(await one.write(name, given, door="test"))

    first, middle, last = asyncio.run(run())

    assert isinstance(first, Written)
    assert isinstance(last, Written)
    assert middle is refused
    assert (first.offset, last.offset) == (0, 1)


@pytest.mark.kafka
def test_a_cursor_reads_on_after_its_record(topic: MakeTopic) -> None:
    name = topic(3)

    async def run() -> list[str | None]:
        async with writer(snapshot(name)) as one:
            results = await one.write(name, [Entry(None, b"1", partition=1)] * 2, door="test")
            return await one.cursors(name, results)

    first, second = asyncio.run(run())

    assert first
    assert second
    assert cursor.decode(first).topics[0].offsets == {0: 0, 1: 1, 2: 0}
    assert cursor.decode(second).topics[0].offsets[1] == 2


def test_while_the_ends_are_not_told_reports_have_no_cursors() -> None:
    async def run() -> list[str | None]:
        async with writer(snapshot("orders"), knows_ends=False) as one:
            return await one.cursors("orders", [Written(0, 1, None)])

    assert asyncio.run(run()) == [None]


def test_one_round_of_reports_wakes_everybody_who_waits() -> None:
    made: list[Held] = []

    def make(hand_over: HandOver) -> Held:
        made.append(Held(hand_over))
        return made[0]

    async def run() -> list[int]:
        async with writer(snapshot("orders"), make, knows_ends=False) as one:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(one.write("orders", [Entry(None, b"1")] * count, door="test"))
                    for count in (1, 2)
                ]
                await asyncio.sleep(0)  # both begin; one turn, no time
                made[0].answer()
            return [len(task.result()) for task in tasks]

    assert asyncio.run(run()) == [1, 2]


def test_records_are_taken_before_kafka_has_them_and_losses_are_told() -> None:
    made: list[Held] = []
    too_large = Refused("record_too_large", "Too large.")
    away = Refused("unavailable", "Kafka did not take the record.", is_retriable=True)

    def make(hand_over: HandOver) -> Held:
        made.append(Held(hand_over))
        return made[0]

    async def run() -> tuple[list[Refused | None], list[Result]]:
        late: list[Result] = []
        async with writer(snapshot("orders"), make, knows_ends=False) as one:
            given: list[produce.Given] = [Entry(None, b"1"), too_large, Entry(None, b"2")]
            refused = one.enqueue("orders", given, door="test", settled=late.extend)
            batch = made[0].batches.pop()
            batch.settle(0, Written(0, 7, None))
            batch.settle(1, away)
            made[0].hand_over([batch])
        await asyncio.sleep(0)  # the turn in which it is told
        return refused, late

    refused, late = asyncio.run(run())

    assert refused == [None, too_large, None]
    assert late == [Written(0, 7, None), away]
    used = produce.used_of(late, is_answered=True)
    assert (used.records_in, used.records_failed, used.records_lost) == (1, 1, 1)


def test_what_the_end_leaves_unanswered_is_told_as_unknown() -> None:
    class Silent(Held):
        def close(self) -> None:
            """Give up, as the real one does after its deadline."""

    async def run() -> tuple[list[Result], list[Result]]:
        late: list[Result] = []
        async with writer(snapshot("orders"), Silent, knows_ends=False) as one:
            one.enqueue("orders", [Entry(None, b"1")], door="test", settled=late.extend)
            waiting = asyncio.create_task(one.write("orders", [Entry(None, b"2")], door="test"))
            await asyncio.sleep(0)  # it begins; one turn, no time
        return late, await waiting

    assert asyncio.run(run()) == ([UNANSWERED], [UNANSWERED])


def test_a_full_queue_takes_no_more_and_nobody_is_told_later() -> None:
    late: list[Result] = []
    options = {**producer_options(config.load()), "queue.buffering.max.messages": 1}

    def make(hand_over: HandOver) -> Producer:
        return Producer({**options, "bootstrap.servers": "127.0.0.1:1"}, hand_over=hand_over)

    async def run() -> list[list[Refused | None]]:
        one = Writer(lambda: snapshot("orders"), make, NoEnds())
        enqueue = partial(one.enqueue, "orders", door="test", settled=late.extend)
        return [enqueue([Entry(None, b"1")]), enqueue([Entry(None, b"2")]), enqueue([])]

    assert asyncio.run(run()) == [[None], [FULL], []]
    assert late == []


def test_who_may_not_write_without_confirmation_is_refused() -> None:
    world = snapshot("orders")
    trusted = {place: replace(one, allow_unconfirmed=True) for place, one in world.grants.items()}

    async def run(known: Snapshot) -> None:
        async with writer(known, knows_ends=False) as one:
            one.allow_unconfirmed(ALICE, "orders")

    asyncio.run(run(replace(world, grants=trusted)))
    with pytest.raises(ActionNotGranted):
        asyncio.run(run(world))


def test_a_caller_that_is_gone_leaves_nothing_behind() -> None:
    made: list[Held] = []

    def make(hand_over: HandOver) -> Held:
        made.append(Held(hand_over))
        return made[0]

    async def run() -> None:
        async with writer(snapshot("orders"), make, knows_ends=False) as one:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await one.write("orders", [Entry(None, b"1")], door="test")
            made[0].answer()
            await asyncio.sleep(0)
            assert not one._waiting

    asyncio.run(run())
