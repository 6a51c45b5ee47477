"""What partners use, counted in memory and added to the table of hours twice a minute."""

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import structlog
from django.db import DatabaseError, connection
from django.db.models import F, QuerySet, Sum
from django.db.models.functions import TruncDay

from kafkahub import clock
from subscriptions.flushing import Flusher
from subscriptions.models import UsageHour

KEPT = timedelta(days=90)
FLUSH_S = 30.0
"""Time between two writes: the current hour is never shown older than a minute."""
MAX_KEYS = 50_000
"""Counters kept while PostgreSQL is away; beyond, the hour is counted without its topic."""
HOUR_S = 3_600

log = structlog.get_logger()


class Key(NamedTuple):
    """What is counted apart; ``hour`` is Unix time in whole hours."""

    partner: str
    hour: int
    door: str
    topic: str


@dataclass(slots=True)
class Used:
    """How much.

    refused          requests over a limit
    records_in       written
    records_failed   certainly not written
    records_unknown  maybe written
    records_lost     of these two, the ones that were answered before (``ack=enqueued``)
    """

    requests: int = 0
    refused: int = 0
    records_in: int = 0
    bytes_in: int = 0
    records_out: int = 0
    bytes_out: int = 0
    records_failed: int = 0
    records_unknown: int = 0
    records_lost: int = 0

    def add(self, other: "Used") -> None:
        self.requests += other.requests
        self.refused += other.refused
        self.records_in += other.records_in
        self.bytes_in += other.bytes_in
        self.records_out += other.records_out
        self.bytes_out += other.bytes_out
        self.records_failed += other.records_failed
        self.records_unknown += other.records_unknown
        self.records_lost += other.records_lost


COLUMNS = tuple(each.name for each in fields(Used))

ADD = """
INSERT INTO subscriptions_usagehour AS kept
       (partner_id, hour, door, topic,
        requests, refused, records_in, bytes_in, records_out, bytes_out,
        records_failed, records_unknown, records_lost)
SELECT u.partner, to_timestamp(u.hour * 3600.0), u.door, u.topic,
       u.requests, u.refused, u.records_in, u.bytes_in, u.records_out, u.bytes_out,
       u.records_failed, u.records_unknown, u.records_lost
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
              %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
              %s::bigint[])
       AS u(partner, hour, door, topic,
            requests, refused, records_in, bytes_in, records_out, bytes_out,
            records_failed, records_unknown, records_lost)
  JOIN subscriptions_partner AS p ON p.id = u.partner
 ORDER BY u.partner, u.hour, u.door, u.topic
ON CONFLICT (partner_id, hour, door, topic) DO UPDATE SET
       requests = kept.requests + EXCLUDED.requests,
       refused = kept.refused + EXCLUDED.refused,
       records_in = kept.records_in + EXCLUDED.records_in,
       bytes_in = kept.bytes_in + EXCLUDED.bytes_in,
       records_out = kept.records_out + EXCLUDED.records_out,
       bytes_out = kept.bytes_out + EXCLUDED.bytes_out,
       records_failed = kept.records_failed + EXCLUDED.records_failed,
       records_unknown = kept.records_unknown + EXCLUDED.records_unknown,
       records_lost = kept.records_lost + EXCLUDED.records_lost
"""  # by the unique index usage_once_an_hour, in one order of row locks in all processes


class Usage:
    """Counts for one process. Shared by all threads and the event loop.

    Runs   one thread between ``start`` and ``stop``, which writes
    Owns   the counters; what could not be written stays and is written with the next
    Ends   ``stop`` writes once more
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, Used] = {}
        self._flusher = Flusher("usage", FLUSH_S, self.flush)

    def note(self, partner: str, door: str, used: Used, topic: str = "") -> None:
        """Count what was used just now; memory only.

        door   ``control``, ``sse``, ``websocket``, ``rest``, ``grpc``, ``webhook``
        topic  one that the partner is granted, or "": names that anybody invents would fill memory
        """
        key = Key(partner, clock.unix_seconds() // HOUR_S, door, topic)
        with self._lock:
            self._add(key, used)

    def _add(self, key: Key, used: Used) -> None:
        found = self._counts.get(key)
        if found is None:
            if len(self._counts) >= MAX_KEYS:
                key = key._replace(topic="")
            found = self._counts.setdefault(key, Used())
        found.add(used)

    def start(self) -> None:
        self._flusher.start()

    def stop(self) -> None:
        self._flusher.stop()

    def flush(self) -> None:
        """Write what was counted since the last time; raises nothing while PostgreSQL is away."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            _write(counts)
        except DatabaseError as error:
            log.warning("usage.not_written", counters=len(counts), error=type(error).__name__)
            with self._lock:
                for key, used in counts.items():
                    self._add(key, used)


def _write(counts: Mapping[Key, Used]) -> None:
    keys, values = list(counts), list(counts.values())
    columns: list[list[object]] = [
        [key.partner for key in keys],
        [key.hour for key in keys],
        [key.door for key in keys],
        [key.topic for key in keys],
        *([getattr(used, name) for used in values] for name in COLUMNS),
    ]
    with connection.cursor() as cursor:
        cursor.execute(ADD, columns)


def totals(rows: QuerySet[UsageHour], per: Literal["day", "hour"]) -> QuerySet[Any, Any]:
    """Return sums by period, topic and door, as named tuples of these and ``COLUMNS``."""
    period = TruncDay("hour") if per == "day" else F("hour")
    return (
        rows.annotate(period=period)
        .values("period", "topic", "door")
        .annotate(**{f"{name}_sum": Sum(name) for name in COLUMNS})
        .values_list("period", "topic", "door", *(f"{name}_sum" for name in COLUMNS), named=True)
    )


@functools.cache
def process_usage() -> Usage:
    """Return the one of this process."""
    return Usage()
