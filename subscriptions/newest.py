"""The newest records of a topic: for trying a filter or a grant, never for reading.

Asks Kafka, so nothing here may run inside a transaction.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from kafkahub import clock, config
from kafkahub.errors import NotFound, Unavailable
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import UnknownTopic
from kafkahub.kafka.options import reader_options
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from subscriptions.access import authorize_and_project
from subscriptions.grant_rows import live_grant
from subscriptions.grants import Grant
from subscriptions.models import Grant as GrantRow
from subscriptions.models import Topic
from subscriptions.rows import live_topic

DEADLINE_S = 3.0
"""Longest look, in seconds; what was found by then is what there is."""
READ_S = 0.2
SPARE = 5
"""Records read for each that is wanted: a grant may hide some of them."""
MAX_READ = 2_000
MAX_READERS = 4
"""Looks at one time: each is a Kafka client of 2.4 MB and 6 threads."""

_readers = threading.BoundedSemaphore(MAX_READERS)


def records(partner: str, topic: Topic, count: int, admin: Admin) -> list[Record]:
    """Return up to ``count`` of the newest records that the partner may read, newest first.

    topic  one that exists for who asks

    Raises NotFound without a grant to read it, and Unavailable when Kafka does not answer, or too
    many look at once.
    """
    grant = _grant(partner, topic)
    found = whole(grant.topic, min(count * SPARE, MAX_READ), admin)
    now_ms = int(clock.now().timestamp() * 1000)
    seen = (authorize_and_project(record, grant, now_ms) for record in found)
    return [record for record in seen if record is not None][:count]


def whole(topic: str, count: int, admin: Admin) -> list[Record]:
    """Return about ``count`` of the newest records as they are, newest first: for operators only.

    Raises Unavailable as ``records`` does.
    """
    try:
        marks = admin.watermarks(topic, DEADLINE_S)
    except UnknownTopic:
        return []
    starts = _starts(topic, marks, count)
    found = _read(starts) if starts else []
    found.sort(key=lambda record: (record.timestamp_ms or 0, record.offset), reverse=True)
    return found


def _grant(partner: str, topic: Topic) -> Grant:
    rows = GrantRow.objects.alive().filter(topic=topic, action=GrantRow.Action.READ)
    row = rows.filter(partner_id=partner).first()
    grant = None if row is None else live_grant(row, live_topic(topic))
    if grant is None:
        raise NotFound
    return grant


def _starts(topic: str, marks: dict[int, tuple[int, int]], count: int) -> list[Position]:
    """Return where to begin in each partition that holds anything."""
    filled = {number: mark for number, mark in marks.items() if mark[0] < mark[1]}
    each = max(1, count // max(1, len(filled)))
    return [
        Position(topic, number, max(low, high - each))
        for number, (low, high) in sorted(filled.items())
    ]


def _read(starts: list[Position]) -> list[Record]:
    found: list[Record] = []
    with _reader() as reader:
        reader.assign(starts)
        deadline_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline_s and len(found) < MAX_READ:
            found += reader.read(MAX_READ, READ_S)
            if all(reader.is_at_end(start.topic, start.partition) for start in starts):
                break
    return found


@contextmanager
def _reader() -> Iterator[Reader]:
    if not _readers.acquire(timeout=DEADLINE_S):
        raise Unavailable("Too many look at newest records just now; try again in a moment.")
    try:
        options = reader_options(config.load())
        with closing(Reader(options, on_out_of_range=lambda _: None)) as reader:
            yield reader
    finally:
        _readers.release()
