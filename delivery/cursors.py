"""The cursor of one record, as the other doors take it: reading from there begins with it."""

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from delivery.models import DeliveryAttempt, ParkedDelivery
from kafkahub import clock
from kafkahub.fields import encryption_ring
from kafkahub.kafka.faults import KafkaUnavailable
from subscriptions import cursor, ownership, sealing, starts
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition

ASK_S = 1.0
"""Longest wait for the cluster's id, in seconds: a list is worth more than its cursors."""
ASK_AGAIN_S = 30.0
"""After no answer: lists do not wait again for so long."""


class ClusterTag:
    """The tag of the cluster's id, asked once; None while Kafka does not answer.

    Runs   in any thread
    ask    returns the cluster's id within the seconds given, or raises KafkaUnavailable
    """

    def __init__(
        self, ask: Callable[[float], str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._tag: bytes | None = None
        self._not_before = float("-inf")

    def get(self) -> bytes | None:
        with self._lock:
            if self._tag is None and self._monotonic() >= self._not_before:
                try:
                    self._tag = cursor.tag(self._ask(ASK_S))
                except KafkaUnavailable:
                    self._not_before = self._monotonic() + ASK_AGAIN_S
            return self._tag


_cluster = ClusterTag(lambda deadline_s: starts.process_admin().cluster_id(deadline_s))


def cluster_tag() -> bytes | None:
    """Return the tag of the cluster; None while Kafka does not answer."""
    return _cluster.get()


def shown_with(partner: str) -> dict[str, Any]:
    """Return the context in which rows of a partner are shown: ``cursor_of`` and ``telling``."""
    telling = ownership.telling_of(partner)
    return {"cursor_of": CursorWriter(partner, telling.plain).of, "telling": telling}


class CursorWriter:
    """Writes cursors for one partner: in the open, or sealed where its grants hide something.

    plain  topics whose cursors are in the open
    """

    def __init__(self, partner: str, plain: Collection[str]) -> None:
        self._plain = plain
        self._sealer = sealing.sealer(encryption_ring(), partner, clock.now())

    def of(self, row: DeliveryAttempt | ParkedDelivery) -> str | None:
        """Return the cursor at the record of a row; None for a test, and while Kafka is away."""
        cluster = cluster_tag() if row.partition >= 0 else None
        if cluster is None:
            return None
        time_ms = 0 if row.record_time is None else int(row.record_time.timestamp() * 1000)
        place = TopicPosition(cursor.tag(row.topic), NO_EPOCH, {row.partition: row.offset})
        return self.write(Cursor(cluster, time_ms, (place,)), {row.topic})

    def write(self, position: Cursor, topics: Collection[str]) -> str | None:
        """Return a position in these topics as a token; None where it would be too long."""
        if all(topic in self._plain for topic in topics):
            return cursor.encode(position)
        return self._sealer.seal(position)
