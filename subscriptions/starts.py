"""Where a new subscription begins, as offsets: fixed before the transaction that makes it."""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from kafkahub import clock, config
from kafkahub.errors import Fault, Invalid, Unavailable
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import NoAdminApi, UnknownTopic
from kafkahub.kafka.options import admin_options
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition, tag

Starts = Mapping[tuple[str, int], int]
"""Next offset by topic and partition."""


@dataclass(frozen=True, slots=True)
class Latest:
    """From the end of the log: every record appended afterwards is owed."""


@dataclass(frozen=True, slots=True)
class Earliest:
    """From the first record that Kafka still has."""


@dataclass(frozen=True, slots=True)
class Since:
    """From the first record of that time or later."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class At:
    """From a position that some door handed out; ``token`` is how it was written."""

    cursor: Cursor
    token: str


Start = Latest | Earliest | Since | At

BEFORE_MS = 60_000
"""How much earlier than its time a position begins that is of another log: copies, no hole."""


def as_json(start: Start) -> object:
    """Return a start as it was asked for."""
    match start:
        case Latest():
            return "latest"
        case Earliest():
            return "earliest"
        case Since(moment):
            return {"time": clock.rfc3339(moment)}
        case At(_, token):
            return {"cursor": token}


@functools.cache
def process_admin() -> Admin:
    """Return the Kafka client of this process; made at first use, so after any fork."""
    return Admin(admin_options(config.load()))


def fix(start: Start, topics: Collection[str], admin: Admin) -> Starts:
    """Return the offset at which each partition of the topics begins.

    Asks Kafka, so it must not run inside a transaction.
    Raises Unavailable when Kafka does not answer or has no such topic, and Invalid
    ``start_not_available`` where the cluster cannot find offsets by time.
    """
    found: dict[tuple[str, int], int] = {}
    for topic in topics:
        try:
            offsets = _offsets(start, topic, admin)
        except UnknownTopic:
            raise Unavailable("Kafka does not have a topic of this subscription yet.") from None
        except NoAdminApi:
            text = "This cluster cannot find offsets by time; start at latest or earliest."
            fault = Fault("/start/time", "start_not_available", text)
            raise Invalid([fault]) from None
        found |= {(topic, partition): offset for partition, offset in offsets.items()}
    return found


def _offsets(start: Start, topic: str, admin: Admin) -> Mapping[int, int]:
    match start:
        case Latest():
            return {number: high for number, (_, high) in admin.watermarks(topic).items()}
        case Earliest():
            return {number: low for number, (low, _) in admin.watermarks(topic).items()}
        case Since(moment):
            return admin.offsets_at(topic, int(moment.timestamp() * 1000))
        case At(cursor):
            return _offsets_at(cursor, topic, admin)


def _offsets_at(cursor: Cursor, topic: str, admin: Admin) -> Mapping[int, int]:
    """Return where a cursor stands in the topic; one that does not name it: the end of the log.

    What is not retained any more begins at the first record there is, what is beyond the end at
    the end, a partition that is newer than the cursor at its start.
    """
    marks = admin.watermarks(topic)
    named = {position.name_tag: position for position in cursor.topics}.get(tag(topic))
    if named is None:
        return {number: high for number, (_, high) in marks.items()}
    if not _is_of_this_log(cursor, named, topic, admin):
        return _offsets_near(cursor.time_ms, topic, admin)
    return {
        number: min(max(named.offsets.get(number, low), low), high)
        for number, (low, high) in marks.items()
    }


def _is_of_this_log(cursor: Cursor, named: TopicPosition, topic: str, admin: Admin) -> bool:
    """Return whether offsets of the cursor mean the same records here."""
    if cursor.cluster_tag != tag(admin.cluster_id()):
        return False
    if named.epoch_tag == NO_EPOCH:
        return True  # written where the topic's own id was not known
    try:
        return named.epoch_tag == tag(admin.topic_id(topic))
    except NoAdminApi:
        return False


def _offsets_near(time_ms: int, topic: str, admin: Admin) -> Mapping[int, int]:
    try:
        return admin.offsets_at(topic, max(time_ms - BEFORE_MS, 0))
    except NoAdminApi:
        return {number: low for number, (low, _) in admin.watermarks(topic).items()}
