"""Positions of groups and instances: committed, sought, told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from subscriptions.pull import ownership
from subscriptions.pull.rows import (
    IllegalState,
    Instance,
    Name,
    NotSettled,
    Part,
    columns,
    guarded,
    touch,
)

LEASES = """
SELECT topic, partition, from_offset, to_offset, read_seq, sent,
       created_at > now() - interval '1 second'
  FROM pull_lease WHERE instance_id = %s ORDER BY topic, partition
"""  # by the index on (instance, read_seq)
ADVANCE = """
UPDATE pull_assignment AS a SET position = n.position
  FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS n(topic, partition, position)
 WHERE a.instance_id = %s AND a.topic = n.topic AND a.partition = n.partition
"""  # by the unique index on (instance, topic, partition)
COMMIT_OWNED = """
UPDATE pull_position AS p
   SET committed = n.position, metadata = n.metadata, committed_at = now()
  FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[])
       AS n(topic, partition, position, metadata)
 WHERE p.group_id = %s AND p.topic = n.topic AND p.partition = n.partition
   AND p.owner_instance = %s AND EXISTS (
       SELECT 1 FROM pull_assignment AS a
        WHERE a.instance_id = p.owner_instance AND a.topic = p.topic
          AND a.partition = p.partition AND a.owner_generation = p.owner_generation)
"""  # by the unique indexes on (group, topic, partition) and (instance, topic, partition)
COMMIT_FREE = """
INSERT INTO pull_position AS p (group_id, topic, partition, topic_epoch, committed, metadata,
                                committed_at, owner_generation)
SELECT %s, n.topic, n.partition, '', n.position, n.metadata, now(), 0
  FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[])
       AS n(topic, partition, position, metadata)
 ORDER BY n.topic, n.partition
ON CONFLICT (group_id, topic, partition) DO UPDATE
   SET committed = excluded.committed, metadata = excluded.metadata,
       committed_at = excluded.committed_at
"""  # manual assignments own nothing: the last commit wins
DROP_LEASES = """
DELETE FROM pull_lease AS l USING unnest(%s::text[], %s::int[]) AS n(topic, partition)
 WHERE l.instance_id = %s AND l.topic = n.topic AND l.partition = n.partition
"""  # by the index on (instance, read_seq)
FORGET_READ = "UPDATE pull_instance SET read_token = NULL WHERE id = %s"  # by primary key
DELIVERED = """
SELECT a.topic, a.partition, a.position FROM pull_assignment AS a
  LEFT JOIN pull_position AS p
    ON p.group_id = %s AND p.topic = a.topic AND p.partition = a.partition
 WHERE a.instance_id = %s AND a.position IS NOT NULL
   AND a.position IS DISTINCT FROM coalesce(p.committed, p.start)
 ORDER BY a.topic, a.partition
"""  # by the unique indexes on (instance, topic, partition) and (group, topic, partition)
COMMITTED = """
SELECT p.topic, p.partition, p.committed, p.metadata, p.committed_at, p.owner_instance
  FROM pull_position AS p WHERE p.group_id = %s AND p.committed IS NOT NULL
 ORDER BY p.topic, p.partition
"""  # by the unique index on (group, topic, partition)
HELD = "SELECT topic, partition FROM pull_assignment WHERE instance_id = %s ORDER BY 1, 2"


Answer = tuple[UUID, int]
"""An instance and the number of an answer it got."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Offsets that were handed out; ``is_young``: less than a second ago."""

    topic: str
    partition: int
    start: int
    stop: int
    read_seq: int
    sent: bool
    is_young: bool

    @property
    def part(self) -> Part:
        return (self.topic, self.partition)


class Commit(NamedTuple):
    """What is to be committed: the next offset, with what the client noted beside it."""

    topic: str
    partition: int
    position: int
    metadata: str = ""


class Committed(NamedTuple):
    """What a group has committed on a partition."""

    topic: str
    partition: int
    position: int
    metadata: str
    at: datetime | None
    owner: UUID | None


def leases_of(cursor: CursorWrapper, instance: Instance) -> list[Lease]:
    """Return what the instance was handed and nobody settled, in order."""
    cursor.execute(LEASES, [instance.id])
    return [Lease(*row) for row in cursor.fetchall()]


def settle(
    cursor: CursorWrapper, instance: Instance, leases: Sequence[Lease], *, commit: bool
) -> None:
    """Move positions behind leases that arrived; with ``commit`` the group's too, where owned."""
    topics, numbers = columns([lease.part for lease in leases])
    stops = [lease.stop for lease in leases]
    cursor.execute(ADVANCE, [topics, numbers, stops, instance.id])
    if commit:
        _write(cursor, instance, [Commit(*lease.part, lease.stop) for lease in leases])
    cursor.execute(DROP_LEASES, [topics, numbers, instance.id])


def _write(cursor: CursorWrapper, instance: Instance, commits: Sequence[Commit]) -> int:
    """Commit; return how many of them were ours to commit."""
    topics, numbers = columns([(one.topic, one.partition) for one in commits])
    stops = [one.position for one in commits]
    notes = [one.metadata for one in commits]
    if instance.is_subscribed:
        cursor.execute(COMMIT_OWNED, [topics, numbers, stops, notes, instance.group, instance.id])
    else:
        cursor.execute(COMMIT_FREE, [instance.group, topics, numbers, stops, notes])
    return int(cursor.rowcount)


@guarded
def commit(name: Name, commits: Sequence[Commit] | None, *, sent_here: Answer | None) -> None:
    """Commit these offsets, or with None all that arrived at the client.

    sent_here  instance and number of an answer that this process knows it has sent

    Raises InstanceGone; IllegalState where a partition is not this instance's any more, and then
    nothing is committed; NotSettled while another process may be about to mark the last answer.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        leases = leases_of(cursor, instance)
        if commits is None:
            commits = _all(cursor, instance, leases, sent_here)
        if not commits:
            return
        if _write(cursor, instance, commits) != len({one[:2] for one in commits}):
            raise IllegalState("a partition is not, or not any more, this instance's")
        _cover(cursor, instance, leases, commits)


def _all(
    cursor: CursorWrapper, instance: Instance, leases: Sequence[Lease], sent_here: Answer | None
) -> list[Commit]:
    if arrived(instance, leases, sent_here):
        settle(cursor, instance, leases, commit=False)
    cursor.execute(DELIVERED, [instance.group, instance.id])
    return [Commit(*row) for row in cursor.fetchall()]


def arrived(instance: Instance, leases: Sequence[Lease], sent_here: Answer | None) -> bool:
    """Return whether what was handed out last has arrived at the client.

    Raises NotSettled while another process may be about to mark it.
    """
    if not leases:
        return False
    if leases[0].sent or (instance.id, leases[0].read_seq) == sent_here:
        return True
    if leases[0].is_young:
        raise NotSettled
    return False


def _cover(
    cursor: CursorWrapper, instance: Instance, leases: Sequence[Lease], commits: Sequence[Commit]
) -> None:
    """Settle the leases that a commit covers."""
    ends = {(one.topic, one.partition): one.position for one in commits}
    covered = [lease for lease in leases if ends.get(lease.part, -1) >= lease.stop]
    if covered:
        settle(cursor, instance, covered, commit=False)


@guarded
def committed(name: Name, parts: Collection[Part] | None) -> list[Committed]:
    """Return what the group has committed, of these partitions or of all. Raises InstanceGone."""
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        cursor.execute(COMMITTED, [instance.group])
        found = [Committed(*row) for row in cursor.fetchall()]
    return [one for one in found if parts is None or (one.topic, one.partition) in parts]


@guarded
def seek(name: Name, wanted: Mapping[Part, int]) -> None:
    """Read on elsewhere; what was handed out of these partitions is forgotten.

    Raises InstanceGone, and IllegalState where a partition is not held.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        held = set(_held(cursor, instance))
        if missing := sorted(wanted.keys() - held):
            topic, partition = missing[0]
            raise IllegalState(f"partition {partition} of {topic} is not assigned")
        topics, numbers = columns(list(wanted))
        cursor.execute(ADVANCE, [topics, numbers, list(wanted.values()), instance.id])
        cursor.execute(DROP_LEASES, [topics, numbers, instance.id])
        cursor.execute(FORGET_READ, [instance.id])


@guarded
def held(name: Name) -> list[Part]:
    """Return the partitions that the instance reads. Raises InstanceGone."""
    with transaction.atomic(), connection.cursor() as cursor:
        return _held(cursor, touch(cursor, name))


def _held(cursor: CursorWrapper, instance: Instance) -> list[Part]:
    if instance.is_stale:
        ownership.learn(cursor, instance)
    cursor.execute(HELD, [instance.id])
    return [(row[0], row[1]) for row in cursor.fetchall()]
