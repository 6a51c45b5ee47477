"""An Idempotency-Key leaves each record once, whatever died before."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection

from gateway.hub.reads import Bounds, Reads
from gateway.produce import Writer
from gateway.receipts import Once, Outcome
from gateway.rest.parts import runner
from gateway.topology import Topology
from kafkahub import config
from kafkahub.errors import IdempotencyInProgress
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, producer_options, reader_options
from kafkahub.kafka.partitioner import partition_of
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Entry, Record, Refused, Written
from subscriptions import receipts
from subscriptions.live import NOTHING
from subscriptions.receipts import HEADER, Key, Plan, key_of
from tests import factories
from tests.conftest import MakeTopic

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

ENTRIES = [Entry(b"%d" % number, b"v%d" % number) for number in range(3)]


class Bench:
    """The parts of a process that write once a key."""

    def __init__(self) -> None:
        settings = config.load()
        admin = Admin(admin_options(settings))
        self.database = ThreadPoolExecutor(1)
        self.topology = Topology(admin)
        self.writer = Writer(
            lambda: NOTHING,
            lambda hand_over: Producer(producer_options(settings), hand_over=hand_over),
            admin,
        )
        self.reads = Reads(
            lambda **hooks: Reader(reader_options(settings), **hooks),
            readers=1,
            log_bytes=1024 * 1024,
        )
        self.once = Once(self.writer, self.reads, self.topology, runner(self.database))

    async def stored(self, topic: str) -> list[Record]:
        marks = await self.topology.marks(topic, fresh=True)
        haul = await self.reads.read(
            {(topic, number): 0 for number in marks}, Bounds(1_000, 1_000_000)
        )
        return haul.records

    async def close(self) -> None:
        await self.reads.stop()
        await self.writer.close()
        self.topology.close()
        await asyncio.get_running_loop().run_in_executor(self.database, _disconnect)
        self.database.shutdown()


def _disconnect() -> None:
    connection.close()  # of the thread that it runs in


def played(scene: Callable[[Bench], Awaitable[None]]) -> None:
    async def play() -> None:
        bench = Bench()
        try:
            await scene(bench)
        finally:
            await bench.close()

    asyncio.run(play())


@contextmanager
def begun(key: Key, topic: str, count: int, *, lease_s: int) -> Iterator[None]:
    """Leave what a process leaves that died after writing ``count`` records of three."""
    places = [partition_of(one.key or b"", 3) for one in ENTRIES]
    receipts.begin(key, Plan(topic, places, dict.fromkeys(range(3), 0)))
    producer = Producer(producer_options(config.load()))
    for index in range(count):
        one = ENTRIES[index]
        header = (HEADER, receipts.mark(key, index))
        producer.produce(topic, one.value, one.key, [header], partition=places[index]).result(20)
    producer.close()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE produce_receipt SET lease_until = now() + %s * interval '1 second'", [lease_s]
        )
    yield


def key(partner: str, text: str = "k") -> Key:
    return key_of(partner, text, b"f" * 32)


def test_a_retry_after_a_death_writes_only_what_is_missing(topic: MakeTopic) -> None:
    name, owner = topic(3), factories.partner()
    mine = key(owner.pk)

    async def scene(bench: Bench) -> None:
        outcome = await bench.once.write(mine, name, ENTRIES, door="test")
        again = await bench.once.write(mine, name, ENTRIES, door="test")
        stored = await bench.stored(name)

        assert sorted(one.value or b"" for one in stored) == [b"v0", b"v1", b"v2"]
        places = {(one.partition, one.offset) for one in stored}
        assert {_place(outcome, index) for index in range(3)} == places
        assert again.is_replayed
        assert again.results == outcome.results

    with begun(mine, name, 1, lease_s=0):
        played(scene)


def _place(outcome: Outcome, index: int) -> tuple[int, int]:
    result = outcome.results[index]
    assert isinstance(result, Written), result
    return result.partition, result.offset


def test_a_second_try_waits_while_the_first_may_run(topic: MakeTopic) -> None:
    name, owner = topic(3), factories.partner()
    mine = key(owner.pk)

    async def scene(bench: Bench) -> None:
        with pytest.raises(IdempotencyInProgress):
            await bench.once.write(mine, name, ENTRIES, door="test")
        assert len(await bench.stored(name)) == 1

    with begun(mine, name, 1, lease_s=45):
        played(scene)


def test_a_record_that_is_refused_for_good_stays_refused(topic: MakeTopic) -> None:
    name, owner = topic(3), factories.partner()
    mine = key(owner.pk)
    given: list[Entry | Refused] = [ENTRIES[0], Refused("record_too_large", "too large")]

    async def scene(bench: Bench) -> None:
        first = await bench.once.write(mine, name, given, door="test")
        again = await bench.once.write(mine, name, given, door="test")
        assert first.results[1] == again.results[1] == given[1]
        assert again.is_replayed
        assert len(await bench.stored(name)) == 1

    played(scene)
