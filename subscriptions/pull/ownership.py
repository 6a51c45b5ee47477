"""Who owns what in a group: chosen by whoever reads next, under the group's row lock."""

from collections.abc import Mapping
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

from subscriptions.pull.rows import LOCK_GROUP, RAISE, Instance, Part, columns
from subscriptions.pull.sharing import share

EXPIRED = """
SELECT id FROM pull_instance
 WHERE group_id = %s AND id <> %s AND last_seen + timeout <= now()
   FOR UPDATE SKIP LOCKED
"""  # by the unique index on (group, name); a group has 100 at most
HAS_EXPIRED = """
SELECT 1 FROM pull_instance WHERE group_id = %s AND id <> %s AND last_seen + timeout <= now()
"""  # the same index
DELETE_INSTANCES = "DELETE FROM pull_instance WHERE id = ANY(%s)"  # by primary key
DELETE_ASSIGNMENTS = "DELETE FROM pull_assignment WHERE instance_id = ANY(%s)"
DELETE_LEASES = "DELETE FROM pull_lease WHERE instance_id = ANY(%s)"
FREE_POSITIONS = """
UPDATE pull_position SET owner_instance = NULL WHERE group_id = %s AND owner_instance = ANY(%s)
"""  # by the unique index on (group, topic, partition)
MEMBERS = """
SELECT id, topics FROM pull_instance
 WHERE group_id = %s AND NOT manual AND cardinality(topics) > 0 AND last_seen + timeout > now()
"""  # by the unique index on (group, name)
OWNERS = """
SELECT topic, partition, owner_instance FROM pull_position WHERE group_id = %s
"""  # by the unique index on (group, topic, partition)
SET_OWNERS = """
UPDATE pull_position AS p SET owner_instance = n.owner, owner_generation = %s
  FROM unnest(%s::text[], %s::int[], %s::uuid[]) AS n(topic, partition, owner)
 WHERE p.group_id = %s AND p.topic = n.topic AND p.partition = n.partition
"""  # by the unique index on (group, topic, partition)
SHARED = "UPDATE pull_group SET shared_generation = generation WHERE id = %s"  # by primary key
COMMIT_SENT = """
UPDATE pull_position AS p SET committed = l.to_offset, committed_at = now()
  FROM pull_lease AS l, pull_instance AS i
 WHERE l.group_id = %s AND l.instance_id = i.id AND i.id = ANY(%s) AND l.sent
   AND i.settings->>'auto_commit' IS DISTINCT FROM 'false'
   AND p.group_id = l.group_id AND p.topic = l.topic AND p.partition = l.partition
   AND p.owner_instance = i.id
"""  # by the index on (instance, read_seq), then (group, topic, partition)
DROP_LOST = """
WITH lost AS (
    DELETE FROM pull_assignment AS a
     WHERE a.instance_id = %(instance)s AND NOT EXISTS (
           SELECT 1 FROM pull_position AS p
            WHERE p.group_id = %(group)s AND p.topic = a.topic AND p.partition = a.partition
              AND p.owner_instance = a.instance_id AND p.owner_generation = a.owner_generation)
    RETURNING a.topic, a.partition)
DELETE FROM pull_lease AS l USING lost
 WHERE l.instance_id = %(instance)s AND l.topic = lost.topic AND l.partition = lost.partition
"""  # by the unique index on (instance, topic, partition)
TAKE_UP = """
INSERT INTO pull_assignment (instance_id, topic, partition, position, owner_generation)
SELECT p.owner_instance, p.topic, p.partition, coalesce(p.committed, p.start), p.owner_generation
  FROM pull_position AS p WHERE p.group_id = %s AND p.owner_instance = %s
ON CONFLICT (instance_id, topic, partition) DO NOTHING
"""  # by the unique index on (group, topic, partition)
LEARNED = """
UPDATE pull_instance SET generation = g.generation, read_token = NULL
  FROM pull_group AS g WHERE pull_instance.id = %s AND g.id = group_id
"""  # by primary key
DUE = """
SELECT g.id FROM pull_group AS g
 WHERE EXISTS (SELECT 1 FROM pull_instance AS i
                WHERE i.group_id = g.id AND i.last_seen + i.timeout <= now())
 LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
"""  # a scan of a small table, every 30 s
NOBODY = UUID(int=0)


def has_expired(cursor: CursorWrapper, instance: Instance) -> bool:
    """Return whether another instance of the group has ended by time."""
    cursor.execute(HAS_EXPIRED, [instance.group, instance.id])
    return cursor.fetchone() is not None


def learn(cursor: CursorWrapper, instance: Instance) -> None:
    """Choose owners if the group changed, and take up what this instance owns now.

    Takes the group's lock. What it lost is dropped with its leases; what it has won begins at the
    group's committed offset, or where the group began.
    """
    cursor.execute(LOCK_GROUP, [instance.group])
    generation, shared = cursor.fetchone()
    if remove_expired(cursor, instance.group, instance.id):
        generation += 1
    if generation != shared:
        _share(cursor, instance.group, generation)
    cursor.execute(DROP_LOST, {"instance": instance.id, "group": instance.group})
    cursor.execute(TAKE_UP, [instance.group, instance.id])
    cursor.execute(LEARNED, [instance.id])


def remove_expired(cursor: CursorWrapper, group: int, but: UUID) -> bool:
    """Remove instances that have ended by time; nothing of theirs is settled."""
    cursor.execute(EXPIRED, [group, but])
    gone = [row[0] for row in cursor.fetchall()]
    if gone:
        remove(cursor, group, gone)
    return bool(gone)


def expire(groups: int) -> None:
    """Remove instances that have ended by time, of ``groups`` groups at most.

    In the caller's transaction. A group that somebody works on is left to them.
    """
    with connection.cursor() as cursor:
        cursor.execute(DUE, [groups])
        for (group,) in cursor.fetchall():
            remove_expired(cursor, group, NOBODY)


def remove(cursor: CursorWrapper, group: int, gone: list[UUID]) -> None:
    """Remove instances with all they have, and let the others share anew."""
    cursor.execute(DELETE_LEASES, [gone])
    cursor.execute(DELETE_ASSIGNMENTS, [gone])
    cursor.execute(FREE_POSITIONS, [group, gone])
    cursor.execute(DELETE_INSTANCES, [gone])
    cursor.execute(RAISE, [group])


def _share(cursor: CursorWrapper, group: int, generation: int) -> None:
    cursor.execute(MEMBERS, [group])
    members = {row[0]: frozenset(row[1]) for row in cursor.fetchall()}
    cursor.execute(OWNERS, [group])
    owners = {(row[0], row[1]): row[2] for row in cursor.fetchall()}
    chosen = share(owners, members, owners)
    moved = {part: owner for part, owner in chosen.items() if owners[part] != owner}
    losers = {owner for part in moved if (owner := owners[part]) is not None}
    if losers:
        # What arrived at the old owner is not handed to the new one as well.
        cursor.execute(COMMIT_SENT, [group, list(losers)])
    _set_owners(cursor, group, generation, moved)
    cursor.execute(SHARED, [group])


def _set_owners(
    cursor: CursorWrapper, group: int, generation: int, moved: Mapping[Part, UUID | None]
) -> None:
    if moved:
        topics, numbers = columns(list(moved))
        cursor.execute(SET_OWNERS, [generation, topics, numbers, list(moved.values()), group])
