"""What can go wrong with Kafka, in our words.

Errors a caller can answer are exceptions; what a client mends by itself is told to an ``OnError``
callback, so that it can be counted and logged, and never stops a reader.
"""
# ruff: noqa: SLF001  the client's own errors are public names that begin with an underscore

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

import structlog
from confluent_kafka import KafkaError

from kafkahub.errors import Unavailable

log = structlog.get_logger()


class KafkaUnavailable(Unavailable):
    """Kafka did not answer, or not usefully; nothing was done."""

    title = "Kafka is not available"


class UnknownTopic(Exception):
    """Kafka has no such topic, or no such partition of it."""


class NoAdminApi(Exception):
    """The in-memory cluster cannot answer this; a real broker can."""


class NotAssigned(Exception):
    """The partition is not, or not any more, one that this consumer reads."""


class ConsumerBroken(Exception):
    """The consumer cannot go on; it must be closed and a new one made."""


class OutOfRange(NamedTuple):
    """A partition stands still because its position is not in the log; ``seek`` moves it on.

    offset     where reading should have gone on
    low, high  first offset there is, and the one the next record will get
    """

    topic: str
    partition: int
    offset: int
    low: int
    high: int


class Kind(StrEnum):
    """Kinds of trouble that a client mends, or keeps trying to; they are metric labels too."""

    TRANSPORT = "transport"
    AUTHENTICATION = "authentication"
    TLS = "tls"
    AUTHORIZATION = "authorization"
    UNKNOWN_TOPIC = "unknown_topic"
    POLL_INTERVAL = "poll_interval"
    HEADER_NAME = "header_name"
    COMMIT = "commit"
    FATAL = "fatal"
    OTHER = "other"


OnError = Callable[[Kind, str | None, int | None, str], None]
"""Called with the kind, topic and partition where known, and librdkafka's text."""

REFUSALS = frozenset({Kind.AUTHENTICATION, Kind.TLS, Kind.AUTHORIZATION})
"""Kinds that no waiting mends: somebody must change settings or rights."""

ALL_DOWN: Final = KafkaError._ALL_BROKERS_DOWN
END_OF_PARTITION: Final = KafkaError._PARTITION_EOF
NO_SUCH_OFFSET: Final = KafkaError._AUTO_OFFSET_RESET
NOT_OURS: Final = KafkaError._STATE
"""What librdkafka answers about a partition that a rebalance took away."""
OUTCOME_UNKNOWN: Final = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._FATAL,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
)
"""Answers after which a record may be in the log or not."""

REFUSED_RECORDS: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: ("record_too_large", "The record is larger than Kafka takes."),
    KafkaError.INVALID_MSG_SIZE: ("record_too_large", "The record is larger than Kafka takes."),
    KafkaError.RECORD_LIST_TOO_LARGE: (
        "record_too_large",
        "The record is larger than Kafka takes.",
    ),
    KafkaError._UNKNOWN_PARTITION: ("partition_not_found", "The topic has no such partition."),
    KafkaError.INVALID_TIMESTAMP: ("record_refused", "Kafka does not take this timestamp."),
    KafkaError.INVALID_RECORD: ("record_refused", "The topic does not take such a record."),
    KafkaError.POLICY_VIOLATION: ("record_refused", "The topic does not take such a record."),
}
"""Answers about the record itself, which no waiting mends: promised code and text."""

_KINDS = {
    KafkaError._TRANSPORT: Kind.TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN: Kind.TRANSPORT,
    KafkaError._RESOLVE: Kind.TRANSPORT,
    KafkaError._TIMED_OUT: Kind.TRANSPORT,
    KafkaError._AUTHENTICATION: Kind.AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED: Kind.AUTHENTICATION,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: Kind.AUTHENTICATION,
    KafkaError._SSL: Kind.TLS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Kind.AUTHORIZATION,
    KafkaError.GROUP_AUTHORIZATION_FAILED: Kind.AUTHORIZATION,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: Kind.AUTHORIZATION,
    KafkaError.UNKNOWN_TOPIC_OR_PART: Kind.UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_TOPIC: Kind.UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION: Kind.UNKNOWN_TOPIC,
    KafkaError._MAX_POLL_EXCEEDED: Kind.POLL_INTERVAL,
}

TELL_AGAIN_S = 10.0
"""While a broker is away librdkafka tries 20 times a second and tells each time."""


class Teller:
    """Hands trouble on, the same kind of the same partition once in ``TELL_AGAIN_S``.

    Runs  in the threads that poll a client; two of them may at worst tell the same twice
    """

    def __init__(self, on_error: OnError, now: Callable[[], float] = time.monotonic) -> None:
        self._on_error = on_error
        self._now = now
        self._told: dict[tuple[Kind, str | None, int | None], float] = {}

    def tell(self, kind: Kind, topic: str | None, partition: int | None, text: str) -> None:
        """Call ``on_error`` unless it was told of this a moment ago."""
        now = self._now()
        if now - self._told.get((kind, topic, partition), -TELL_AGAIN_S) >= TELL_AGAIN_S:
            self._told[kind, topic, partition] = now
            self._on_error(kind, topic, partition, text)


def kind_of(error: KafkaError) -> Kind:
    """Return the kind of an error that librdkafka reports."""
    return Kind.FATAL if error.fatal() else _KINDS.get(error.code(), Kind.OTHER)


def log_trouble(kind: Kind, topic: str | None, partition: int | None, text: str) -> None:
    """Log trouble that a client mends by itself; the ``OnError`` of those who count nothing."""
    log.warning("kafka.troubled", kind=kind, topic=topic, partition=partition, reason=text)
