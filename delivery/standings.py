"""Where every lane stands, read once a second: what a webhook's cursor says of other partitions."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import psycopg
import structlog

from delivery import gaps
from delivery.database import Conn
from delivery.inbox import Place
from delivery.lanes import Delivery, Lane
from delivery.topic_ids import TopicIds
from subscriptions import cursor
from subscriptions.cursor import NO_EPOCH, Cursor, Prepared, TopicPosition, tag
from subscriptions.live import LiveSubscription, Snapshot

EVERY_S = 1.0

FLOORS = "SELECT topic, partition, next_offset FROM partition_position"
BEHIND = """
SELECT subscription_id, topic, partition, next_offset FROM lane_position WHERE state <> 'live'
"""  # few rows: a lane that is live stands at the floor

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standings:
    """The floors and lanes as they were committed up to a second ago.

    floors  next offset by topic and partition
    behind  next offset of the lanes that are not live, by subscription and place
    epochs  tag of each topic's id
    untold  webhook-ids of what tells of a gap and has not arrived yet
    kept_ms how long topics keep their records; those that keep them for ever are not in it
    read_at monotonic time before they were read
    """

    floors: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    behind: Mapping[str, Mapping[Place, int]] = field(default_factory=dict)
    epochs: Mapping[str, bytes] = field(default_factory=dict)
    untold: frozenset[str] = frozenset()
    kept_ms: Mapping[str, int] = field(default_factory=dict)
    read_at: float = 0.0

    def of(self, subscription: LiveSubscription) -> tuple[TopicPosition, ...]:
        """Return where a subscription stands on all its partitions; it has settled all below."""
        behind = self.behind.get(subscription.id, {})
        return tuple(
            TopicPosition(
                tag(topic),
                self.epochs.get(topic, NO_EPOCH),
                {
                    partition: behind.get((topic, partition), floor)
                    for partition, floor in self.floors[topic].items()
                },
            )
            for topic in subscription.topics
            if topic in self.floors
        )


Seal = Callable[[Cursor], str | None]
SealOf = Callable[[str], Seal]
"""Given a partner, returns what seals its cursors now."""


class PreparedSealed:
    """What ``Prepared`` is to plain tokens, for those of a grant that hides something."""

    __slots__ = ("_cursor", "_name_tag", "_partition", "_seal")

    def __init__(self, cursor: Cursor, name_tag: bytes, partition: int, seal: Seal) -> None:
        self._cursor = cursor
        self._name_tag = name_tag
        self._partition = partition
        self._seal = seal

    def token(self, time_ms: int, next_offset: int) -> str | None:
        """Return the token with this time and offset; None when it would be too long."""
        topics = tuple(
            replace(one, offsets={**one.offsets, self._partition: next_offset})
            if one.name_tag == self._name_tag
            else one
            for one in self._cursor.topics
        )
        return self._seal(Cursor(self._cursor.cluster_tag, time_ms, topics))


class Cursors:
    """Makes the ``kafkahub-cursor`` of deliveries; belongs to the dispatcher's thread.

    seal  see SealOf; asked where a grant hides something

    What differs between the deliveries of a lane within a second is one offset and one time, so
    the rest of the token is made once for each lane and second.
    """

    def __init__(self, cluster: str, standings: Callable[[], Standings], seal: SealOf) -> None:
        self._cluster = tag(cluster)
        self._standings = standings
        self._seal_of = seal

    @property
    def standings(self) -> Standings:
        """The newest standings."""
        return self._standings()

    def of(self, delivery: Delivery) -> str:
        """Return the cursor to go on with after this delivery, or "" where none can be made.

        From there on nothing is missed that is not parked; something may come again.
        """
        standings, lane = self._standings(), delivery.lane
        if lane is None:
            live = delivery.form.subscription
            topics = standings.of(live)
            write = self._seal_of(live.partner) if _seals(live) else cursor.encode
            return (write(Cursor(self._cluster, 0, topics)) or "") if topics else ""
        if lane.standings is not standings:
            lane.standings = standings
            lane.prepared = self._prepare(lane, standings)
        if lane.prepared is None:
            return ""
        time_ms = delivery.record.timestamp_ms if delivery.record is not None else None
        return lane.prepared.token(time_ms or 0, lane.resume_after(delivery)) or ""

    def _prepare(self, lane: Lane, standings: Standings) -> "Prepared | PreparedSealed | None":
        subscription, partition = lane.form.subscription, lane.partition
        if partition.number not in standings.floors.get(partition.topic, {}):
            return None
        made = Cursor(self._cluster, 0, standings.of(subscription))
        if _seals(subscription):
            seal = self._seal_of(subscription.partner)
            return PreparedSealed(made, tag(partition.topic), partition.number, seal)
        return Prepared(made, tag(partition.topic), partition.number)


def _seals(live: LiveSubscription) -> bool:
    return any(grant.seals for grant in live.grants.values())


class StandingsKeeper:
    """Reads the standings once a second.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection
    Gives  ``current``, swapped as a whole
    Ends   ``stop``
    """

    def __init__(
        self, connect: Callable[[], Conn], topics: TopicIds, snapshot: Callable[[], Snapshot]
    ) -> None:
        self._connect = connect
        self._topics = topics
        self._snapshot = snapshot
        self._stopping = threading.Event()
        self.current = Standings()

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()

    def run(self) -> None:
        """Read until stopped; while PostgreSQL is away the last standings hold."""
        while not self._stopping.is_set():
            try:
                with self._connect() as conn:
                    while not self._stopping.wait(EVERY_S):
                        self.current = self._read(conn)
            except psycopg.Error as error:
                log.warning("standings.interrupted", error=str(error))
                self._stopping.wait(EVERY_S)

    def _read(self, conn: Conn) -> Standings:
        read_at = time.monotonic()
        floors: dict[str, dict[int, int]] = {}
        for topic, partition, next_offset in conn.execute(FLOORS).fetchall():
            floors.setdefault(topic, {})[partition] = next_offset
        behind: dict[str, dict[Place, int]] = {}
        for subscription, topic, partition, next_offset in conn.execute(BEHIND).fetchall():
            behind.setdefault(subscription, {})[topic, partition] = next_offset
        epochs = {topic: self._epoch(topic) for topic in floors}
        kept_ms = {topic: ms for topic in floors if (ms := self._topics.kept_ms(topic)) is not None}
        return Standings(floors, behind, epochs, gaps.untold_ids(conn), kept_ms, read_at)

    def _epoch(self, topic: str) -> bytes:
        """Return the tag of a topic's id; ``NO_EPOCH`` where the broker gives none now."""
        if topic not in self._snapshot().by_topic:
            return NO_EPOCH
        found = self._topics.refresh(topic)
        return tag(found) if found else NO_EPOCH
