"""The shared reader: Kafka to matched records, and partitions that come and go."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

import psycopg
import structlog

from delivery import gaps, ledger, metrics, positions, replaying, succession
from delivery.database import Conn
from delivery.halts import Halts
from delivery.inbox import (
    Assigned,
    Ends,
    Fed,
    Found,
    Hit,
    Lost,
    Note,
    Overtaken,
    Place,
    Revoked,
    SnapshotChanged,
)
from delivery.lanes import RECREATED
from delivery.matcher import Matcher
from delivery.positions import Claim, LaneRow
from delivery.topic_ids import TopicIds
from kafkahub.failpoints import failpoint
from kafkahub.kafka.consumer import GroupConsumer
from kafkahub.kafka.faults import KafkaUnavailable, Kind, OutOfRange, UnknownTopic, log_trouble
from kafkahub.kafka.record import Position, Record
from subscriptions.live import NOTHING, Snapshot

BATCH_RECORDS = 500
"""Records matched in one go: 1 to 3 ms, so the sender's thread is never kept waiting for long."""
POLL_S = 0.1
GATE_S = 0.05
PAUSE_AFTER_S = 5.0
"""The gate may be closed for so long before the partitions are paused and polling goes on: the
group takes partitions away from who does not poll."""
REVOKE_S = 2.0
"""What is in flight may land for so long when a partition goes to another engine."""
RETRY_S = 0.5
ADVISORY_S = 5.0
ENDS_S = 5.0
"""Between two looks at where logs end, for metrics."""

T = TypeVar("T")

log = structlog.get_logger()


class Stopped(Exception):
    """The engine stops while a partition waits to be claimed."""


class Gate:
    """Tells the shared reader to wait while a lane is full."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    def set(self, is_open: bool) -> None:  # noqa: FBT001 - it is the state itself
        """Open or close; never waits."""
        if is_open:
            self._open.set()
        else:
            self._open.clear()

    def wait(self, deadline_s: float) -> bool:
        """Return whether the gate is open, waiting for it at most so long."""
        return self._open.wait(deadline_s)


class Consumer:
    """Reads every topic that has subscriptions, matches, and tells the dispatcher.

    Runs   one thread, started by the engine
    Owns   the group consumer and a PostgreSQL connection
    Takes  partitions to drop and positions to commit, from the dispatcher and the checkpoint
    Ends   ``stop``: leaves the group after what is in flight has landed
    """

    def __init__(
        self,
        owner: UUID,
        connect: Callable[[], Conn],
        *,
        options: Mapping[str, object],
        group: str,
        snapshot: Callable[[], Snapshot],
        post: Callable[[Note], None],
        gate: Gate,
        topics: TopicIds,
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._options = options
        self._group = group
        self._snapshot = snapshot
        self._post = post
        self._gate = gate
        self._topics = topics
        self._stopping = threading.Event()
        self._dropped: queue.SimpleQueue[Place] = queue.SimpleQueue()
        self._halts = Halts(topics, post)
        self._overtaken: dict[Place, OutOfRange] = {}
        self._matcher = Matcher(NOTHING)
        self._seen: dict[Place, dict[str, int]] = {}
        self._fed: dict[Place, int] = {}
        self._commits: dict[Place, int] = {}
        self._committed_at = 0.0
        self._told_ends_at = 0.0
        self._closed_since: float | None = None
        self._conn: Conn | None = None
        self._kafka: GroupConsumer
        self.turned_at = time.monotonic()
        """When it last did anything, if only wait for a part that is away; for the watchdog."""

    def drop(self, places: Iterable[Place]) -> None:
        """Read these partitions no more: another engine has them."""
        for place in places:
            self._dropped.put(place)

    def shorter(self, place: Place) -> None:
        """Find out what became of a partition whose log ends below a place in it."""
        self._halts.suspect(place)

    def commit_advisory(self, floors: Mapping[Place, int]) -> None:
        """Tell Kafka's lag tools how far the floors are; nothing ever starts from there."""
        self._commits.update(floors)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()
        self._gate.set(True)

    def run(self) -> None:
        """Read until stopped."""
        self._kafka = GroupConsumer(
            self._options,
            group=self._group,
            on_assigned=self._on_assigned,
            on_revoked=self._on_revoked,
            on_lost=self._on_lost,
            on_out_of_range=self._on_out_of_range,
            on_error=_count_trouble,
        )
        try:
            while not self._stopping.is_set():
                self.turned_at = time.monotonic()
                self._heed()
                if self._gate.wait(GATE_S):
                    self._reopen()
                    self._feed(self._kafka.read(BATCH_RECORDS, POLL_S))
                elif self._is_closed_long():
                    # Paused, so that only partitions that come just now may give anything.
                    self._feed(self._kafka.read(BATCH_RECORDS, 0))
        except Stopped:
            log.info("consumer.stopped_early")
        finally:
            self._kafka.close()
            if self._conn is not None:
                self._conn.close()

    # Records.

    def _feed(self, records: Sequence[Record]) -> None:
        found: dict[Place, list[tuple[int, Sequence[Hit]]]] = {}
        if records:
            failpoint("consume.after_poll")
            metrics.records_read.inc(len(records))
            now_ms = time.time_ns() // 1_000_000
            hits_of = self._matcher.hits
            for record in records:
                matched = found.setdefault((record.topic, record.partition), [])
                hits = hits_of(record, now_ms)
                if hits:
                    matched.append((record.offset, hits))
        for place in self._kafka.assignment() - self._halts.places:
            if place in self._overtaken:
                # What was read before the gap comes before it.
                gap = self._overtaken.pop(place)
                self._post(Fed(place, found.pop(place, ()), gap.offset))
                self._post(Overtaken(place, gap.low))
            # It moves without a record as well: past what was aborted or compacted away.
            position = self._kafka.position(*place)
            if position != self._fed.get(place):
                self._fed[place] = position
                self._post(Fed(place, found.get(place, ()), position))

    def _is_closed_long(self) -> bool:
        """Whether the gate is closed for so long that the partitions are paused."""
        now = time.monotonic()
        if self._closed_since is None:
            self._closed_since = now
        if now - self._closed_since < PAUSE_AFTER_S:
            return False
        self._kafka.pause(self._kafka.assignment())
        return True

    def _reopen(self) -> None:
        if self._closed_since is not None:
            if time.monotonic() - self._closed_since >= PAUSE_AFTER_S:
                self._kafka.resume(self._kafka.assignment())
            self._closed_since = None

    # What changes beside the records.

    def _heed(self) -> None:
        snapshot = self._snapshot()
        if snapshot is not self._matcher.snapshot:
            self._follow(snapshot)
        gone = []
        while not self._dropped.empty():
            gone.append(self._dropped.get())
        self._halts.judge()
        if self._halts.is_look_due():
            self._halts.look()
            gone += self._patiently(self._halts.accepted) if self._halts.places else []
        if gone:
            # Subscribing anew makes the group hand the partitions out again, fences renewed.
            self._kafka.subscribe(())
            self._kafka.subscribe(self._matcher.snapshot.by_topic)
        self._advise()

    def _advise(self) -> None:
        now = time.monotonic()
        if now - self._told_ends_at >= ENDS_S:
            self._told_ends_at = now
            ends = {place: self._kafka.known_end(*place) for place in self._kafka.assignment()}
            self._post(Ends({place: end for place, end in ends.items() if end is not None}))
        if self._commits and now - self._committed_at >= ADVISORY_S:
            self._committed_at = now
            commits, self._commits = self._commits, {}
            ours = self._kafka.assignment()
            self._kafka.commit_advisory(
                [Position(*place, offset) for place, offset in commits.items() if place in ours]
            )

    def _follow(self, snapshot: Snapshot) -> None:
        """Match by a new snapshot, and find where its new lanes stand."""
        before = self._matcher.snapshot
        self._matcher = Matcher(snapshot)
        found = []
        for place, known in self._seen.items():
            now = _lanes_of(snapshot, place[0])
            fresh = {live for live, seeks in now.items() if known.get(live) != seeks}
            if fresh:
                found += self._patiently(partial(self._lanes, place, fresh))
                self._seen[place] = now
        self._post(SnapshotChanged(snapshot, found))
        if snapshot.by_topic.keys() != before.by_topic.keys():
            self._kafka.subscribe(snapshot.by_topic)

    def _lanes(self, place: Place, wanted: set[str], conn: Conn) -> list[Found]:
        """Return where lanes stand that are new, or that a person has moved."""
        claim = self._halts.claim(place)
        return self._stand(conn, claim, wanted, self._kafka.position(*place))

    # Partitions that come and go; called inside ``read`` and ``close``.

    def _on_assigned(self, places: list[Place]) -> Mapping[Place, int]:
        return {place: self._patiently(partial(self._claim, place)) for place in places}

    def _claim(self, place: Place, conn: Conn) -> int:
        """Take a partition over; return where the shared reader starts in it."""
        low, high = self._kafka.watermarks(*place)
        topic_id = self._topics.ask(place[0])
        known = _lanes_of(self._matcher.snapshot, place[0])
        wanted = set(known)
        claim = positions.claim(conn, *place, self._owner)
        if claim.next_offset is None:
            claim = self._begin(conn, place, wanted, (low, high), topic_id)
        elif topic_id and not claim.topic_id:
            positions.name(conn, claim, topic_id)
            claim = claim._replace(topic_id=topic_id)
        failpoint("consume.after_claim")
        start = high if claim.next_offset is None else claim.next_offset
        self._seen[place] = known
        lanes = self._stand(conn, claim, wanted, start)
        self._post(Assigned(claim, start, lanes))
        metrics.rebalances.inc()
        log.info(
            "partition.claimed", topic=place[0], partition=place[1], epoch=claim.epoch, offset=start
        )
        is_waiting = any(found.row.reason == RECREATED for found in lanes)
        is_halted = self._halts.claimed(claim, topic_id, is_short=start > high or is_waiting)
        return high if is_halted else start

    def _begin(
        self, conn: Conn, place: Place, wanted: set[str], ends: tuple[int, int], topic_id: str
    ) -> Claim:
        """Claim a partition never seen: it owes all it has to every lane that has no row yet.

        One transaction: with the floor alone a crash would let those lanes begin at the end.
        """
        low, high = ends
        with conn.transaction(), conn.cursor() as cur:
            claim = positions.start(conn, *place, self._owner, next_offset=high, topic_id=topic_id)
            known = {row.subscription for row in positions.lanes(conn, *place)}
            own = [live for live in sorted(wanted - known) if not _is_replay(live)]
            fresh = [_new_lane(live, place, low) for live in own]
            positions.save_lanes(cur, fresh, owner=self._owner, epochs={place: claim.epoch})
        return claim

    def _stand(self, conn: Conn, claim: Claim, wanted: set[str], floor: int) -> list[Found]:
        """Return where each lane of a claimed partition stands, and what of it was settled."""
        place = (claim.topic, claim.partition)
        rows = {row.subscription: row for row in positions.lanes(conn, *place)}
        settled: dict[str, set[int]] = {}
        for subscription, offset in ledger.settled_above(
            conn, *place, generation=claim.generation, floor=floor
        ):
            settled.setdefault(subscription, set()).add(offset)
        untold = gaps.untold(conn, *place)
        waiting = _waiting(conn, place)
        nobody: dict[bytes, int | None] = {}
        replays = [row for row in positions.replay_lanes(conn, *place) if row.replay in wanted]
        return [Found(row, _settled_in(conn, row)) for row in replays] + [
            Found(
                rows.get(live) or _new_lane(live, place, floor),
                frozenset(settled.get(live, ())),
                untold.get(live, ""),
                frozenset(waiting.get(live, nobody)),
                _failing_since(waiting.get(live, nobody)),
            )
            for live in wanted
            if not _is_replay(live)
        ]

    def _on_revoked(self, places: list[Place]) -> None:
        note = Revoked(places)
        self._post(note)
        if not note.done.wait(REVOKE_S):
            self._post(Lost(places))
        self._forget(places)

    def _on_lost(self, places: list[Place]) -> None:
        self._post(Lost(places))
        self._forget(places)

    def _forget(self, places: Iterable[Place]) -> None:
        for place in places:
            self._seen.pop(place, None)
            self._fed.pop(place, None)
            self._overtaken.pop(place, None)
        self._halts.forget(places)

    def _on_out_of_range(self, found: OutOfRange) -> None:
        """Go on where the log begins when retention has overtaken us; never back by ourselves."""
        place = (found.topic, found.partition)
        if found.offset < found.low:
            self._overtaken[place] = found
            self._kafka.seek(Position(*place, found.low))
            return
        self._halts.suspect(place)

    def _patiently(self, find: Callable[[Conn], T]) -> T:
        """Return what ``find`` finds, waiting for PostgreSQL and Kafka as long as it takes.

        A wait beyond the poll interval costs us our partitions; they come back with a new claim.
        """
        failures = 0
        while True:
            self.turned_at = time.monotonic()
            try:
                if self._conn is None:
                    self._conn = self._connect()
                return find(self._conn)
            except (psycopg.Error, KafkaUnavailable, UnknownTopic) as error:
                failures += 1
                if failures == 1:
                    log.warning("claim.waiting", error=str(error))
                if self._conn is not None:
                    self._conn.close()
                    self._conn = None
            if self._stopping.wait(RETRY_S):
                raise Stopped


def _waiting(conn: Conn, place: Place) -> dict[str, dict[bytes, int | None]]:
    """Return the order keys of a partition that have open parked rows, by subscription.

    With each, since when its head fails with its endpoint, in Unix µs, or None.
    """
    found: dict[str, dict[bytes, int | None]] = {}
    for (subscription, order_key), since_us in succession.waiting(conn, *place).items():
        found.setdefault(subscription, {})[order_key] = since_us
    return found


def _failing_since(heads: Mapping[bytes, int | None]) -> int | None:
    """Return since when all of these heads fail with their endpoint; None where one does not."""
    known = [since_us for since_us in heads.values() if since_us is not None]
    return min(known) if known and len(known) == len(heads) else None


def _lanes_of(snapshot: Snapshot, topic: str) -> dict[str, int]:
    """Return what may have a lane in a topic, with a number that rises when it is moved by hand."""
    known = {live.id: live.seeks for live in snapshot.by_topic.get(topic, ())}
    open_ = [replay for replay in snapshot.replays.values() if not replay.is_over]
    return known | {replay.id: 0 for replay in open_ if topic in replay.live.topics}


def _is_replay(lane: str) -> bool:
    return lane.startswith("rep_")


def _settled_in(conn: Conn, row: LaneRow) -> frozenset[int]:
    return replaying.settled(
        conn,
        row.replay,
        topic=row.topic,
        partition=row.partition,
        next_offset=row.next_offset,
    )


def _new_lane(subscription: str, place: Place, offset: int) -> LaneRow:
    return LaneRow(subscription, *place, "behind", "start", offset)


def _count_trouble(kind: Kind, topic: str | None, partition: int | None, text: str) -> None:
    metrics.kafka_troubles.labels(kind).inc()
    log_trouble(kind, topic, partition, text)
