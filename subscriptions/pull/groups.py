"""Groups and instances: made, subscribed, assigned, ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper

from kafkahub import config
from kafkahub.errors import QuotaExceeded
from subscriptions import audit
from subscriptions.audit import Actor, Verb
from subscriptions.models import Partner, PullGroup, Subscription
from subscriptions.pull import ownership, positions
from subscriptions.pull.positions import Answer
from subscriptions.pull.rows import (
    LOCK_GROUP,
    RAISE,
    IllegalState,
    Instance,
    InstanceExists,
    Name,
    Part,
    columns,
    guarded,
    touch,
)

QUOTA_RETRY_S = 60

FIND_GROUP = "SELECT id, order_mode FROM pull_group WHERE partner_id = %s AND name = %s"  # unique
COUNT_INSTANCES = """
SELECT count(*) FROM pull_instance AS i JOIN pull_group AS g ON g.id = i.group_id
 WHERE g.partner_id = %s AND i.last_seen + i.timeout > now()
"""  # by the unique indexes on (partner, name) and (group, name)
TAKEN = """
SELECT id, last_seen + timeout > now() FROM pull_instance WHERE group_id = %s AND name = %s
   FOR UPDATE
"""  # by the unique index on (group, name)
INSERT_INSTANCE = """
INSERT INTO pull_instance (id, group_id, name, door, settings, topics, pattern, manual, generation,
                           read_seq, timeout)
VALUES (%s, %s, %s, %s, %s, '{}', '', false, -1, 0, %s)
"""
SUBSCRIBE = """
UPDATE pull_instance SET topics = %s, pattern = %s, generation = -1, read_token = NULL
 WHERE id = %s
"""  # by primary key
ASSIGN = "UPDATE pull_instance SET manual = %s, read_token = NULL WHERE id = %s"  # by primary key
BEGIN = """
INSERT INTO pull_position AS p (group_id, topic, partition, topic_epoch, start, metadata,
                                owner_generation)
SELECT %s, topic, partition, epoch, start, '', 0
  FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[]) AS n(topic, partition, epoch, start)
 ORDER BY topic, partition
ON CONFLICT (group_id, topic, partition) DO UPDATE
   SET start = excluded.start, topic_epoch = excluded.topic_epoch
 WHERE p.committed IS NULL AND p.owner_instance IS NULL
"""  # a start that another instance fixed stays while it is there
ADD = f"{BEGIN[: BEGIN.index('DO UPDATE')]}DO NOTHING"
DROP_UNASSIGNED = """
DELETE FROM pull_assignment AS a WHERE a.instance_id = %s AND NOT EXISTS (
       SELECT 1 FROM unnest(%s::text[], %s::int[]) AS n(topic, partition)
        WHERE n.topic = a.topic AND n.partition = a.partition)
"""  # by the unique index on (instance, topic, partition)
DROP_LEASES = "DELETE FROM pull_lease WHERE instance_id = %s"  # by the index on (instance, seq)
ADD_ASSIGNED = """
INSERT INTO pull_assignment (instance_id, topic, partition, position, owner_generation)
SELECT %s, n.topic, n.partition, coalesce(p.committed, n.start), 0
  FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS n(topic, partition, start)
  LEFT JOIN pull_position AS p
    ON p.group_id = %s AND p.topic = n.topic AND p.partition = n.partition
ON CONFLICT (instance_id, topic, partition) DO NOTHING
"""
SET_TOPICS = "UPDATE pull_instance SET topics = %s WHERE id = %s AND topics <> %s"  # primary key
NOTE_TOPICS = """
UPDATE subscriptions_subscription AS s SET topics = n.topics
  FROM (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') AS topics
          FROM pull_instance AS i, unnest(i.topics) AS t WHERE i.group_id = %s) AS n
 WHERE s.id = %s AND s.topics <> n.topics AND cardinality(n.topics) > 0
"""  # by primary key; what the portal shows a group to read


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition begins for whoever has no position; ``epoch`` is Kafka's topic id."""

    offset: int | None
    epoch: str = ""


Starts = Mapping[Part, Start]


@guarded
def create_instance(
    actor: Actor,
    name: Name,
    *,
    door: str,
    settings: Mapping[str, object],
    timeout: timedelta,
    order_mode: str = "",
) -> UUID:
    """Make an instance, and its group and subscription at first use; return its id.

    order_mode  what the group must have; ``""``: its own, ``ordered`` for a new one

    Raises InstanceExists, IllegalState for a group of another order mode, QuotaExceeded for too
    many groups or instances.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        group, own_mode = _group(cursor, actor, name, order_mode or PullGroup.OrderMode.ORDERED)
        if door == "v2" and own_mode != PullGroup.OrderMode.ORDERED:
            raise IllegalState("the group hands out records in parallel; use gRPC")
        if order_mode and own_mode != order_mode:
            raise IllegalState(f"the group's mode is {own_mode}")
        cursor.execute(LOCK_GROUP, [group])
        _free_name(cursor, group, name.instance)
        cursor.execute(COUNT_INSTANCES, [name.partner])
        limit = config.load().max_pull_instances
        if cursor.fetchone()[0] >= limit:
            text = f"A partner may have {limit} consumer instances."
            raise QuotaExceeded(text, retry_after_s=QUOTA_RETRY_S)
        made = uuid4()
        text = msgspec.json.encode(settings).decode()
        cursor.execute(INSERT_INSTANCE, [made, group, name.instance, door, text, str(timeout)])
    return made


def open_group(cursor: CursorWrapper, actor: Actor, name: Name) -> int:
    """Return the id of a group, which is made at first use. Raises QuotaExceeded for too many."""
    group, _ = _group(cursor, actor, name, PullGroup.OrderMode.ORDERED)
    return group


def _group(cursor: CursorWrapper, actor: Actor, name: Name, order_mode: str) -> tuple[int, str]:
    """Return id and order mode of the group; a new one is made and audited."""
    cursor.execute(FIND_GROUP, [name.partner, name.group])
    row = cursor.fetchone()
    if row is None:
        try:
            with transaction.atomic():
                return _new_group(actor, name, order_mode), order_mode
        except IntegrityError:  # somebody made it a moment ago
            cursor.execute(FIND_GROUP, [name.partner, name.group])
            row = cursor.fetchone()
    return row[0], row[1]


def _new_group(actor: Actor, name: Name, order_mode: str) -> int:
    Partner.objects.select_for_update(no_key=True).filter(pk=name.partner).first()
    limit = config.load().max_pull_groups
    if PullGroup.objects.filter(partner_id=name.partner).count() >= limit:
        text = f"A partner may have {limit} consumer groups."
        raise QuotaExceeded(text, retry_after_s=QUOTA_RETRY_S)
    subscription = Subscription.objects.create(
        partner_id=name.partner,
        endpoint=None,
        mode=Subscription.Mode.PULL,
        name=name.group,
        topics=[],
        start="latest",
    )
    group = PullGroup.objects.create(
        subscription=subscription,
        partner_id=name.partner,
        name=name.group,
        order_mode=order_mode,
    )
    shown: audit.Changes = {"name": (None, name.group), "mode": (None, "pull")}
    audit.append(actor, Verb.SUBSCRIPTION_CREATED, subscription, shown)
    return group.pk


def _free_name(cursor: CursorWrapper, group: int, name: str) -> None:
    """Remove an instance of that name that has ended by time. Raises InstanceExists."""
    cursor.execute(TAKEN, [group, name])
    row = cursor.fetchone()
    if row is None:
        return
    if row[1]:
        raise InstanceExists
    ownership.remove(cursor, group, [row[0]])


@guarded
def get(name: Name) -> Instance:
    """Return an instance, which counts as a call of its client. Raises InstanceGone."""
    with transaction.atomic(), connection.cursor() as cursor:
        return touch(cursor, name)


@guarded
def subscribe(name: Name, topics: Sequence[str], pattern: str, starts: Starts) -> None:
    """Let the instance share these topics; what it had before is replaced.

    topics  names it may read now; for a pattern, those that match
    starts  of all their partitions; where the group has a position that one stands

    Raises InstanceGone, and IllegalState after an assignment.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        if instance.manual:
            raise IllegalState("partitions are assigned; unsubscribe first")
        cursor.execute(LOCK_GROUP, [instance.group])
        ownership.remove_expired(cursor, instance.group, instance.id)
        _begin(cursor, instance.group, starts, BEGIN)
        cursor.execute(SUBSCRIBE, [list(topics), pattern, instance.id])
        cursor.execute(RAISE, [instance.group])
        cursor.execute(NOTE_TOPICS, [instance.group, instance.subscription])


@guarded
def unsubscribe(name: Name, *, sent_here: Answer | None = None) -> None:
    """Let the instance read nothing any more; the group's positions stay.

    Otherwise as ``delete``.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        cursor.execute(LOCK_GROUP, [instance.group])
        _drop(cursor, instance, sent_here)
        cursor.execute(SUBSCRIBE, [[], "", instance.id])
        cursor.execute(ASSIGN, [False, instance.id])
        cursor.execute(RAISE, [instance.group])


@guarded
def assign(name: Name, starts: Starts) -> None:
    """Let the instance read exactly these partitions; partitions it keeps keep their position.

    Raises InstanceGone, and IllegalState after a subscription.
    """
    parts = list(starts)
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        if instance.is_subscribed:
            raise IllegalState("topics are subscribed to; unsubscribe first")
        topics, numbers = columns(parts)
        cursor.execute(DROP_LEASES, [instance.id])
        cursor.execute(DROP_UNASSIGNED, [instance.id, topics, numbers])
        offsets = [starts[part].offset for part in parts]
        _begin(cursor, instance.group, starts, ADD)  # keeps the ids of the topics
        cursor.execute(ADD_ASSIGNED, [instance.id, topics, numbers, offsets, instance.group])
        cursor.execute(ASSIGN, [bool(parts), instance.id])


@guarded
def widen(name: Name, topics: Sequence[str], starts: Starts) -> None:
    """Take up topics and partitions that are new since the subscription. Raises InstanceGone.

    Where somebody was quicker nothing changes.

    starts  of the new ones: whatever came into them came after the subscription
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        cursor.execute(LOCK_GROUP, [instance.group])
        changed = _begin(cursor, instance.group, starts, ADD)
        cursor.execute(SET_TOPICS, [list(topics), instance.id, list(topics)])
        if changed or cursor.rowcount:
            cursor.execute(RAISE, [instance.group])
            cursor.execute(NOTE_TOPICS, [instance.group, instance.subscription])


@guarded
def delete(name: Name, *, sent_here: Answer | None = None) -> None:
    """End an instance; with auto-commit, what arrived at its client is committed first.

    sent_here  instance and number of an answer that this process knows it has sent

    Raises InstanceGone, and NotSettled while another process may be about to mark the last answer.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        cursor.execute(LOCK_GROUP, [instance.group])
        _commit_sent(cursor, instance, sent_here)
        ownership.remove(cursor, instance.group, [instance.id])


def _begin(cursor: CursorWrapper, group: int, starts: Starts, statement: str) -> int:
    """Fix where partitions begin; return how many of them were fixed just now."""
    if not starts:
        return 0
    topics, numbers = columns(list(starts))
    epochs = [start.epoch for start in starts.values()]
    offsets = [start.offset for start in starts.values()]
    cursor.execute(statement, [group, topics, numbers, epochs, offsets])
    return int(cursor.rowcount)


def _commit_sent(cursor: CursorWrapper, instance: Instance, sent_here: Answer | None) -> None:
    if not instance.auto_commit:
        return
    leases = positions.leases_of(cursor, instance)
    if positions.arrived(instance, leases, sent_here):
        positions.settle(cursor, instance, leases, commit=True)


def _drop(cursor: CursorWrapper, instance: Instance, sent_here: Answer | None) -> None:
    gone = [instance.id]
    _commit_sent(cursor, instance, sent_here)
    cursor.execute(ownership.DELETE_LEASES, [gone])
    cursor.execute(ownership.DELETE_ASSIGNMENTS, [gone])
    cursor.execute(ownership.FREE_POSITIONS, [instance.group, gone])
