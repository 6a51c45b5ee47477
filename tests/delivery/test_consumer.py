"""The shared reader begins where PostgreSQL says, and tells of every partition and lane."""

import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from delivery import ledger, positions
from delivery.consumer import Consumer, Gate
from delivery.database import Conn, connect
from delivery.inbox import (
    Assigned,
    Ends,
    Fed,
    Found,
    Lost,
    Note,
    Overtaken,
    Recreated,
    Revoked,
    SnapshotChanged,
)
from delivery.models import PartitionPosition
from delivery.positions import Floor, LaneRow
from delivery.topic_ids import TopicIds
from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, consumer_options
from subscriptions.live import NOTHING, LiveSubscription, Snapshot
from subscriptions.models import LanePosition, Subscription
from tests import factories
from tests.conftest import MakeTopic
from tests.delivery import makers
from tests.delivery.kafka import (
    DEADLINE_S,
    Notes,
    add_partitions,
    delete_before,
    produce,
    snapshot,
)
from tests.delivery.links import url
from tests.delivery.test_checkpoint import attempt

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]
NAME = "consumer under test"
QUICK = {"topic.metadata.refresh.interval.ms": 1_000}
"""New partitions are seen after a second, not after 30."""
A, B = makers.subscription("sub_a"), makers.subscription("sub_b")


class Running:
    """A consumer on its thread; the test answers revocations, as the dispatcher would."""

    def __init__(self, topic: str, known: Snapshot, *, refusals: int = 0) -> None:
        self.owner: UUID = uuid4()
        self.notes = Notes()
        self.snapshot = known
        self.gate = Gate()
        self.lets_go = True
        self.admin = Admin(admin_options(config.load()))
        self._refusals = iter(range(refusals))
        self.consumer = Consumer(
            self.owner,
            self._connect,
            options={**consumer_options(config.load()), **QUICK},
            group=f"test-{topic}",
            snapshot=lambda: self.snapshot,
            post=self._post,
            gate=self.gate,
            topics=TopicIds(self.admin),
        )
        self.thread = threading.Thread(target=self.consumer.run)
        self.thread.start()

    def _connect(self) -> Conn:
        if next(self._refusals, None) is not None:
            raise psycopg.OperationalError("away")
        return connect(url(), NAME)

    def _post(self, note: Note) -> None:
        if isinstance(note, Revoked) and self.lets_go:
            note.done.set()
        self.notes.post(note)

    def assigned(self, partition: int = 0) -> Assigned:
        """Return how the partition was handed over, the last time; wait for the first."""
        self.notes.wait_for(lambda: bool(self._assigned(partition)))
        return self._assigned(partition)[-1]

    def _assigned(self, partition: int) -> list[Assigned]:
        return [
            note
            for note in list(self.notes.all)
            if isinstance(note, Assigned) and note.claim.partition == partition
        ]

    def stands(self, partition: int = 0) -> dict[str, tuple[str, int]]:
        """Return the state and offset of each lane of a partition."""
        lanes = self.assigned(partition).lanes
        return {one.row.subscription: (one.row.state, one.row.next_offset) for one in lanes}

    def stop(self) -> None:
        self.consumer.stop()
        self.thread.join(DEADLINE_S)


@pytest.fixture
def conn() -> Iterator[Conn]:
    with factories.connect() as conn:
        conn.execute("DELETE FROM delivery_attempt")
        yield conn
        conn.execute("DELETE FROM delivery_attempt")


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Return a list of what shall be stopped when the test ends."""
    all_of_them: list[Running] = []
    yield all_of_them
    for running in all_of_them:
        running.stop()
        assert not running.thread.is_alive()


def run(started: list[Running], topic: str, known: Snapshot, *, refusals: int = 0) -> Running:
    started.append(Running(topic, known, refusals=refusals))
    return started[-1]


def stored(live: Subscription) -> LiveSubscription:
    """Return a row's subscription as engines know it."""
    return makers.subscription(live.id)


def lane(live: Subscription, topic: str, offset: int, state: str = "behind") -> LanePosition:
    return LanePosition.objects.create(
        subscription=live, topic=topic, partition=0, state=state, next_offset=offset
    )


def set_floor(conn: Conn, topic: str, offset: int) -> None:
    """Let another engine have brought the partition as far as this."""
    owner = uuid4()
    claim = positions.start(conn, topic, 0, owner, next_offset=0)
    with conn.transaction(), conn.cursor() as cur:
        positions.advance(cur, [Floor(topic, 0, claim.epoch, owner, offset, 7)])


def test_a_claim_begins_at_the_stored_floor_under_a_new_fence(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 5)
    set_floor(conn, name, 3)
    running = run(started, name, snapshot(name, A))

    assigned = running.assigned()
    running.notes.wait_for(lambda: running.notes.fed("sub_a") == [3, 4])

    assert (assigned.next_offset, assigned.claim.epoch, assigned.claim.checkpoint) == (3, 2, 7)
    assert assigned.claim.owner == running.owner
    assert running.stands() == {"sub_a": ("behind", 3)}


def test_a_partition_never_seen_owes_all_it_has(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 5)
    live = factories.subscription(factories.partner())

    running = run(started, name, snapshot(name, stored(live)))

    assert running.assigned().next_offset == 5
    assert running.stands() == {live.pk: ("behind", 0)}
    [row] = positions.lanes(conn, name, 0)  # with the floor: a crash now changes nothing
    assert (row.subscription, row.state, row.next_offset) == (live.pk, "behind", 0)
    assert PartitionPosition.objects.get(topic=name).next_offset == 5


def test_lanes_stand_where_their_rows_say(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 5)
    set_floor(conn, name, 4)
    partner = factories.partner()
    behind, paused, live = (factories.subscription(partner) for _ in range(3))
    lane(behind, name, 1)
    lane(paused, name, 2, "paused")
    lane(live, name, 0, "live")

    running = run(started, name, snapshot(name, stored(behind), stored(paused), stored(live)))

    assert running.stands() == {
        behind.id: ("behind", 1),
        paused.id: ("paused", 2),
        live.id: ("live", 0),
    }


def test_what_was_delivered_above_a_lane_s_place_is_told_with_it(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 5)
    set_floor(conn, name, 1)
    live = factories.subscription(factories.partner())
    lane(live, name, 0, "live")
    with conn.cursor() as cur:
        sent = [attempt(conn, live, offset)._replace(topic=name) for offset in (0, 2, 4)]
        ledger.copy_attempts(cur, sent)

    [found] = run(started, name, snapshot(name, stored(live))).assigned().lanes

    assert found.settled == {2, 4}


def test_records_come_matched_in_order_and_the_position_with_them(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic(partitions=2)
    running = run(started, name, snapshot(name, A, B))
    running.assigned(0)
    running.assigned(1)

    produce(name, 700, partition=0)
    produce(name, 3, partition=1)
    running.notes.wait_for(lambda: len(running.notes.fed("sub_b")) == 703)

    fed = [note for note in running.notes.all if isinstance(note, Fed)]
    first = [offset for note in fed if note.place == (name, 0) for offset, _ in note.hits]
    assert first == list(range(700))
    assert max(note.next_offset for note in fed if note.place == (name, 1)) == 3
    assert running.notes.fed("sub_a") == running.notes.fed("sub_b")


def test_a_new_subscription_s_lanes_come_with_the_snapshot_that_has_it(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 3)
    set_floor(conn, name, 3)
    running = run(started, name, snapshot(name, A))
    running.assigned()
    fresh = factories.subscription(factories.partner())
    lane(fresh, name, 1)

    running.snapshot = snapshot(name, A, B, stored(fresh), version=2)

    def changed() -> list[SnapshotChanged]:
        notes = [note for note in running.notes.all if isinstance(note, SnapshotChanged)]
        return [note for note in notes if note.snapshot is running.snapshot]

    running.notes.wait_for(lambda: bool(changed()))
    [note] = changed()
    places = {one.row.subscription: one.row.next_offset for one in note.lanes}
    assert places == {"sub_b": 3, fresh.id: 1}
    assert [one.settled for one in note.lanes] == [frozenset(), frozenset()]
    assert isinstance(note.lanes[0], Found)
    assert isinstance(note.lanes[0].row, LaneRow)


def test_a_topic_is_taken_up_when_the_first_subscription_of_it_comes(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    running = run(started, name, NOTHING)

    running.snapshot = snapshot(name, A)

    assert running.assigned().claim.topic == name


def test_retention_that_overtook_us_is_passed_and_reading_goes_on(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 6)
    set_floor(conn, name, 1)
    delete_before(name, 4)

    running = run(started, name, snapshot(name, A))

    running.notes.wait_for(lambda: running.notes.fed("sub_a") == [4, 5])
    assert [note for note in running.notes.all if isinstance(note, Overtaken)] == [
        Overtaken((name, 0), 4)
    ]


def test_partitions_added_to_a_topic_are_read_from_their_first_record(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    live = factories.subscription(factories.partner())
    running = run(started, name, snapshot(name, stored(live)))
    running.assigned()

    add_partitions(name, 2)
    produce(name, 4, partition=1)

    assert running.assigned(1).claim.epoch == 1
    [row] = positions.lanes(conn, name, 1)
    first, end = row.next_offset, running.assigned(1).next_offset
    running.notes.wait_for(lambda: running.notes.fed(live.pk) == list(range(end, 4)))
    assert first == 0


def test_a_log_that_ends_below_the_floor_is_told_and_nothing_of_it_comes(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 3)
    set_floor(conn, name, 100)

    running = run(started, name, snapshot(name, A))

    running.notes.wait_for(lambda: Recreated((name, 0), "truncated") in running.notes.all)
    assert running.notes.fed("sub_a") == []


def test_a_topic_of_another_id_is_told_although_its_log_is_longer(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 9)
    set_floor(conn, name, 4)
    conn.execute("UPDATE partition_position SET topic_id = 'of-another' WHERE topic = %s", [name])

    running = run(started, name, snapshot(name, A))

    running.notes.wait_for(lambda: Recreated((name, 0), "recreated") in running.notes.all)
    assert running.notes.fed("sub_a") == []


def test_what_stands_still_is_claimed_anew_when_a_person_has_agreed(
    conn: Conn, topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 3)
    set_floor(conn, name, 100)
    running = run(started, name, snapshot(name, A))
    running.notes.wait_for(lambda: Recreated((name, 0), "truncated") in running.notes.all)

    conn.execute(
        "UPDATE partition_position SET epoch = epoch + 1, generation = 2, next_offset = 1"
        " WHERE topic = %s",
        [name],
    )

    running.notes.wait_for(lambda: running.notes.fed("sub_a") == [1, 2])
    assert running.assigned().claim.generation == 2


def test_what_comes_while_the_gate_is_closed_comes_when_it_opens(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    running = run(started, name, snapshot(name, A))
    running.assigned()
    produce(name, 1)
    running.notes.wait_for(lambda: running.notes.fed("sub_a") == [0])

    running.gate.set(False)
    produce(name, 5)
    running.gate.set(True)

    running.notes.wait_for(lambda: running.notes.fed("sub_a") == [0, 1, 2, 3, 4, 5])


def test_partitions_are_shared_with_an_engine_that_comes_and_taken_over_when_it_goes(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic(partitions=2)
    first = run(started, name, snapshot(name, A))
    first.assigned(0)
    first.assigned(1)

    second = run(started, name, snapshot(name, A))
    second.notes.wait_for(lambda: any(isinstance(note, Assigned) for note in second.notes.all))
    [moved] = [note for note in second.notes.all if isinstance(note, Assigned)]
    place = moved.claim.partition
    assert moved.claim.epoch == 2
    [revoked] = [note for note in first.notes.all if isinstance(note, Revoked)]
    assert list(revoked.places) == [(name, place)]

    second.stop()
    first.notes.wait_for(lambda: first.assigned(place).claim.epoch == 3)


def test_a_partition_whose_requests_do_not_land_in_time_is_lost(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    running = run(started, name, snapshot(name, A))
    running.assigned()
    running.lets_go = False

    running.stop()

    revoked, lost = running.notes.all[-2:]
    assert isinstance(revoked, Revoked)
    assert isinstance(lost, Lost)
    assert list(lost.places) == [(name, 0)]


def test_a_dropped_partition_is_claimed_anew(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    running = run(started, name, snapshot(name, A))
    assert running.assigned().claim.epoch == 1

    running.consumer.drop([(name, 0)])

    running.notes.wait_for(lambda: running.assigned().claim.epoch == 2)
    produce(name, 1)
    running.notes.wait_for(lambda: running.notes.fed("sub_a") == [0])


def test_a_partition_waits_for_a_database_that_is_away(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()

    running = run(started, name, snapshot(name, A), refusals=2)

    assert running.assigned().claim.epoch == 1


def test_stopping_does_not_wait_for_a_database_that_stays_away(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    running = run(started, name, snapshot(name, A), refusals=1_000_000)

    running.stop()

    assert not running.thread.is_alive()


def test_where_logs_end_is_told_without_asking(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    produce(name, 4)
    running = run(started, name, snapshot(name, A))
    running.assigned()
    produce(name, 2, start=4)  # what is fetched brings the end along

    running.notes.wait_for(lambda: Ends({(name, 0): 6}) in running.notes.all)
