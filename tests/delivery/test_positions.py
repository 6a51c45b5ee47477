"""Floors and lanes: whoever lost a partition changes nothing of it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from delivery import positions
from delivery.models import PartitionPosition
from delivery.positions import Claim, Conn, Floor, LaneRow
from subscriptions.models import LanePosition, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
PLACE = ("orders", 0)


@pytest.fixture
def conn() -> Iterator[Conn]:
    with factories.connect() as conn:
        yield conn


@pytest.fixture
def other() -> Iterator[Conn]:
    with factories.connect() as conn:
        yield conn


def floor(claim: Claim, next_offset: int, checkpoint: int = 1) -> Floor:
    return Floor(claim.topic, claim.partition, claim.epoch, claim.owner, next_offset, checkpoint)


def lane(subscription: Subscription, next_offset: int, state: str = "behind") -> LaneRow:
    return LaneRow(subscription.id, *PLACE, state, "overflow", next_offset)


def test_a_partition_never_seen_is_told_apart_from_one_at_its_beginning(conn: Conn) -> None:
    owner = uuid4()

    unseen = positions.claim(conn, *PLACE, owner)
    started = positions.start(conn, *PLACE, owner, next_offset=0)

    assert (unseen.next_offset, unseen.epoch) == (None, 0)
    assert (started.next_offset, started.epoch, started.owner) == (0, 1, owner)


def test_a_claim_raises_the_epoch_and_keeps_the_floor(conn: Conn) -> None:
    first = positions.start(conn, *PLACE, uuid4(), next_offset=40)
    positions.advance(conn.cursor(), [floor(first, 50, checkpoint=7)])

    second = positions.claim(conn, *PLACE, uuid4())

    assert (second.next_offset, second.epoch, second.checkpoint) == (50, 2, 7)


def test_of_two_that_start_a_partition_at_once_the_first_sets_the_floor(
    conn: Conn, other: Conn
) -> None:
    with ThreadPoolExecutor(2) as pool:
        claims = [
            pool.submit(positions.start, link, *PLACE, uuid4(), next_offset=offset)
            for link, offset in ((conn, 10), (other, 20))
        ]
        early, late = sorted((claim.result() for claim in claims), key=lambda claim: claim.epoch)

    assert (early.epoch, late.epoch) == (1, 2)
    assert early.next_offset == late.next_offset
    assert positions.advance(conn.cursor(), [floor(early, 99)]) == {PLACE}
    assert positions.advance(conn.cursor(), [floor(late, 99)]) == set()


def test_the_owner_is_part_of_the_fence_because_an_old_epoch_may_come_back(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)

    stranger = floor(mine, 5)._replace(owner=UUID(int=1))

    assert positions.advance(conn.cursor(), [stranger]) == {PLACE}


def test_floors_of_several_partitions_move_in_one_statement_and_the_lost_ones_are_named(
    conn: Conn,
) -> None:
    mine = [positions.start(conn, "orders", part, uuid4(), next_offset=0) for part in range(3)]
    positions.claim(conn, "orders", 1, uuid4())

    lost = positions.advance(conn.cursor(), [floor(claim, 9) for claim in mine])

    assert lost == {("orders", 1)}
    rows = PartitionPosition.objects.order_by("partition").values_list("next_offset", flat=True)
    assert list(rows) == [9, 0, 9]


def test_a_claim_waits_for_a_checkpoint_under_way_and_then_sees_its_floor(
    conn: Conn, other: Conn
) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    with ThreadPoolExecutor(1) as pool:
        with conn.transaction():
            positions.advance(conn.cursor(), [floor(mine, 7)])
            theirs = pool.submit(positions.claim, other, *PLACE, uuid4())
            wait_until_somebody_waits_for_a_lock(conn)
        assert theirs.result(10).next_offset == 7


def test_a_checkpoint_whose_answer_was_lost_is_recognised(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    positions.advance(conn.cursor(), [floor(mine, 5, checkpoint=3)])

    assert positions.committed(conn, [floor(mine, 5, checkpoint=3)]) == {PLACE}
    assert positions.committed(conn, [floor(mine, 9, checkpoint=4)]) == set()


def test_lanes_come_back_as_they_were_saved(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    subscription = factories.subscription(factories.partner())
    row = lane(subscription, 42)._replace(ahead=(43, 45))

    written = positions.save_lanes(
        conn.cursor(), [row], owner=mine.owner, epochs={PLACE: mine.epoch}
    )

    [saved] = positions.lanes(conn, *PLACE)
    assert written == {(subscription.id, *PLACE)}
    assert saved._replace(since=None) == row
    assert saved.since is not None


def test_a_lane_keeps_the_start_of_its_pass_when_it_moves(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    subscription = factories.subscription(factories.partner())
    start = datetime(2026, 1, 2, tzinfo=UTC)
    LanePosition.objects.create(
        subscription=subscription, topic="orders", partition=0, next_offset=1, since=start
    )

    positions.save_lanes(
        conn.cursor(),
        [lane(subscription, 8, "live")],
        owner=mine.owner,
        epochs={PLACE: mine.epoch},
    )

    [saved] = positions.lanes(conn, *PLACE)
    assert (saved.state, saved.next_offset, saved.since) == ("live", 8, start)


def test_a_lane_is_not_written_by_one_who_lost_its_partition(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    positions.claim(conn, *PLACE, uuid4())
    row = lane(factories.subscription(factories.partner()), 42)

    written = positions.save_lanes(
        conn.cursor(), [row], owner=mine.owner, epochs={PLACE: mine.epoch}
    )

    assert written == set()
    assert positions.lanes(conn, *PLACE) == []


def test_the_lane_of_a_deleted_subscription_is_left_out_and_spoils_nothing(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    partner = factories.partner()
    gone, there = factories.subscription(partner), factories.subscription(partner)
    rows = [lane(gone, 1), lane(there, 2)]
    gone.delete()

    written = positions.save_lanes(
        conn.cursor(), rows, owner=mine.owner, epochs={PLACE: mine.epoch}
    )

    assert written == {(there.id, *PLACE)}


def test_a_lane_is_deleted_only_by_the_holder_of_its_partition(conn: Conn) -> None:
    mine = positions.start(conn, *PLACE, uuid4(), next_offset=0)
    row = lane(factories.subscription(factories.partner()), 42)
    positions.save_lanes(conn.cursor(), [row], owner=mine.owner, epochs={PLACE: mine.epoch})

    stranger = positions.delete_lane(conn.cursor(), row, owner=uuid4(), epoch=mine.epoch)
    holder = positions.delete_lane(conn.cursor(), row, owner=mine.owner, epoch=mine.epoch)

    assert (stranger, holder) == (False, True)
    assert positions.lanes(conn, *PLACE) == []


ROWS = {
    "topics": ["orders"],
    "partitions": [1],
    "epochs": [1],
    "owners": [UUID(int=1)],
    "next_offsets": [1],
    "checkpoints": [1],
    "subscriptions": ["sub_1"],
    "states": ["live"],
    "reasons": [""],
    "ahead": ["{}"],
    "seeks": [0],
    "topic_id": "id",
    "head_attempts": [0],
    "not_before_us": [None],
    "owner": UUID(int=1),
    "topic": "orders",
    "partition": 1,
    "epoch": 1,
    "subscription": "sub_1",
}
FILL = """
INSERT INTO partition_position
       (topic, partition, next_offset, epoch, generation, checkpoint, owner)
SELECT 'orders-' || n, 0, 0, 1, 1, 1, gen_random_uuid() FROM generate_series(1, 5000) n;
INSERT INTO lane_position (subscription_id, topic, partition, state, reason, next_offset, ahead)
SELECT s.id, 'orders-' || n, 0, 'live', '', 0, '{}'
  FROM subscriptions_subscription s, generate_series(1, 5000) n;
ANALYZE partition_position; ANALYZE lane_position;
"""


@pytest.mark.parametrize(
    ("statement", "indexes"),
    [
        (positions.CLAIM, ["partition_position_once"]),
        (positions.ADVANCE, ["partition_position_once"]),
        (positions.COMMITTED, ["partition_position_once"]),
        (positions.EPOCHS, ["partition_position_once"]),
        (positions.NAME, ["partition_position_once"]),
        (positions.LANES, ["lane_position_partition"]),
        (positions.SAVE_LANES, ["partition_position_once"]),
        (positions.DELETE_LANE, [r"lane_position_\w+", "partition_position_once"]),
    ],
)
def test_each_query_uses_the_index_it_names(conn: Conn, statement: str, indexes: list[str]) -> None:
    factories.subscription(factories.partner())
    with conn.transaction(force_rollback=True):
        conn.execute(FILL)
        rows = conn.execute("EXPLAIN " + statement, ROWS).fetchall()

    plan = "\n".join(line for (line,) in rows)
    assert all(re.search(f"(using|on) {index}", plan) for index in indexes), plan


def test_nothing_to_write_asks_nothing_of_the_database(conn: Conn) -> None:
    cursor = conn.cursor()

    assert positions.advance(cursor, []) == set()
    assert positions.save_lanes(cursor, [], owner=uuid4(), epochs={}) == set()
    assert cursor.statusmessage is None


def wait_until_somebody_waits_for_a_lock(conn: Conn) -> None:
    """Return once another connection waits for a row that this one holds."""
    waiting = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    for _ in range(10_000):
        conn.execute("SELECT pg_stat_clear_snapshot()")
        if conn.execute(waiting).fetchone() != (0,):
            return
    pytest.fail("nobody waits for the lock")
