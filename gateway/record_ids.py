"""The ids by which partners know records: at every door the one that a webhook's body has."""

import functools
from collections.abc import Callable

from kafkahub.kafka.record import Record
from subscriptions import identity
from subscriptions.identity import Identity

MAX_MAKERS = 4_096
"""Partitions times partners of which the hashed beginning is kept, about 500 bytes each."""


class RecordIds:
    """Makes record ids, in any thread.

    key      the id key, which never changes
    cluster  returns Kafka's cluster id; asked only where a record was read, so it is known
    """

    def __init__(self, key: bytes, cluster: Callable[[], str]) -> None:
        self._key = key
        self._cluster = cluster
        self._maker = functools.lru_cache(MAX_MAKERS)(self._make)

    def of(self, record: Record, partner: str) -> str:
        """Return the id by which a partner drops copies of a record."""
        return self._maker(record.topic, record.partition, partner).of(record.offset)

    def _make(self, topic: str, partition: int, partner: str) -> Identity:
        cluster = self._cluster()
        return identity.records(
            self._key, cluster, topic=topic, partition=partition, partner=partner
        )
