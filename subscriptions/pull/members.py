"""gRPC's instances of a group: a stream's session, or a call that comes and goes; and seeks."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from subscriptions.audit import Actor
from subscriptions.pull import groups, ownership
from subscriptions.pull.groups import Starts
from subscriptions.pull.leases import TakenOver, check_session
from subscriptions.pull.rows import (
    LOCK_GROUP,
    IllegalState,
    InstanceExists,
    InstanceGone,
    Name,
    Part,
    columns,
    guarded,
    touch,
)

DOOR = "grpc"

SET_SETTINGS = "UPDATE pull_instance SET settings = %s, timeout = %s WHERE id = %s"  # primary key
RESET = """
UPDATE pull_assignment AS a SET position = coalesce(p.committed, p.start)
  FROM pull_position AS p
 WHERE a.instance_id = %s AND p.group_id = %s AND p.topic = a.topic AND p.partition = a.partition
"""  # by the unique indexes on (instance, topic, partition) and (group, topic, partition)
DROP_LEASES = "DELETE FROM pull_lease WHERE instance_id = %s"  # by the index on (instance, seq)
FIND_GROUP = "SELECT id FROM pull_group WHERE partner_id = %s AND name = %s"  # by unique index
SEEK = """
UPDATE pull_position AS p SET committed = n.position, committed_at = now(), acked = '{}'
  FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS n(topic, partition, position)
 WHERE p.group_id = %s AND p.topic = n.topic AND p.partition = n.partition
"""  # by the unique index on (group, topic, partition)
SEEK_ASSIGNED = """
UPDATE pull_assignment AS a SET position = n.position
  FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS n(topic, partition, position),
       pull_instance AS i
 WHERE i.group_id = %s AND a.instance_id = i.id
   AND a.topic = n.topic AND a.partition = n.partition
"""  # by the unique indexes on (group, name) and (instance, topic, partition)
SEEK_LEASES = """
DELETE FROM pull_lease AS l USING unnest(%s::text[], %s::int[]) AS n(topic, partition)
 WHERE l.group_id = %s AND l.topic = n.topic AND l.partition = n.partition
"""
SEEK_AGAIN = """
DELETE FROM pull_exception AS e USING unnest(%s::text[], %s::int[]) AS n(topic, partition)
 WHERE e.group_id = %s AND e.topic = n.topic AND e.partition = n.partition AND e.state = 'retry'
"""  # by the unique index on (group, topic, partition, offset)


@guarded
def join(
    actor: Actor,
    name: Name,
    *,
    topics: Sequence[str],
    order_mode: str,
    starts: Starts,
    timeout: timedelta,
    session: str,
) -> None:
    """Let an instance share topics of a group, which is made at first use.

    order_mode  what the group must have; ``""`` for any
    starts      of partitions where the group has no position
    session     of a stream, which ends an older one of the name; ``""`` for a call on its own

    Raises IllegalState for another order mode or a name that a stream has, QuotaExceeded for too
    many groups or instances.
    """
    settings: Mapping[str, object] = {"auto_commit": False, "session": session}
    known: tuple[str, ...] = ()

    def create() -> None:
        groups.create_instance(
            actor, name, door=DOOR, settings=settings, timeout=timeout, order_mode=order_mode
        )

    try:
        create()
    except InstanceExists:
        try:
            known = _renew(name, settings, timeout, session)
        except InstanceGone:  # its last session has ended it just now
            create()
    if known != tuple(topics):
        groups.subscribe(name, topics, "", starts)


def _renew(
    name: Name, settings: Mapping[str, object], timeout: timedelta, session: str
) -> tuple[str, ...]:
    """Take an instance over; what its last session held comes again at once."""
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        if instance.manual or instance.settings.get("session") is None:
            raise IllegalState("an instance of another door has this name; choose another")
        if not session:
            check_session(instance, session)
            return instance.topics
        text = msgspec.json.encode(settings).decode()
        cursor.execute(SET_SETTINGS, [text, str(timeout), instance.id])
        cursor.execute(DROP_LEASES, [instance.id])
        cursor.execute(RESET, [instance.id, instance.group])
        return instance.topics


@guarded
def leave(name: Name, session: str) -> None:
    """End an instance, where it is still this session's: others take its partitions at once.

    One transaction: a session that joins meanwhile would be ended for the one before it.
    """
    with (
        suppress(InstanceGone, TakenOver, IllegalState),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        instance = touch(cursor, name)
        check_session(instance, session)
        cursor.execute(LOCK_GROUP, [instance.group])
        ownership.remove(cursor, instance.group, [instance.id])


@guarded
def seek(partner: str, group: str, wanted: Mapping[Part, int]) -> None:
    """Move a group; what was handed out of these partitions is forgotten. Raises InstanceGone."""
    topics, numbers = columns(list(wanted))
    offsets = list(wanted.values())
    with transaction.atomic(), connection.cursor() as cursor:
        found = _lock(cursor, partner, group)
        cursor.execute(SEEK, [topics, numbers, offsets, found])
        cursor.execute(SEEK_ASSIGNED, [topics, numbers, offsets, found])
        cursor.execute(SEEK_LEASES, [topics, numbers, found])
        cursor.execute(SEEK_AGAIN, [topics, numbers, found])


def _lock(cursor: CursorWrapper, partner: str, group: str) -> int:
    cursor.execute(FIND_GROUP, [partner, group])
    row = cursor.fetchone()
    if row is None:
        raise InstanceGone
    cursor.execute(LOCK_GROUP, [row[0]])
    return int(row[0])
