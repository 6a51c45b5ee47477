"""Where a subscription stands, and how far that is from the end of the log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from delivery.models import PartitionPosition
from kafkahub.kafka.faults import KafkaUnavailable, UnknownTopic
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition, tag
from subscriptions.models import LanePosition, Subscription

Ends = Callable[[str], Mapping[int, tuple[int, int]]]
"""First offset and end of each partition of a topic; raises KafkaUnavailable or UnknownTopic."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One lane: everything below ``next_offset`` is settled.

    end_offset  the one the next record will get; None while Kafka does not tell
    """

    topic: str
    partition: int
    state: str
    reason: str
    next_offset: int
    end_offset: int | None

    @property
    def lag_records(self) -> int | None:
        """Return how many offsets lie ahead: an upper bound of the records that are owed."""
        return None if self.end_offset is None else max(0, self.end_offset - self.next_offset)


def standings(subscription: Subscription, ends: Ends) -> list[Standing]:
    """Return where the lanes of a subscription stand, as committed up to 100 ms ago."""
    floors = {
        (row.topic, row.partition): row.next_offset
        for row in PartitionPosition.objects.filter(topic__in=subscription.topics)
    }
    known = {topic: _ends(ends, topic) for topic in subscription.topics}
    rows = LanePosition.objects.filter(subscription=subscription).order_by("topic", "partition")
    return [
        Standing(
            row.topic,
            row.partition,
            row.state,
            row.reason,
            _place(row, floors.get((row.topic, row.partition), 0)),
            known.get(row.topic, {}).get(row.partition),
        )
        for row in rows
    ]


def cursor_of(found: list[Standing], cluster: bytes) -> Cursor | None:
    """Return one position over all lanes; None where there is none."""
    topics: dict[str, dict[int, int]] = {}
    for lane in found:
        topics.setdefault(lane.topic, {})[lane.partition] = lane.next_offset
    places = tuple(TopicPosition(tag(topic), NO_EPOCH, at) for topic, at in topics.items())
    return Cursor(cluster, 0, places) if places else None


def _place(row: LanePosition, floor: int) -> int:
    """Return where a lane stands: a live one at the floor, unless it begins above it."""
    is_live = row.state == LanePosition.State.LIVE
    return max(row.next_offset, floor) if is_live else row.next_offset


def _ends(ends: Ends, topic: str) -> dict[int, int]:
    try:
        return {partition: high for partition, (_, high) in ends(topic).items()}
    except (KafkaUnavailable, UnknownTopic):
        return {}
