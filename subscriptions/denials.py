"""Tells operators of records that nobody gets because a grant cannot look into them."""

import structlog

from kafkahub.kafka.record import Record
from kafkahub.observability import metrics
from subscriptions import access
from subscriptions.grants import Grant

TELL_MS = 60_000
"""Between two lines of the log about one grant."""

log = structlog.get_logger()
undecodable_records = metrics.counter(
    "grant_undecodable_total", "Records that a grant's rules could not look into.", ["topic"]
)

_told: dict[str, int] = {}


def note(record: Record, grant: Grant, now_ms: int, reason: str) -> None:
    """Count a record, and say so once a minute for each grant."""
    undecodable_records.labels(record.topic).inc()
    if now_ms - _told.get(grant.id, -TELL_MS) >= TELL_MS:
        _told[grant.id] = now_ms
        log.error(
            "grant.found_undecodable",
            grant=grant.id,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=reason,
        )


def watch() -> None:
    """Begin; once in a process."""
    access.on_denied(note)
