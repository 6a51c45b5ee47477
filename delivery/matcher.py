"""Which subscriptions are owed a record (pure)."""

from collections.abc import Sequence

from delivery.inbox import Hit
from kafkahub.kafka import envelope
from kafkahub.kafka.envelope import Undecodable
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
        view = None
        if any(live.types or live.test is not None for live in subscriptions):
            view = view_of(record, topic)
        found = [hit(record, live, topic, now_ms, view) for live in subscriptions]
        return [one for one in found if one is not None]


def hit(
    record: Record, live: LiveSubscription, topic: LiveTopic, now_ms: int, view: View | None = None
) -> Hit | None:
    """Return the hit of one subscription, or None when it is not owed the record.

    view  of the record, where one is made already: it decodes the value once for everybody who
          may see the record as it is

    A value that cannot be decoded although the filter asks for it is a hit with the fault
    ``undecodable``: it might have matched, so it is parked rather than dropped.
    """
    grant = live.grants.get(record.topic)
    if grant is None:
        return None
    seen = authorize_and_project(record, grant, now_ms, view)
    if seen is None:
        return None
    if not live.types and live.test is None:
        return live.id, seen, ""
    if view is None or seen is not record:
        view = view_of(seen, topic)
    if live.types and view.event_type not in live.types:
        return None
    return _tested(seen, live, view)


def view_of(record: Record, topic: LiveTopic) -> View:
    """Return a record as filters look at it."""
    event_type = envelope.event_type(record, topic.type_source, topic.type_value, topic.name)
    return View(record, topic.format, event_type)


def _tested(record: Record, live: LiveSubscription, view: View) -> Hit | None:
    if live.test is None:
        return live.id, record, ""
    try:
        is_owed = live.test.run(view) is True
    except Undecodable:
        return live.id, record, UNDECODABLE
    return (live.id, record, "") if is_owed else None
