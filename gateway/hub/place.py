"""Positions in a topic set, and the tokens they are written as (pure)."""

from collections.abc import Callable, Collection, Mapping, Sequence

from gateway.hub.log import Entry, Part
from subscriptions.cursor import Cursor, TopicPosition, encode

Offsets = Mapping[Part, int]


class Tokens:
    """Writes places as cursors, plain or sealed; equal ``key`` means equal tokens.

    cluster  tag of the cluster's id
    topics   name tag and epoch tag by topic
    seal     makes the token of a filtered grant; None for plain ones
    """

    __slots__ = ("_cluster", "_seal", "_topics", "key")

    def __init__(
        self,
        cluster: bytes,
        topics: Mapping[str, tuple[bytes, bytes]],
        seal: Callable[[Cursor], str | None] | None = None,
        key: str = "",
    ) -> None:
        self.key = key
        self._cluster = cluster
        self._topics = topics
        self._seal = seal or encode

    @property
    def topics(self) -> Collection[str]:
        return self._topics

    def epoch(self, topic: str) -> bytes:
        """Return the epoch tag of a topic; ``NO_EPOCH`` where the broker gave none."""
        return self._topics[topic][1]

    def write(self, place: "Place") -> str:
        """Return the token of a place; ``""`` where it would be too long to be taken back."""
        offsets: dict[str, dict[int, int]] = {topic: {} for topic in self._topics}
        for (topic, partition), offset in place.offsets.items():
            offsets[topic][partition] = offset
        topics = [
            TopicPosition(*tags, offsets[topic]) for topic, tags in sorted(self._topics.items())
        ]
        return self._seal(Cursor(self._cluster, place.time_ms, tuple(topics))) or ""


class Place:
    """A position in a topic set: the next offset of every partition.

    time_ms  newest record timestamp handed out up to here, Unix ms

    Never changed after it is made, so that audiences share it; tokens are written once.
    """

    __slots__ = ("_tokens", "offsets", "time_ms")

    def __init__(self, offsets: Offsets, time_ms: int) -> None:
        self.offsets = offsets
        self.time_ms = time_ms
        self._tokens: dict[str, str] = {}

    def token(self, tokens: Tokens) -> str:
        """Return the cursor at this place."""
        found = self._tokens.get(tokens.key)
        if found is None:
            found = self._tokens[tokens.key] = tokens.write(self)
        return found

    def after(self, entries: Sequence[Entry]) -> "Place":
        """Return the place behind some entries that stand in the order they were read in."""
        offsets = dict(self.offsets)
        time_ms, before = self.time_ms, None
        for entry in entries:
            record = entry.record
            # Records come in runs of one partition: an offset is noted at the end of a run.
            if before is not None and (
                record.partition != before.partition or record.topic is not before.topic
            ):
                offsets[before.topic, before.partition] = before.offset + 1
            before, stamp = record, record.timestamp_ms
            if stamp is not None and stamp > time_ms:
                time_ms = stamp
        if before is not None:
            offsets[before.topic, before.partition] = before.offset + 1
        return Place(offsets, time_ms)

    def behind(self, end: Offsets) -> int:
        """Return how many offsets lie between here and ``end``."""
        return sum(max(0, offset - self.offsets.get(part, offset)) for part, offset in end.items())
