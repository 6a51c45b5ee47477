"""What pages ask of Kafka about logs, each within its deadline."""

from collections.abc import Mapping, Sequence

from delivery import ages
from delivery.ages import Times
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from kafkahub.kafka.record import Position
from subscriptions import starts

DEADLINE_S = 2.0


def ends_now(topic: str) -> Mapping[int, tuple[int, int]]:
    """Return the ends of a topic's partitions; Kafka has 2 s to tell them."""
    return starts.process_admin().watermarks(topic, DEADLINE_S)


class KafkaLog:
    """What a page asks of Kafka, each within its deadline."""

    def ends(self, topic: str, /) -> Mapping[int, tuple[int, int]]:
        return ends_now(topic)

    def kept_ms(self, topic: str, /) -> int | None:
        try:
            kept_ms = int(starts.process_admin().configs(topic).get("retention.ms", "-1"))
        except (KafkaUnavailable, UnknownTopic, NoAdminApi):
            return None
        return kept_ms if kept_ms >= 0 else None

    def first_times(self, positions: Sequence[Position], /) -> Times | None:
        return ages.first_times(positions)


class KnownEnds:
    """Ends that were asked for before a transaction; nothing else is known of the log."""

    def __init__(self, ends: Mapping[str, Mapping[int, tuple[int, int]]]) -> None:
        self._ends = ends

    def ends(self, topic: str, /) -> Mapping[int, tuple[int, int]]:
        return self._ends[topic]

    def kept_ms(self, _: str, /) -> int | None:
        return None

    def first_times(self, _: Sequence[Position], /) -> Times | None:
        return None
