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


Start = Latest | Earliest | Since


def as_json(start: Start) -> object:
    """Return a start as it was asked for."""
    match start:
        case Latest():
            return "latest"
        case Earliest():
            return "earliest"
        case Since(moment):
            return {"time": clock.rfc3339(moment)}


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
