"""Writing to Kafka: every record given gets an answer, and the answer never guesses."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol, cast

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from kafkahub.kafka.faults import (
    OUTCOME_UNKNOWN,
    KafkaUnavailable,
    Kind,
    OnError,
    Teller,
    kind_of,
    log_trouble,
)
from kafkahub.kafka.options import Options
from kafkahub.kafka.record import Position

POLL_S = 0.1
"""Longest time before the thread sees that it shall end; answers wake it at once."""
CLOSE_S = 16.0
"""A second above ``message.timeout.ms``: by then librdkafka has answered for every record."""
ANY_PARTITION = -1

Answer = Future[Position]

_log = logging.getLogger(__name__)
"""Takes librdkafka's own lines."""

log = structlog.get_logger()


class NotWritten(KafkaUnavailable):
    """The record is certainly not in Kafka."""

    title = "The record was not written"


class OutcomeUnknown(KafkaUnavailable):
    """The record may be in Kafka or not; nobody can tell any more."""

    title = "Whether the record was written is unknown"


class _Written(Protocol):
    """What the client tells of a record that is in Kafka."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...


class Producer:
    """Writes records, idempotently.

    Runs   ``produce`` in any thread; answers are given by one thread of its own
    Owns   that thread and one librdkafka producer, both made after fork
    Takes  records until librdkafka's queue is full, then refuses them
    Ends   ``close``, which waits for the answers that are out

    A producer that can write no more is replaced by a new one; what it still held is answered
    with OutcomeUnknown.
    """

    def __init__(
        self,
        options: Options,
        *,
        on_error: OnError = log_trouble,
        make: Callable[..., confluent_kafka.Producer] = confluent_kafka.Producer,
    ) -> None:
        self._options = options
        self._teller = Teller(on_error)
        self._make = make
        self._is_fatal = False
        self._is_closing = threading.Event()
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._run, name="kafka-producer", daemon=True)
        self._thread.start()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Answer:
        """Give a record to Kafka; the future holds its position, NotWritten or OutcomeUnknown.

        partition     None lets the key decide
        timestamp_ms  None is now
        Raises NotWritten at once when the queue is full or the record cannot be taken at all.
        """
        answer: Answer = Future()
        answer.set_running_or_notify_cancel()  # what librdkafka holds cannot be called back
        try:
            self._client.produce(
                topic,
                value,
                key,
                ANY_PARTITION if partition is None else partition,
                on_delivery=lambda error, entry: _settle(answer, error, entry),
                timestamp=timestamp_ms or 0,
                headers=list(headers),
            )
        except BufferError:
            raise NotWritten("The queue to Kafka is full.", retry_after_s=1) from None
        except KafkaException as error:
            raise NotWritten(_refused(error.args[0])) from error
        return answer

    def flush(self, deadline_s: float) -> None:
        """Wait until every record given so far has its answer.

        Raises KafkaUnavailable when some have none after ``deadline_s``.
        """
        left = self._client.flush(deadline_s)
        if left:
            raise KafkaUnavailable(f"{left} records have no answer after {deadline_s} s.")

    def close(self) -> None:
        """Wait for the answers that are out, then end the thread."""
        self._client.flush(CLOSE_S)
        self._is_closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closing.is_set():
            try:
                self._client.poll(POLL_S)
                if self._is_fatal:
                    self._replace()
            except Exception:  # the outermost loop: without it no future is answered
                log.exception("kafka.answering_failed")
                self._is_closing.wait(POLL_S)

    def _replace(self) -> None:
        """Go on with a new client; the old one's records are answered, then it is dropped."""
        old, self._client, self._is_fatal = self._client, self._new_client(), False
        old.purge(in_queue=True, in_flight=True)
        old.flush(POLL_S)

    def _new_client(self) -> confluent_kafka.Producer:
        return self._make({**self._options}, error_cb=self._note, logger=_log)

    def _note(self, error: KafkaError) -> None:
        if error.fatal():
            self._is_fatal = True
        self._teller.tell(kind_of(error), None, None, error.str())


def _settle(answer: Answer, error: KafkaError | None, entry: Message) -> None:
    if error is not None:
        answer.set_exception(_failure(error))
        return
    # The client's stubs let everything be None, because one class serves errors as well.
    written = cast("_Written", entry)
    answer.set_result(Position(written.topic(), written.partition(), written.offset()))


def _failure(error: KafkaError) -> KafkaUnavailable:
    if error.code() in OUTCOME_UNKNOWN or kind_of(error) is Kind.FATAL:
        return OutcomeUnknown(f"Kafka gave no answer: {error.str()}")
    return NotWritten(_refused(error))


def _refused(error: KafkaError) -> str:
    return f"Kafka refused the record: {error.str()}"
