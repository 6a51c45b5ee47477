"""What the reading loop does with entries that a broker can hardly be brought to send."""

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.faults import ConsumerBroken, Kind, Teller
from kafkahub.kafka.intake import Intake
from kafkahub.kafka.record import Position


class Entry:
    """An entry of the client's queue."""

    def __init__(self, partition: int, offset: int, *, has_bad_header: bool = False) -> None:
        self._place = (partition, offset)
        self._has_bad_header = has_bad_header

    def error(self) -> KafkaError | None:
        return None

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def timestamp(self) -> tuple[int, int]:
        return (0, -1)

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b"{}"

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        if self._has_bad_header:
            raise SystemError("returned a result with an exception set")
        return None


@pytest.fixture
def told() -> list[Kind]:
    return []


@pytest.fixture
def intake(told: list[Kind]) -> Iterator[Intake]:
    nowhere = config.load().model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    made = Intake(
        options.reader_options(nowhere),
        on_error=lambda kind, *_: told.append(kind),
        on_out_of_range=lambda _: None,
    )
    made.add([Position("orders", 0, 0), Position("orders", 1, 0)])
    yield made
    made.close()


def test_a_record_without_a_time_has_none(intake: Intake) -> None:
    [record] = intake._records([Entry(0, 0)])

    assert record.timestamp_ms is None


def test_a_header_name_that_is_no_text_costs_the_headers_and_not_the_record(
    intake: Intake, told: list[Kind]
) -> None:
    records = intake._records([Entry(0, 6), Entry(0, 7, has_bad_header=True), Entry(0, 8)])

    assert [(record.offset, record.headers) for record in records] == [(6, ()), (7, ()), (8, ())]
    assert told == [Kind.HEADER_NAME]


def test_each_run_of_a_partition_moves_its_position(intake: Intake) -> None:
    intake._records([Entry(0, 4), Entry(0, 5), Entry(1, 9), Entry(0, 6)])

    assert (intake.position(("orders", 0)), intake.position(("orders", 1))) == (7, 10)


def test_records_of_a_partition_that_is_gone_are_dropped(intake: Intake) -> None:
    intake.remove([("orders", 0)])

    records = intake._records([Entry(0, 4), Entry(0, 5), Entry(1, 0), Entry(0, 6), Entry(1, 1)])

    assert [(record.partition, record.offset) for record in records] == [(1, 0), (1, 1)]
    assert intake.parts() == {("orders", 1)}


def test_a_partition_that_came_back_while_reading_begins_at_its_new_place(intake: Intake) -> None:
    batch = [Entry(0, 7), Entry(1, 3)]
    intake._moved.clear()
    intake.remove([("orders", 0)])
    intake.add([Position("orders", 0, 5)])

    records = intake._without_moved(intake._records(batch))

    assert [(record.partition, record.offset) for record in records] == [(1, 3)]
    assert intake.position(("orders", 0)) == 5


def test_the_same_trouble_is_told_once_in_a_while() -> None:
    told: list[str] = []
    now = [0.0]
    teller = Teller(lambda *parts: told.append(parts[3]), now=lambda: now[0])

    for second, text in ((0.0, "a"), (1.0, "b"), (9.9, "c"), (10.0, "d")):
        now[0] = second
        teller.tell(Kind.TRANSPORT, None, None, text)
    teller.tell(Kind.TLS, None, None, "other")

    assert told == ["a", "d", "other"]


def test_after_a_fatal_error_nothing_is_read_any_more(intake: Intake, told: list[Kind]) -> None:
    intake._note_client_error(KafkaError(KafkaError._FATAL, "fenced", fatal=True))

    with pytest.raises(ConsumerBroken, match="fenced"):
        intake.read(1, 0)
    assert told == [Kind.FATAL]


def test_a_refusal_is_forgotten_once_something_was_read(intake: Intake) -> None:
    intake._note_client_error(KafkaError(KafkaError._AUTHENTICATION, "no"))
    refused = intake.refused
    intake._note_entry(Entry(0, 4), KafkaError(KafkaError._PARTITION_EOF))

    assert (refused, intake.refused) == (Kind.AUTHENTICATION, None)
    assert intake.is_at_end(("orders", 0))
