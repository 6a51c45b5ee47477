"""Producing: every record has an answer, and refusals say whether it was written."""

import threading

import pytest
from confluent_kafka import KafkaError

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.faults import KafkaUnavailable
from kafkahub.kafka.producer import NotWritten, OutcomeUnknown, Producer
from kafkahub.kafka.record import Position

NOWHERE = "127.0.0.1:1"


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
