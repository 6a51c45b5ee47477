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


@dataclass(frozen=True, slots=True)
class Unopened:
    """From a position that came sealed; ``api.places`` makes an ``At`` of it."""

    token: str


@dataclass(frozen=True, slots=True)
class Offsets:
    """From these offsets, by topic and partition; the others stay where they are."""

    of: Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """From the first record that failed since the last success."""


Start = Latest | Earliest | Since | At | Unopened | Offsets | FirstFailure

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
        case At(_, token) | Unopened(token):
            return {"cursor": token}
        case Offsets(of):
            named = {
                topic: {str(number): offset for number, offset in offsets.items()}
                for topic, offsets in of.items()
            }
            return {"offsets": named}
        case FirstFailure():
            return "first_failure"


@functools.cache
def process_admin() -> Admin:
    """Return the Kafka client of this process; made at first use, so after any fork."""
    return Admin(admin_options(config.load()))


def begin(start: Start, topics: Collection[str], admin: Admin) -> Starts:
    """Return where each partition of a new subscription begins; what is not named: at the end.

    Raises what ``fix`` does.
    """
    if isinstance(start, Offsets):
        return {**fix(Latest(), topics, admin), **fix(start, topics, admin)}
    return fix(start, topics, admin)


def fix(
    start: Start,
    topics: Collection[str],
    admin: Admin,
    *,
    at: str = "/start",
    is_strict: bool = False,
) -> Starts:
    """Return the offset at which each partition of the topics begins.

    at         where the start stands in the body
    is_strict  refuse a cursor older than the log; else it begins with the first record there is

    Asks Kafka, so it must not run inside a transaction.
    Raises Unavailable when Kafka does not answer or has no such topic, and Invalid
    ``start_not_available`` for what the log does not have, or the cluster cannot find.
    """
    found: dict[tuple[str, int], int] = {}
    for topic in topics:
        try:
            offsets = _offsets(start, topic, admin, at)
            if is_strict and isinstance(start, At):
                _refuse_older(start.cursor, topic, admin, at)
        except UnknownTopic:
            raise Unavailable("Kafka does not have a topic of this subscription yet.") from None
        except NoAdminApi:
            text = "This cluster cannot find offsets by time; start at latest or earliest."
            raise _not_available(f"{at}/time", text) from None
        found |= {(topic, partition): offset for partition, offset in offsets.items()}
    return found


def _not_available(pointer: str, text: str) -> Invalid:
    return Invalid([Fault(pointer, "start_not_available", text)])


def _refuse_older(cursor: Cursor, topic: str, admin: Admin, at: str) -> None:
    """Raise Invalid where the log begins above the cursor."""
    for named in cursor.topics:
        if named.name_tag == tag(topic) and _is_of_this_log(cursor, named, topic, admin):
            marks = admin.watermarks(topic)
            if any(
                offset < marks.get(number, (0, 0))[0] for number, offset in named.offsets.items()
            ):
                text = f"Kafka does not have the records of {topic} from there on any more."
                raise _not_available(f"{at}/cursor", text)


def _named(
    offsets: Mapping[int, int], topic: str, marks: Mapping[int, tuple[int, int]], at: str
) -> Mapping[int, int]:
    """Return offsets that the log has; raise Invalid with every one that it does not."""
    faults = []
    for number, offset in offsets.items():
        pointer = f"{at}/offsets/{topic}/{number}"
        if number not in marks:
            text = f"{topic} has the partitions 0 to {len(marks) - 1}."
            faults.append(Fault(pointer, "not_found", text))
        elif not marks[number][0] <= offset <= marks[number][1]:
            low, high = marks[number]
            text = f"Kafka has the offsets {low} to {high} there; {high} is the next one's."
            faults.append(Fault(pointer, "start_not_available", text))
    if faults:
        raise Invalid(faults)
    return offsets


def _offsets(start: Start, topic: str, admin: Admin, at: str) -> Mapping[int, int]:
    match start:
        case Latest():
            return {number: high for number, (_, high) in admin.watermarks(topic).items()}
        case Earliest():
            return {number: low for number, (low, _) in admin.watermarks(topic).items()}
        case Since(moment):
            return admin.offsets_at(topic, int(moment.timestamp() * 1000))
        case At(cursor):
            return _offsets_at(cursor, topic, admin)
        case Unopened():
            raise TypeError("a sealed cursor is opened before it is looked up")
        case Offsets(of):
            return _named(of.get(topic, {}), topic, admin.watermarks(topic), at)
        case FirstFailure():
            raise _not_available(at, "Nothing has failed since the last success.")


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
