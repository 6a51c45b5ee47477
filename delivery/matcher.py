"""Which subscriptions are owed a record (pure)."""

from collections.abc import Sequence

from kafkahub.kafka.envelope import Undecodable

from delivery.inbox import Hit
from kafkahub.kafka import envelope
from kafkahub.kafka.record import Record
from subscriptions.access import authorize_and_project
from subscriptions.filters.view import View
from subscriptions.live import LiveSubscription, LiveTopic, Snapshot

UNDECODABLE = "undecodable"


class Matcher:
    """Judges records against one snapshot; a new snapshot gets a new matcher."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def hits(self, record: Record, now_ms: int) -> Sequence[Hit]:
        """Return who is owed the record, each with the form its partner may see."""
        subscriptions = self.snapshot.by_topic.get(record.topic)
        if not subscriptions:
            return ()
        topic = self.snapshot.topics[record.topic]
        found = [hit(record, live, topic, now_ms) for live in subscriptions]
        return [one for one in found if one is not None]


def hit(record: Record, live: LiveSubscription, topic: LiveTopic, now_ms: int) -> Hit | None:
    """Return the hit of one subscription, or None when it is not owed the record.

    A value that cannot be decoded although the filter asks for it is a hit with the fault
    ``undecodable``: it might have matched, so it is parked rather than dropped.
    """
    grant = live.grants.get(record.topic)
    if grant is None:
        return None
    seen = authorize_and_project(record, grant, now_ms)
    if seen is None:
        return None
    if live.types or live.test is not None:
        event_type = envelope.event_type(seen, topic.type_source, topic.type_value, topic.name)
        if live.types and event_type not in live.types:
            return None
        if live.test is not None:
            return _tested(seen, live, topic, event_type)
    return live.id, seen, ""


def _tested(
    record: Record, live: LiveSubscription, topic: LiveTopic, event_type: str
) -> Hit | None:
    if live.test is None:
        return live.id, record, ""
    try:
        is_owed = live.test.run(View(record, topic.format, event_type)) is True
    except Undecodable:
        return live.id, record, UNDECODABLE
    return (live.id, record, "") if is_owed else None
