"""Reading assigned partitions: nothing is skipped in silence, nothing is shown twice."""

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer as RawProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.faults import KafkaUnavailable, Kind, NotAssigned, OutOfRange, UnknownTopic
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from tests.kafkahub.kafka.conftest import Produce

DEADLINE_S = 20.0


class Seen:
    """What a reader told beside its records."""

    def __init__(self) -> None:
        self.out_of_range: list[OutOfRange] = []
        self.trouble: list[tuple[Kind, str | None, int | None, str]] = []

    def note(self, kind: Kind, topic: str | None, partition: int | None, text: str) -> None:
        self.trouble.append((kind, topic, partition, text))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def reader(settings: config.Config, seen: Seen) -> Iterator[Reader]:
    made = Reader(
        options.reader_options(settings),
        on_out_of_range=seen.out_of_range.append,
        on_error=seen.note,
    )
    yield made
    made.close()


def read_until(reader: Reader, is_enough: Callable[[list[Record]], bool]) -> list[Record]:
    """Read on until the condition holds; fail with what was read when it never does."""
    records: list[Record] = []
    end = time.monotonic() + DEADLINE_S
    while not is_enough(records):
        assert time.monotonic() < end, records
        records += reader.read(500, 0.2)
    return records


def offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


def test_a_record_arrives_as_it_was_written(reader: Reader, topic: str, produce: Produce) -> None:
    headers = [("trace", b"ab"), ("trace", b"\xff"), ("none", None)]
    produce(b'{"a":1}', key=b"c-17", headers=headers, partition=1, timestamp_ms=1_700_000_000_123)
    reader.assign([Position(topic, 1, 0)])

    [record] = read_until(reader, lambda records: len(records) == 1)

    assert record == Record(topic, 1, 0, 1_700_000_000_123, b"c-17", b'{"a":1}', tuple(headers))


def test_nothing_and_empty_are_different(reader: Reader, topic: str, produce: Produce) -> None:
    produce(None, key=b"", partition=0)
    produce(b"", key=None, partition=0)
    reader.assign([Position(topic, 0, 0)])

    first, second = read_until(reader, lambda records: len(records) == 2)

    assert (first.key, first.value) == (b"", None)
    assert (second.key, second.value) == (None, b"")


def test_reading_begins_at_the_given_offset(reader: Reader, topic: str, produce: Produce) -> None:
    for _ in range(5):
        produce(partition=0)
    reader.assign([Position(topic, 0, 3)])

    assert offsets(read_until(reader, lambda records: len(records) == 2)) == [3, 4]


def test_no_more_than_asked_for_is_returned(reader: Reader, topic: str, produce: Produce) -> None:
    for _ in range(5):
        produce(partition=0)
    reader.assign([Position(topic, 0, 0)])

    sizes = []
    read = 0
    while read < 5:
        sizes.append(len(reader.read(2, DEADLINE_S)))
        read += sizes[-1]

    assert max(sizes) <= 2


def test_the_end_of_a_partition_is_visible(reader: Reader, topic: str, produce: Produce) -> None:
    produce(partition=0)
    reader.assign([Position(topic, 0, 0)])

    read_until(reader, lambda _: reader.is_at_end(topic, 0))
    assert reader.position(topic, 0) == 1

    produce(partition=0)
    read_until(reader, lambda records: len(records) == 1)
    assert reader.position(topic, 0) == 2


def test_partitions_that_stay_are_not_read_twice(
    reader: Reader, topic: str, produce: Produce
) -> None:
    for partition in (0, 1):
        produce(partition=partition)
    reader.assign([Position(topic, 0, 0)])
    read_until(reader, lambda records: len(records) == 1)

    reader.assign([Position(topic, 0, reader.position(topic, 0)), Position(topic, 1, 0)])
    produce(partition=0)
    records = read_until(reader, lambda records: len(records) == 2)

    assert {(record.partition, record.offset) for record in records} == {(0, 1), (1, 0)}


def test_a_partition_let_go_is_read_no_more(reader: Reader, topic: str, produce: Produce) -> None:
    reader.assign([Position(topic, 0, 0), Position(topic, 1, 0)])
    reader.assign([Position(topic, 1, 0)])
    produce(partition=0)
    produce(partition=1)

    records = read_until(reader, lambda records: len(records) == 1 and reader.is_at_end(topic, 1))

    assert {record.partition for record in records} == {1}
    with pytest.raises(NotAssigned):
        reader.position(topic, 0)
    with pytest.raises(NotAssigned):
        reader.seek(Position(topic, 0, 0))


def test_assigning_another_offset_goes_there(reader: Reader, topic: str, produce: Produce) -> None:
    for _ in range(4):
        produce(partition=0)
    reader.assign([Position(topic, 0, 0)])
    read_until(reader, lambda records: len(records) == 4)

    reader.assign([Position(topic, 0, 2)])

    assert offsets(read_until(reader, lambda records: len(records) == 2)) == [2, 3]


def test_seeking_goes_back_and_forth(reader: Reader, topic: str, produce: Produce) -> None:
    for _ in range(4):
        produce(partition=0)
    reader.assign([Position(topic, 0, 3)])
    read_until(reader, lambda records: len(records) == 1)

    reader.seek(Position(topic, 0, 1))

    assert reader.position(topic, 0) == 1
    assert offsets(read_until(reader, lambda records: len(records) == 3)) == [1, 2, 3]


def test_a_paused_partition_waits_and_goes_on_where_it_stood(
    reader: Reader, topic: str, produce: Produce
) -> None:
    reader.assign([Position(topic, 0, 0), Position(topic, 1, 0)])
    for _ in range(3):
        produce(partition=0)
    reader.read(1, DEADLINE_S)
    reader.pause([(topic, 0), ("test.not.ours", 0)])
    stood_at = reader.position(topic, 0)

    produce(partition=1)
    others = read_until(reader, lambda records: len(records) == 1)
    reader.resume([(topic, 0)])
    rest = read_until(reader, lambda records: len(records) == 3 - stood_at)

    assert {record.partition for record in others} == {1}
    assert offsets(rest) == list(range(stood_at, 3))


def test_an_offset_that_is_not_there_stops_the_partition_and_tells_its_ends(
    reader: Reader, topic: str, produce: Produce, seen: Seen
) -> None:
    for _ in range(5):
        produce(partition=0)
    reader.assign([Position(topic, 0, 100)])

    assert read_until(reader, lambda _: bool(seen.out_of_range)) == []
    assert seen.out_of_range == [OutOfRange(topic, 0, 100, 0, 5)]

    reader.seek(Position(topic, 0, 3))
    assert offsets(read_until(reader, lambda records: len(records) == 2)) == [3, 4]


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache"], indirect=True)
def test_retention_that_overtook_a_reader_is_told_with_what_is_left(
    reader: Reader, topic: str, produce: Produce, seen: Seen, settings: config.Config
) -> None:
    for _ in range(5):
        produce(partition=0)
    raw = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    [deleted] = raw.delete_records([TopicPartition(topic, 0, 4)]).values()
    deleted.result(DEADLINE_S)
    reader.assign([Position(topic, 0, 1)])

    assert read_until(reader, lambda _: bool(seen.out_of_range)) == []
    assert seen.out_of_range == [OutOfRange(topic, 0, 1, 4, 5)]


def test_the_watermarks_are_told(reader: Reader, topic: str, produce: Produce) -> None:
    produce(partition=0)

    assert reader.watermarks(topic, 0) == (0, 1)
    with pytest.raises(UnknownTopic):
        reader.watermarks("test.nothing", 0)


@pytest.mark.kafka
@pytest.mark.parametrize("settings", ["apache"], indirect=True)
def test_the_position_passes_records_that_were_aborted(
    reader: Reader, topic: str, produce: Produce, settings: config.Config
) -> None:
    produce(b"kept", partition=0)
    raw = RawProducer({"bootstrap.servers": settings.kafka_bootstrap, "transactional.id": topic})
    raw.init_transactions(DEADLINE_S)
    raw.begin_transaction()
    raw.produce(topic, b"aborted", partition=0)
    raw.flush(DEADLINE_S)
    raw.abort_transaction(DEADLINE_S)
    reader.assign([Position(topic, 0, 0)])

    after_the_mark = 3  # one record kept, one aborted, the mark itself
    records = read_until(reader, lambda _: reader.position(topic, 0) == after_the_mark)

    assert [record.value for record in records] == [b"kept"]


def test_a_broker_that_is_away_is_told_once_and_not_raised(seen: Seen) -> None:
    nowhere = config.load().model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    reader = Reader(
        options.reader_options(nowhere),
        on_out_of_range=seen.out_of_range.append,
        on_error=seen.note,
    )
    reader.assign([Position("orders", 0, 0)])

    assert read_until(reader, lambda _: bool(seen.trouble)) == []
    assert seen.trouble[0][0] is Kind.TRANSPORT
    with pytest.raises(KafkaUnavailable):
        reader.watermarks("orders", 0, deadline_s=0.2)
    reader.close()
