"""Where every lane stands, read once a second: what a webhook's cursor says of other partitions."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg
import structlog

from delivery.database import Conn
from delivery.inbox import Place
from delivery.lanes import Delivery, Lane
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from subscriptions import cursor
from subscriptions.cursor import NO_EPOCH, Cursor, Prepared, TopicPosition, tag
from subscriptions.live import LiveSubscription, Snapshot

EVERY_S = 1.0
EPOCHS_KEPT_S = 30.0
"""How long the id of a topic is believed; a topic recreated meanwhile is found by its offsets."""

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
    """

    floors: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    behind: Mapping[str, Mapping[Place, int]] = field(default_factory=dict)
    epochs: Mapping[str, bytes] = field(default_factory=dict)

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


class Cursors:
    """Makes the ``kafkahub-cursor`` of deliveries; belongs to the dispatcher's thread.

    What differs between the deliveries of a lane within a second is one offset and one time, so
    the rest of the token is made once for each lane and second.
    """

    def __init__(self, cluster: str, standings: Callable[[], Standings]) -> None:
        self._cluster = tag(cluster)
        self._standings = standings

    def of(self, delivery: Delivery) -> str:
        """Return the cursor to go on with after this delivery, or "" where none can be made.

        From there on nothing is missed that is not parked; something may come again.
        """
        standings, lane = self._standings(), delivery.lane
        if lane is None:
            topics = standings.of(delivery.form.subscription)
            return (cursor.encode(Cursor(self._cluster, 0, topics)) or "") if topics else ""
        if lane.standings is not standings:
            lane.standings = standings
            lane.prepared = self._prepare(lane, standings)
        if lane.prepared is None:
            return ""
        time_ms = delivery.record.timestamp_ms if delivery.record is not None else None
        return lane.prepared.token(time_ms or 0, lane.resume_after(delivery)) or ""

    def _prepare(self, lane: Lane, standings: Standings) -> Prepared | None:
        subscription, partition = lane.form.subscription, lane.partition
        if partition.number not in standings.floors.get(partition.topic, {}):
            return None
        made = Cursor(self._cluster, 0, standings.of(subscription))
        return Prepared(made, tag(partition.topic), partition.number)


class StandingsKeeper:
    """Reads the standings once a second.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection
    Gives  ``current``, swapped as a whole
    Ends   ``stop``
    """

    def __init__(
        self, connect: Callable[[], Conn], admin: Admin, snapshot: Callable[[], Snapshot]
    ) -> None:
        self._connect = connect
        self._admin = admin
        self._snapshot = snapshot
        self._stopping = threading.Event()
        self._epochs: dict[str, tuple[bytes, float]] = {}
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
        floors: dict[str, dict[int, int]] = {}
        for topic, partition, next_offset in conn.execute(FLOORS).fetchall():
            floors.setdefault(topic, {})[partition] = next_offset
        behind: dict[str, dict[Place, int]] = {}
        for subscription, topic, partition, next_offset in conn.execute(BEHIND).fetchall():
            behind.setdefault(subscription, {})[topic, partition] = next_offset
        return Standings(floors, behind, {topic: self._epoch(topic) for topic in floors})

    def _epoch(self, topic: str) -> bytes:
        """Return the tag of a topic's id; ``NO_EPOCH`` where the broker gives none now."""
        known = self._epochs.get(topic)
        if known is not None and time.monotonic() - known[1] < EPOCHS_KEPT_S:
            return known[0]
        if topic not in self._snapshot().by_topic:
            return NO_EPOCH
        try:
            found = tag(self._admin.topic_id(topic))
        except (KafkaUnavailable, NoAdminApi, UnknownTopic):
            found = known[0] if known is not None else NO_EPOCH
        self._epochs[topic] = (found, time.monotonic())
        return found
