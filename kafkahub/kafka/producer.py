"""Writing to Kafka: every record given gets an answer, and the answer never guesses."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol, cast

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from kafkahub.kafka.faults import (
    ALL_DOWN,
    OUTCOME_UNKNOWN,
    REFUSALS,
    REFUSED_RECORDS,
    KafkaUnavailable,
    Kind,
    OnError,
    Teller,
    kind_of,
    log_trouble,
)
from kafkahub.kafka.options import Options
from kafkahub.kafka.record import Entry, Position, Refused, Result, Written

POLL_S = 0.1
"""Longest time before the thread sees that it shall end; answers wake it at once."""
CLOSE_S = 16.0
"""A second above ``message.timeout.ms``: by then librdkafka has answered for every record."""
ANY_PARTITION = -1
UNREACHABLE_S = 15.0
"""After so long without any broker nothing is queued: its answer would only come later."""
PROBE_S = 1.0
"""While no broker is there, how often one is asked, and how long its answer is waited for."""

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


class _Entered(Protocol):
    """What the client tells of a record that is in Kafka."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...


class Batch:
    """Records given to Kafka together, and what became of each, in the same order.

    ``results`` is whole when the batch is handed over; threads settle records of it at once.
    """

    __slots__ = ("_left", "_lock", "results")

    def __init__(self, count: int) -> None:
        self.results: list[Result] = [UNANSWERED] * count
        self._left = count
        self._lock = threading.Lock()

    def settle(self, index: int, result: Result) -> bool:
        """Keep the result of one record; return whether it was the last one."""
        with self._lock:
            self.results[index] = result
            self._left -= 1
            return self._left == 0


UNANSWERED = Refused("unavailable", "Kafka gave no answer.", is_retriable=True, is_unknown=True)
FULL = Refused("unavailable", "The queue to Kafka is full.", is_retriable=True)
AWAY = Refused("unavailable", "No Kafka broker can be reached.", is_retriable=True)


class Producer:
    """Writes records, idempotently.

    Runs   ``produce`` and ``produce_all`` in any thread; answers come from one thread of its own
    Owns   that thread and one librdkafka producer, both made after fork
    Takes  records until librdkafka's queue is full, then refuses them
    Ends   ``close``, which waits for the answers that are out

    A producer that can write no more is replaced by a new one; what it still held is answered
    with OutcomeUnknown.

    hand_over  called with all batches that one round of delivery reports completed; in the thread
               of the answers, or within ``produce_all`` where nothing of a batch was taken
    """

    def __init__(
        self,
        options: Options,
        *,
        on_error: OnError = log_trouble,
        make: Callable[..., confluent_kafka.Producer] = confluent_kafka.Producer,
        hand_over: Callable[[Sequence[Batch]], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._hand_over = hand_over
        self._monotonic = monotonic
        self._complete: deque[Batch] = deque()
        self._away_since_s: float | None = None
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

    def produce_all(self, topic: str, entries: Sequence[Entry]) -> Batch:
        """Give records to Kafka in their order; the batch is handed over with all their results.

        Once the queue is full the rest is refused too, so that nothing overtakes what must be
        sent again.
        """
        batch = Batch(len(entries))
        refused = AWAY if self._is_away() else None
        for index, entry in enumerate(entries):
            if refused is None:
                result = self._give(topic, entry, batch, index)
                refused = FULL if result is FULL else None
            else:
                result = refused
            if result is not None and batch.settle(index, result):
                self._hand_over([batch])
        return batch

    def flush(self, deadline_s: float) -> None:
        """Wait until every record given so far has its answer.

        Raises KafkaUnavailable when some have none after ``deadline_s``.
        """
        left = self._client.flush(deadline_s)
        self._hand_over_complete()
        if left:
            raise KafkaUnavailable(f"{left} records have no answer after {deadline_s} s.")

    def close(self) -> None:
        """Wait for the answers that are out, then end the thread."""
        self._client.flush(CLOSE_S)
        self._is_closing.set()
        self._thread.join()
        self._hand_over_complete()

    def _give(self, topic: str, entry: Entry, batch: Batch, index: int) -> Refused | None:
        """Give one record to the client; return why it takes it not."""
        try:
            self._client.produce(
                topic,
                entry.value,
                entry.key,
                ANY_PARTITION if entry.partition is None else entry.partition,
                on_delivery=partial(self._note_result, batch, index),
                timestamp=entry.timestamp_ms or 0,
                headers=list(entry.headers),
            )
        except BufferError:
            return FULL
        except KafkaException as error:
            return _refusal(error.args[0])
        return None

    def _note_result(
        self, batch: Batch, index: int, error: KafkaError | None, entry: Message
    ) -> None:
        if batch.settle(index, _written(entry) if error is None else _refusal(error)):
            self._complete.append(batch)

    def _hand_over_complete(self) -> None:
        if self._complete:
            self._hand_over([self._complete.popleft() for _ in range(len(self._complete))])

    def _is_away(self) -> bool:
        since_s = self._away_since_s
        return since_s is not None and self._monotonic() - since_s >= UNREACHABLE_S

    def _run(self) -> None:
        while not self._is_closing.is_set():
            try:
                self._client.poll(POLL_S)
                self._hand_over_complete()
                if self._is_fatal:
                    self._replace()
                if self._away_since_s is not None:
                    self._probe()
            except Exception:  # the outermost loop: without it no future is answered
                log.exception("kafka.answering_failed")
                self._is_closing.wait(POLL_S)

    def _replace(self) -> None:
        """Go on with a new client; the old one's records are answered, then it is dropped."""
        old, self._client, self._is_fatal = self._client, self._new_client(), False
        old.purge(in_queue=True, in_flight=True)
        old.flush(POLL_S)

    def _probe(self) -> None:
        """Ask whether a broker is back: the client tells when all are gone, never of a return."""
        try:
            self._client.list_topics(timeout=PROBE_S)
        except KafkaException:
            self._is_closing.wait(POLL_S)
        else:
            self._away_since_s = None

    def _new_client(self) -> confluent_kafka.Producer:
        return self._make({**self._options}, error_cb=self._note, logger=_log)

    def _note(self, error: KafkaError) -> None:
        if error.fatal():
            self._is_fatal = True
        if error.code() == ALL_DOWN and self._away_since_s is None:
            self._away_since_s = self._monotonic()
        self._teller.tell(kind_of(error), None, None, error.str())


def _settle(answer: Answer, error: KafkaError | None, entry: Message) -> None:
    if error is not None:
        answer.set_exception(_failure(error))
        return
    # The client's stubs let everything be None, because one class serves errors as well.
    written = cast("_Entered", entry)
    answer.set_result(Position(written.topic(), written.partition(), written.offset()))


def _written(entry: Message) -> Written:
    entered = cast("_Entered", entry)  # as in ``_settle``
    kind, timestamp_ms = entered.timestamp()
    known = kind != confluent_kafka.TIMESTAMP_NOT_AVAILABLE
    return Written(entered.partition(), entered.offset(), timestamp_ms if known else None)


def _refusal(error: KafkaError) -> Refused:
    """Return a failed record in our words; the broker's own text may name its insides."""
    if error.code() in REFUSED_RECORDS:
        code, text = REFUSED_RECORDS[error.code()]
        return Refused(code, text)
    if error.code() in OUTCOME_UNKNOWN or kind_of(error) is Kind.FATAL:
        text = "Kafka did not confirm in time; the record may have been written."
        return Refused("unavailable", text, is_retriable=True, is_unknown=True)
    if kind_of(error) in REFUSALS:
        return Refused("internal_error", "Kafka refused this installation.")
    return Refused("unavailable", "Kafka did not take the record.", is_retriable=True)


def _failure(error: KafkaError) -> KafkaUnavailable:
    if error.code() in OUTCOME_UNKNOWN or kind_of(error) is Kind.FATAL:
        return OutcomeUnknown(f"Kafka gave no answer: {error.str()}")
    return NotWritten(_refused(error))


def _refused(error: KafkaError) -> str:
    return f"Kafka refused the record: {error.str()}"
