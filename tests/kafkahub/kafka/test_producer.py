"""Producing: every record has an answer, and refusals say whether it was written."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.producer import AWAY, Batch, NotWritten, OutcomeUnknown, Producer
from kafkahub.kafka.record import Entry, Position, Refused, Written

NOWHERE = "127.0.0.1:1"
IN_MEMORY_MS = 1234
"""When the in-memory cluster says that every record was appended."""


def test_a_record_is_answered_with_its_place(producer: Producer, topic: str) -> None:
    answers = [producer.produce(topic, b"a", partition=2) for _ in range(3)]

    assert [answer.result(timeout=20) for answer in answers] == [
        Position(topic, 2, offset) for offset in range(3)
    ]


def test_the_key_decides_the_partition(producer: Producer, topic: str) -> None:
    answers = [producer.produce(topic, b"a", b"c-17") for _ in range(3)]

    assert len({answer.result(timeout=20).partition for answer in answers}) == 1


def test_a_partition_that_is_not_there_is_refused(producer: Producer, topic: str) -> None:
    with pytest.raises(NotWritten):
        producer.produce(topic, b"a", partition=99).result(timeout=20)


def test_a_record_that_is_too_large_is_refused_at_once(producer: Producer, topic: str) -> None:
    with pytest.raises(NotWritten):
        producer.produce(topic, bytes(2_000_000))


def test_flush_waits_for_all_answers(producer: Producer, topic: str) -> None:
    answers = [producer.produce(topic, b"a") for _ in range(500)]

    producer.flush(20)

    assert all(answer.done() for answer in answers)


def test_without_a_broker_the_outcome_is_unknown_and_a_full_queue_says_come_again() -> None:
    settings = config.load().model_copy(update={"kafka_bootstrap": NOWHERE})
    changed: options.Options = {"message.timeout.ms": 200, "queue.buffering.max.messages": 1}
    producer = Producer(options.producer_options(settings) | changed, on_error=lambda *_: None)

    answer = producer.produce("orders", b"a", partition=0)
    with pytest.raises(NotWritten) as full:
        producer.produce("orders", b"b", partition=0)
    with pytest.raises(KafkaUnavailable):
        producer.flush(0.01)

    assert full.value.retry_after_s == 1
    assert isinstance(answer.exception(timeout=20), OutcomeUnknown)
    producer.close()


def test_a_producer_that_can_write_no_more_is_replaced() -> None:
    clients: list[FakeClient] = []

    def make(conf: dict[str, object], **callbacks: object) -> "FakeClient":
        clients.append(FakeClient(callbacks["error_cb"]))
        return clients[-1]

    producer = Producer({}, on_error=lambda *_: None, make=make)  # type: ignore[arg-type]  # a fake
    stuck = producer.produce("orders", b"a")
    clients[0].fail()

    assert isinstance(stuck.exception(timeout=20), OutcomeUnknown)
    producer.produce("orders", b"b")
    assert len(clients[1].waiting) == 1
    producer.close()


class FakeClient:
    """librdkafka's producer, which nobody can bring to a fatal error from outside."""

    def __init__(self, error_cb: object) -> None:
        self.error_cb = error_cb
        self.waiting: list[object] = []
        self.error: KafkaError | None = None
        self.failed = threading.Event()

    def produce(self, *_: object, on_delivery: object, **__: object) -> None:
        self.waiting.append(on_delivery)

    def fail(self) -> None:
        self.error = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
        self.failed.set()

    def poll(self, timeout: float) -> int:
        self.failed.wait(timeout)
        if self.error is not None:
            error, self.error = self.error, None
            self.failed.clear()
            self.error_cb(error)  # type: ignore[operator]  # the callback of the producer
        return 0

    def purge(self, **_: object) -> None:
        for answer in self.waiting:
            answer(KafkaError(KafkaError._PURGE_INFLIGHT), None)  # type: ignore[operator]  # as above

    def flush(self, _: float) -> int:
        return 0


@pytest.fixture
def handed() -> queue.Queue[Batch]:
    """Return where batches go that are complete."""
    return queue.Queue()


@pytest.fixture
def sharing(settings: config.Config, handed: queue.Queue[Batch]) -> Iterator[Producer]:
    """Return a producer that hands batches over."""
    made = Producer(options.producer_options(settings), hand_over=put_each(handed))
    yield made
    made.close()


def put_each(handed: queue.Queue[Batch]) -> Callable[[Sequence[Batch]], None]:
    def put(batches: Sequence[Batch]) -> None:
        for batch in batches:
            handed.put(batch)

    return put


def test_a_batch_is_handed_over_with_the_place_of_each_record(
    sharing: Producer, handed: queue.Queue[Batch], topic: str
) -> None:
    given = sharing.produce_all(topic, [Entry(None, b"%d" % n, partition=1) for n in range(50)])

    batch = handed.get(timeout=20)

    assert batch is given
    places = [(one.partition, one.offset) for one in batch.results if isinstance(one, Written)]
    assert places == [(1, offset) for offset in range(50)]


def test_a_written_record_tells_the_time_that_kafka_keeps(
    sharing: Producer, handed: queue.Queue[Batch], topic: str
) -> None:
    sharing.produce_all(topic, [Entry(None, b"a", timestamp_ms=1_700_000_000_123)])

    (result,) = handed.get(timeout=20).results

    assert isinstance(result, Written)
    assert result.timestamp_ms in {1_700_000_000_123, IN_MEMORY_MS}


def test_one_bad_record_does_not_stop_the_others(
    sharing: Producer, handed: queue.Queue[Batch], topic: str
) -> None:
    entries = [Entry(None, b"a"), Entry(None, bytes(2_000_000)), Entry(None, b"c", partition=99)]
    sharing.produce_all(topic, [*entries, Entry(None, b"d")])

    first, large, astray, last = handed.get(timeout=20).results

    assert isinstance(first, Written)
    assert isinstance(last, Written)
    assert isinstance(large, Refused)
    assert (large.code, large.is_retriable, large.is_unknown) == ("record_too_large", False, False)
    assert isinstance(astray, Refused)
    assert astray.code == "partition_not_found"


def nowhere(handed: queue.Queue[Batch], **more: Any) -> Producer:
    """Return a producer without a broker, with a queue of two records."""
    settings = config.load().model_copy(update={"kafka_bootstrap": NOWHERE})
    changed: options.Options = {"message.timeout.ms": 200, "queue.buffering.max.messages": 2}
    return Producer(
        options.producer_options(settings) | changed,
        on_error=lambda *_: None,
        hand_over=put_each(handed),
        **more,
    )


def test_nothing_overtakes_a_record_that_found_the_queue_full(
    handed: queue.Queue[Batch],
) -> None:
    producer = nowhere(handed)

    producer.produce_all("orders", [Entry(None, b"%d" % n, partition=0) for n in range(4)])

    results = [one for one in handed.get(timeout=20).results if isinstance(one, Refused)]
    assert [one.is_unknown for one in results] == [True, True, False, False]
    assert [one.code for one in results] == ["unavailable"] * 4
    producer.close()


def test_a_batch_of_which_nothing_was_taken_is_handed_over_at_once(
    handed: queue.Queue[Batch],
) -> None:
    producer = nowhere(handed)

    producer.produce_all("orders", [Entry(None, bytes(2_000_000))])

    assert not handed.empty()
    producer.close()


def test_after_15_s_without_any_broker_nothing_is_queued(handed: queue.Queue[Batch]) -> None:
    hour = itertools.count(step=3600)
    producer = nowhere(handed, monotonic=lambda: float(next(hour)))
    until = time.monotonic() + 20

    while not refused_at_once(producer, handed):
        assert time.monotonic() < until, "records are still queued"

    producer.close()


def refused_at_once(producer: Producer, handed: queue.Queue[Batch]) -> bool:
    """Return whether the next record is refused as certainly not written."""
    producer.produce_all("orders", [Entry(None, b"a", partition=0)])
    (result,) = handed.get(timeout=20).results
    return result is AWAY
