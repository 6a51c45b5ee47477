"""All SQL of floors and lanes, fenced by epoch and owner.

Everything here runs on a psycopg connection that is handed in. Functions that take a cursor join
the caller's transaction; those that take a connection are meant for one in autocommit mode.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection, Cursor

Conn = Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""
Cur = Cursor[tuple[Any, ...]]
Place = tuple[str, int]
"""A topic and a partition of it."""


class Claim(NamedTuple):
    """A partition as its new holder finds it; ``epoch`` and ``owner`` are the fence from now on.

    next_offset  the floor; None when the partition was never seen: then ``start`` is next
    checkpoint   number of the last checkpoint that wrote here
    topic_id     Kafka's id of the topic whose offsets these are; "" where none was told
    """

    topic: str
    partition: int
    owner: UUID
    epoch: int
    generation: int
    next_offset: int | None
    checkpoint: int
    topic_id: str = ""


class Floor(NamedTuple):
    """Where the floor of one partition moves, by whom, in which checkpoint."""

    topic: str
    partition: int
    epoch: int
    owner: UUID
    next_offset: int
    checkpoint: int


class LaneRow(NamedTuple):
    """Where one subscription stands on one partition.

    state   ``live``, ``behind`` or ``paused``
    ahead   settled offsets at or above ``next_offset``, ascending
    since   start of this pass on PostgreSQL's clock; None before the row is written
    seeks   how often a person has moved it; a write with another number changes nothing
    head_attempts  attempts that counted of the record at ``next_offset``, in a serial lane
    not_before_us  when that record is tried again, Unix µs on PostgreSQL's clock; None: at once
    replay  id of the replay that it belongs to, with its ``end_offset``; "" for none
    """

    subscription: str
    topic: str
    partition: int
    state: str
    reason: str
    next_offset: int
    ahead: tuple[int, ...] = ()
    since: datetime | None = None
    seeks: int = 0
    head_attempts: int = 0
    not_before_us: int | None = None
    replay: str = ""
    end_offset: int = 0


CLAIM = """
UPDATE partition_position SET epoch = epoch + 1, owner = %(owner)s, updated_at = now()
 WHERE topic = %(topic)s AND partition = %(partition)s
RETURNING topic, partition, owner, epoch, generation, next_offset, checkpoint, topic_id
"""  # partition_position_once (topic, partition)

START = """
INSERT INTO partition_position
       (topic, partition, owner, epoch, generation, next_offset, checkpoint, topic_id, updated_at)
VALUES (%(topic)s, %(partition)s, %(owner)s, 1, 1, %(next_offset)s, 0, %(topic_id)s, now())
ON CONFLICT (topic, partition) DO UPDATE
   SET epoch = partition_position.epoch + 1, owner = excluded.owner, updated_at = now()
RETURNING topic, partition, owner, epoch, generation, next_offset, checkpoint, topic_id
"""  # partition_position_once (topic, partition)

NAME = """
UPDATE partition_position SET topic_id = %(topic_id)s
 WHERE topic = %(topic)s AND partition = %(partition)s
   AND epoch = %(epoch)s AND owner = %(owner)s AND topic_id = ''
"""  # partition_position_once (topic, partition)

EPOCHS = """
SELECT p.topic, p.partition, p.epoch
  FROM partition_position p
  JOIN unnest(%(topics)s::text[], %(partitions)s::int[]) AS w (topic, partition)
    ON p.topic = w.topic AND p.partition = w.partition
"""  # partition_position_once (topic, partition)

ADVANCE = """
UPDATE partition_position p
   SET next_offset = f.next_offset, checkpoint = f.checkpoint, updated_at = now()
  FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(epochs)s::bigint[], %(owners)s::uuid[],
              %(next_offsets)s::bigint[], %(checkpoints)s::bigint[])
       AS f (topic, partition, epoch, owner, next_offset, checkpoint)
 WHERE p.topic = f.topic AND p.partition = f.partition
   AND p.epoch = f.epoch AND p.owner = f.owner
RETURNING p.topic, p.partition
"""  # partition_position_once (topic, partition)

COMMITTED = """
SELECT p.topic, p.partition
  FROM partition_position p
  JOIN unnest(%(topics)s::text[], %(partitions)s::int[], %(epochs)s::bigint[], %(owners)s::uuid[],
              %(next_offsets)s::bigint[], %(checkpoints)s::bigint[])
       AS f (topic, partition, epoch, owner, next_offset, checkpoint)
    ON p.topic = f.topic AND p.partition = f.partition
   AND p.epoch = f.epoch AND p.owner = f.owner AND p.checkpoint >= f.checkpoint
"""  # partition_position_once (topic, partition)

HELD = """
SELECT topic, partition, next_offset FROM partition_position WHERE owner = %(owner)s
"""  # the whole table, a row a partition, once in 5 s

LANES = """
SELECT subscription_id, topic, partition, state, reason, next_offset, ahead, since, seeks,
       head_attempts, (extract(epoch FROM not_before) * 1000000)::bigint
  FROM lane_position WHERE topic = %(topic)s AND partition = %(partition)s
"""  # lane_position_partition (topic, partition)

# FOR SHARE on the position makes a claim wait for our commit, so the fence holds to the end;
# FOR KEY SHARE on the subscription makes its deletion wait, or leaves out the row if it was
# first: a foreign key error would cost the whole checkpoint.
SAVE_LANES = """
INSERT INTO lane_position
       (subscription_id, topic, partition, state, reason, next_offset, ahead, seeks, head_attempts,
        not_before, updated_at)
SELECT l.subscription, l.topic, l.partition, l.state, l.reason, l.next_offset,
       l.ahead::bigint[], l.seeks, l.head_attempts,
       to_timestamp(l.not_before_us / 1000000.0), now()
  FROM unnest(%(subscriptions)s::text[], %(topics)s::text[], %(partitions)s::int[],
              %(epochs)s::bigint[], %(states)s::text[], %(reasons)s::text[],
              %(next_offsets)s::bigint[], %(ahead)s::text[], %(seeks)s::int[],
              %(head_attempts)s::int[], %(not_before_us)s::bigint[])
       AS l (subscription, topic, partition, epoch, state, reason, next_offset, ahead, seeks,
             head_attempts, not_before_us)
  JOIN partition_position p ON p.topic = l.topic AND p.partition = l.partition
   AND p.epoch = l.epoch AND p.owner = %(owner)s
  JOIN subscriptions_subscription s ON s.id = l.subscription
   FOR SHARE OF p FOR KEY SHARE OF s
ON CONFLICT (subscription_id, topic, partition) DO UPDATE
   SET state = excluded.state, reason = excluded.reason, next_offset = excluded.next_offset,
       ahead = excluded.ahead, head_attempts = excluded.head_attempts,
       not_before = excluded.not_before, updated_at = now()
 WHERE lane_position.seeks = excluded.seeks
RETURNING subscription_id, topic, partition
"""  # lane_position_once (subscription, topic, partition)

REPLAY_LANES = """
SELECT r.subscription_id, l.topic, l.partition, l.next_offset, l.replay_id, l.end_offset
  FROM replay_lane l JOIN subscriptions_replay r ON r.id = l.replay_id
 WHERE l.topic = %(topic)s AND l.partition = %(partition)s AND l.next_offset < l.end_offset
   AND r.kind = 'kafka' AND r.state IN ('running', 'paused')
"""  # replay_lane_partition (topic, partition)

SAVE_REPLAY_LANES = """
UPDATE replay_lane r SET next_offset = l.next_offset
  FROM unnest(%(replays)s::text[], %(topics)s::text[], %(partitions)s::int[],
              %(epochs)s::bigint[], %(next_offsets)s::bigint[])
       AS l (replay, topic, partition, epoch, next_offset)
  JOIN partition_position p ON p.topic = l.topic AND p.partition = l.partition
   AND p.epoch = l.epoch AND p.owner = %(owner)s
 WHERE r.replay_id = l.replay AND r.topic = l.topic AND r.partition = l.partition
RETURNING r.replay_id
"""  # replay_lane_once (replay, topic, partition)

DELETE_LANE = """
DELETE FROM lane_position l USING partition_position p
 WHERE l.subscription_id = %(subscription)s AND l.topic = %(topic)s
   AND l.partition = %(partition)s
   AND p.topic = l.topic AND p.partition = l.partition
   AND p.epoch = %(epoch)s AND p.owner = %(owner)s
"""  # lane_position_once (subscription, topic, partition)


def claim(conn: Conn, topic: str, partition: int, owner: UUID) -> Claim:
    """Take a partition over: whoever held it changes nothing from here on.

    A partition never seen has ``epoch`` 0 and ``next_offset`` None, and is not claimed: the
    caller finds out where it begins and calls ``start``.
    """
    place = {"topic": topic, "partition": partition, "owner": owner}
    row = conn.execute(CLAIM, place).fetchone()
    return Claim._make(row) if row else Claim(topic, partition, owner, 0, 1, None, 0)


def start(
    conn: Conn, topic: str, partition: int, owner: UUID, *, next_offset: int, topic_id: str = ""
) -> Claim:
    """Claim a partition that was never seen, with its floor at ``next_offset``.

    Where another engine was first its floor stands, and the answer says which one it is.
    """
    values = {
        "topic": topic,
        "partition": partition,
        "owner": owner,
        "next_offset": next_offset,
        "topic_id": topic_id,
    }
    [row] = conn.execute(START, values).fetchall()
    return Claim._make(row)


def name(conn: Conn, claim: Claim, topic_id: str) -> None:
    """Note whose offsets these are, where nobody has yet."""
    place = {"topic": claim.topic, "partition": claim.partition, "topic_id": topic_id}
    conn.execute(NAME, place | {"epoch": claim.epoch, "owner": claim.owner})


def epochs(conn: Conn, places: Iterable[Place]) -> dict[Place, int]:
    """Return the epoch of each of these partitions that has a row."""
    wanted = list(places)
    columns = {
        "topics": [topic for topic, _ in wanted],
        "partitions": [partition for _, partition in wanted],
    }
    rows = conn.execute(EPOCHS, columns).fetchall()
    return {(topic, partition): epoch for topic, partition, epoch in rows}


def advance(cur: Cur, floors: Sequence[Floor]) -> set[Place]:
    """Move floors, all in one statement, and return the places that are not ours any more.

    Goes first in a checkpoint: it holds the rows until the commit, and what belongs to a place
    returned here must be left out of it; nothing of such a place was written.
    """
    if not floors:
        return set()
    cur.execute(ADVANCE, _columns(floors))
    ours = {(topic, partition) for topic, partition in cur.fetchall()}
    return {(floor.topic, floor.partition) for floor in floors} - ours


def committed(conn: Conn, floors: Sequence[Floor]) -> set[Place]:
    """Return the places whose row has this checkpoint already, by the same epoch and owner.

    For the engine whose COMMIT got no answer: it writes nothing twice.
    """
    rows = conn.execute(COMMITTED, _columns(floors)).fetchall()
    return {(topic, partition) for topic, partition in rows}


def held(conn: Conn, owner: UUID) -> dict[Place, int]:
    """Return the floors of the partitions that nobody has claimed since this owner did."""
    rows = conn.execute(HELD, {"owner": owner}).fetchall()
    return {(topic, partition): next_offset for topic, partition, next_offset in rows}


def lanes(conn: Conn, topic: str, partition: int) -> list[LaneRow]:
    """Return the lanes of a partition that have a row; the others stand at the floor."""
    rows = conn.execute(LANES, {"topic": topic, "partition": partition}).fetchall()
    return [
        LaneRow(subscription, of, number, state, reason, at, tuple(ahead), *rest)
        for subscription, of, number, state, reason, at, ahead, *rest in rows
    ]


def replay_lanes(conn: Conn, topic: str, partition: int) -> list[LaneRow]:
    """Return the lanes of replays that have something left to send of a partition."""
    rows = conn.execute(REPLAY_LANES, {"topic": topic, "partition": partition}).fetchall()
    return [
        LaneRow(subscription, of, number, "behind", "replay", at, replay=replay, end_offset=end)
        for subscription, of, number, at, replay, end in rows
    ]


def save_replay_lanes(
    cur: Cur, rows: Sequence[LaneRow], *, owner: UUID, epochs: dict[Place, int]
) -> set[str]:
    """Note how far replays are; return those of which a lane was ours to write."""
    if not rows:
        return set()
    columns = {
        "replays": [row.replay for row in rows],
        "topics": [row.topic for row in rows],
        "partitions": [row.partition for row in rows],
        "epochs": [epochs[row.topic, row.partition] for row in rows],
        "next_offsets": [row.next_offset for row in rows],
        "owner": owner,
    }
    cur.execute(SAVE_REPLAY_LANES, columns)
    return {replay for (replay,) in cur.fetchall()}


def save_lanes(
    cur: Cur, rows: Sequence[LaneRow], *, owner: UUID, epochs: dict[Place, int]
) -> set[tuple[str, str, int]]:
    """Insert or update lanes; return (subscription, topic, partition) of those written.

    A lane is not written when its partition is not ours any more (``epochs`` holds the epoch of
    each), its subscription is gone, or a person has moved it meanwhile (``seeks``). ``since`` keeps
    its value; a new row gets the present.
    """
    if not rows:
        return set()
    columns = {
        "subscriptions": [row.subscription for row in rows],
        "topics": [row.topic for row in rows],
        "partitions": [row.partition for row in rows],
        "epochs": [epochs[row.topic, row.partition] for row in rows],
        "states": [row.state for row in rows],
        "reasons": [row.reason for row in rows],
        "next_offsets": [row.next_offset for row in rows],
        "ahead": [_array(row.ahead) for row in rows],
        "seeks": [row.seeks for row in rows],
        "head_attempts": [row.head_attempts for row in rows],
        "not_before_us": [row.not_before_us for row in rows],
        "owner": owner,
    }
    cur.execute(SAVE_LANES, columns)
    return {(subscription, topic, partition) for subscription, topic, partition in cur.fetchall()}


def delete_lane(cur: Cur, lane: LaneRow, *, owner: UUID, epoch: int) -> bool:
    """Delete a lane whose topic its subscription has left; False when it is not ours."""
    place = {"subscription": lane.subscription, "topic": lane.topic, "partition": lane.partition}
    cur.execute(DELETE_LANE, place | {"owner": owner, "epoch": epoch})
    return cur.rowcount == 1


def _columns(floors: Sequence[Floor]) -> dict[str, list[Any]]:
    """Return the floors as one list a column, as ``unnest`` takes them."""
    return {
        "topics": [floor.topic for floor in floors],
        "partitions": [floor.partition for floor in floors],
        "epochs": [floor.epoch for floor in floors],
        "owners": [floor.owner for floor in floors],
        "next_offsets": [floor.next_offset for floor in floors],
        "checkpoints": [floor.checkpoint for floor in floors],
    }


def _array(offsets: Iterable[int]) -> str:
    """Return an array literal: arrays of unequal length cannot be unnested side by side."""
    return "{" + ",".join(map(str, offsets)) + "}"
