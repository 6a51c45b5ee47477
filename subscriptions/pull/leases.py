"""Records handed out with a lease: gRPC's way to read in a group, from any process.

An instance's ``pull_assignment.position`` runs ahead of what is acknowledged; a lease says what
lies between. A lease that ends gives its records back: in an ordered group the partition goes back
to its first one, in a parallel one each record comes again for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from subscriptions.models import PullGroup
from subscriptions.pull import ownership
from subscriptions.pull.reads import Range, note_gap, renew
from subscriptions.pull.rows import IllegalState, Instance, Name, Part, guarded, touch

PARALLEL = PullGroup.OrderMode.PARALLEL
MAX_DUE = 100
"""Records that come again in one read of a parallel group; each is a read of its own."""

EXPIRED = """
SELECT id, topic, partition, from_offset, offsets FROM pull_lease
 WHERE instance_id = %s AND NOT settled AND expires_at <= now()
 ORDER BY topic, partition, from_offset FOR UPDATE
"""  # by the index on (instance, read_seq)
FORGET_SETTLED = """
DELETE FROM pull_lease WHERE instance_id = %s AND settled AND expires_at <= now()
"""  # by the index on (instance, read_seq)
DELETE_LEASES = "DELETE FROM pull_lease WHERE id = ANY(%s)"  # by primary key
BACK = """
UPDATE pull_assignment SET position = %s
 WHERE instance_id = %s AND topic = %s AND partition = %s AND position > %s
"""  # by the unique index on (instance, topic, partition)
DROP_FROM = """
DELETE FROM pull_lease WHERE instance_id = %s AND topic = %s AND partition = %s
   AND NOT settled AND from_offset >= %s
"""  # by the index on (instance, read_seq)
CUT = """
UPDATE pull_lease SET to_offset = %s WHERE instance_id = %s AND topic = %s AND partition = %s
   AND NOT settled AND from_offset < %s AND to_offset > %s
"""  # by the index on (instance, read_seq)
AGAIN = """
INSERT INTO pull_exception AS e
       (group_id, topic, partition, "offset", attempt, state, due_at, reason)
VALUES (%s, %s, %s, %s, 1, 'retry', now() + %s * interval '1 second', %s)
ON CONFLICT (group_id, topic, partition, "offset") DO UPDATE
   SET attempt = e.attempt + 1, due_at = excluded.due_at, reason = excluded.reason
 WHERE e.state = 'retry'
"""  # ``attempt`` counts those that are over
ASSIGNED = """
SELECT a.topic, a.partition, a.position, coalesce(l.records, 0), coalesce(l.bytes, 0),
       coalesce(p.topic_epoch, ''), coalesce(e.waits, false)
  FROM pull_assignment AS a
  LEFT JOIN pull_position AS p
    ON p.group_id = %s AND p.topic = a.topic AND p.partition = a.partition
  LEFT JOIN LATERAL (
       SELECT sum((SELECT count(*) FROM unnest(offsets) AS o WHERE o >= 0)) AS records,
              sum(size) AS bytes
         FROM pull_lease
        WHERE instance_id = a.instance_id AND topic = a.topic AND partition = a.partition
          AND NOT settled) AS l ON true
  LEFT JOIN LATERAL (
       SELECT bool_or(due_at > now()) AS waits FROM pull_exception
        WHERE group_id = %s AND topic = a.topic AND partition = a.partition
          AND "offset" = a.position AND state = 'retry') AS e ON true
 WHERE a.instance_id = %s ORDER BY a.topic, a.partition
"""  # by the unique indexes on (instance, topic, partition) and (group, topic, partition, offset)
DUE = """
SELECT e.topic, e.partition, e."offset", e.attempt FROM pull_exception AS e
  JOIN pull_assignment AS a
    ON a.instance_id = %s AND a.topic = e.topic AND a.partition = e.partition
 WHERE e.group_id = %s AND e.state = 'retry' AND e.due_at <= now()
 ORDER BY e.due_at LIMIT %s FOR UPDATE OF e SKIP LOCKED
"""  # by the unique index on (group, topic, partition, offset)
ATTEMPTS = """
SELECT topic, partition, "offset", attempt FROM pull_exception
 WHERE group_id = %s AND state = 'retry'
   AND (topic, partition) IN (SELECT * FROM unnest(%s::text[], %s::int[]))
"""  # by the unique index on (group, topic, partition, offset)
OUT = """
UPDATE pull_exception SET due_at = NULL
 WHERE group_id = %s AND topic = %s AND partition = %s AND "offset" = %s AND state = 'retry'
   AND due_at IS NOT NULL
"""  # by the unique index on (group, topic, partition, offset)
IS_CURRENT = """
SELECT i.generation = g.generation FROM pull_instance AS i
  JOIN pull_group AS g ON g.id = i.group_id WHERE i.id = %s FOR UPDATE OF i
"""  # by primary key
MOVE = """
UPDATE pull_assignment SET position = %s
 WHERE instance_id = %s AND topic = %s AND partition = %s AND position = %s
"""  # by the unique index on (instance, topic, partition)
INSERT = """
INSERT INTO pull_lease (group_id, instance_id, topic, partition, from_offset, to_offset, read_seq,
                        sent, expires_at, offsets, size, settled)
VALUES (%s, %s, %s, %s, %s, %s, 0, false, now() + %s * interval '1 second', %s, %s, %s)
RETURNING id
"""
COMMIT_HIDDEN = """
UPDATE pull_position AS p SET committed = %s, committed_at = now()
 WHERE p.group_id = %s AND p.topic = %s AND p.partition = %s AND p.owner_instance = %s
   AND coalesce(p.committed, p.start) = %s
"""  # by the unique index on (group, topic, partition)
ADD_ACKED = """
UPDATE pull_position SET acked = acked + %s::int8multirange
 WHERE group_id = %s AND topic = %s AND partition = %s
"""  # by the unique index on (group, topic, partition)
ADVANCE = """
UPDATE pull_position AS p
   SET committed = upper(n.first), committed_at = now(),
       acked = p.acked - int8multirange(int8range(NULL, upper(n.first)))
  FROM (SELECT group_id, topic, partition,
               (SELECT r FROM unnest(acked) AS r ORDER BY r LIMIT 1) AS first
          FROM pull_position
         WHERE group_id = %s AND topic = %s AND partition = %s) AS n
 WHERE p.group_id = n.group_id AND p.topic = n.topic AND p.partition = n.partition
   AND lower(n.first) <= coalesce(p.committed, p.start)
"""  # by the unique index on (group, topic, partition)
GO_ON = """
UPDATE pull_position SET committed = %s, committed_at = now()
 WHERE group_id = %s AND topic = %s AND partition = %s AND owner_instance = %s
"""  # by the unique index on (group, topic, partition)


class Held(NamedTuple):
    """A partition: next offset to hand out, what is out, Kafka's id of its topic where known."""

    position: int | None
    records: int
    bytes: int
    epoch: str = ""


class Due(NamedTuple):
    """A record of a parallel group that is to come again; ``attempt`` counts those before."""

    topic: str
    partition: int
    offset: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What an instance may hand out now.

    held      by partition; those that wait for a delayed record are left out
    due       records that come again
    attempts  those before, of records that came back in an ordered group
    """

    instance: Instance
    held: Mapping[Part, Held]
    due: Sequence[Due]
    attempts: Mapping[tuple[str, int, int], int]


class Grab(NamedTuple):
    """Offsets from ``start`` up to ``stop``, of which ``offsets`` are shown."""

    topic: str
    partition: int
    start: int
    stop: int
    offsets: Sequence[int]
    size: int


class TakenOver(Exception):
    """A newer session has the instance's name."""


@guarded
def take(name: Name, session: str) -> Turn:
    """Return what may be handed out; what was not acknowledged in time goes back first.

    session  of a stream, ``""`` for a call on its own
    Raises InstanceGone, TakenOver.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        instance = touch(cursor, name)
        check_session(instance, session)
        if instance.is_stale or ownership.has_expired(cursor, instance):
            ownership.learn(cursor, instance)
        _give_back(cursor, instance)
        cursor.execute(ASSIGNED, [instance.group, instance.group, instance.id])
        held = {(row[0], row[1]): Held(*row[2:6]) for row in cursor.fetchall() if not row[6]}
        due, attempts = _again(cursor, instance, list(held))
    return Turn(instance, held, due, attempts)


def check_session(instance: Instance, session: str) -> None:
    """Raise TakenOver where the instance is another session's by now."""
    if instance.settings.get("session", "") == session:
        return
    if session:
        raise TakenOver
    raise IllegalState("a stream has this instance's name; choose another")


def _give_back(cursor: CursorWrapper, instance: Instance) -> None:
    cursor.execute(FORGET_SETTLED, [instance.id])
    cursor.execute(EXPIRED, [instance.id])
    rows = cursor.fetchall()
    if instance.order_mode == PARALLEL:
        for _, topic, partition, _, offsets in rows:
            for offset in open_of(offsets):
                again(cursor, instance.group, (topic, partition), offset, reason="lease expired")
        cursor.execute(DELETE_LEASES, [[row[0] for row in rows]])
        return
    firsts: dict[Part, int] = {}
    for _, topic, partition, start, _ in rows:
        firsts.setdefault((topic, partition), start)
    for part, start in firsts.items():
        rewind(cursor, instance.id, part, start)
        again(cursor, instance.group, part, start, reason="lease expired")


def open_of(offsets: Sequence[int]) -> list[int]:
    """Return the offsets of a lease that nobody settled."""
    return [offset for offset in offsets if offset >= 0]


def rewind(cursor: CursorWrapper, instance: UUID, part: Part, offset: int) -> None:
    """Let a partition be handed out from this offset again; leases behind it end."""
    cursor.execute(BACK, [offset, instance, *part, offset])
    cursor.execute(DROP_FROM, [instance, *part, offset])
    cursor.execute(CUT, [offset, instance, *part, offset, offset])


def again(
    cursor: CursorWrapper,
    group: int,
    part: Part,
    offset: int,
    *,
    reason: str,
    delay_s: float = 0.0,
) -> None:
    """Note that a record comes again, after a while."""
    cursor.execute(AGAIN, [group, *part, offset, delay_s, reason])


def _again(
    cursor: CursorWrapper, instance: Instance, parts: list[Part]
) -> tuple[list[Due], dict[tuple[str, int, int], int]]:
    if instance.order_mode == PARALLEL:
        cursor.execute(DUE, [instance.id, instance.group, MAX_DUE])
        return [Due(*row) for row in cursor.fetchall()], {}
    topics, numbers = [topic for topic, _ in parts], [number for _, number in parts]
    cursor.execute(ATTEMPTS, [instance.group, topics, numbers])
    return [], {(row[0], row[1], row[2]): row[3] for row in cursor.fetchall()}


@guarded
def lease(
    instance: Instance, grabs: Sequence[Grab], due: Sequence[Grab], lease_s: float
) -> list[int | None]:
    """Hand out; return the lease of each grab, then of each due record.

    None for what somebody else handed out meanwhile, or is not this instance's any more.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(IS_CURRENT, [instance.id])
        row = cursor.fetchone()
        if row is None or not row[0]:
            return [None] * (len(grabs) + len(due))
        fresh = [_hand_out(cursor, instance, one, lease_s) for one in grabs]
        return fresh + [_hand_again(cursor, instance, one, lease_s) for one in due]


def _hand_out(cursor: CursorWrapper, instance: Instance, grab: Grab, lease_s: float) -> int | None:
    part = (grab.topic, grab.partition)
    cursor.execute(MOVE, [grab.stop, instance.id, *part, grab.start])
    if cursor.rowcount == 0:
        return None
    if instance.order_mode == PARALLEL:
        ack_ranges(cursor, instance.group, part, hidden_of(grab))
    elif not grab.offsets:
        cursor.execute(COMMIT_HIDDEN, [grab.stop, instance.group, *part, instance.id, grab.start])
    if not grab.offsets and (instance.order_mode == PARALLEL or cursor.rowcount):
        return None
    return _insert(cursor, instance, grab, lease_s)


def _hand_again(
    cursor: CursorWrapper, instance: Instance, grab: Grab, lease_s: float
) -> int | None:
    part = (grab.topic, grab.partition)
    cursor.execute(OUT, [instance.group, *part, grab.start])
    if cursor.rowcount == 0:
        return None
    if not grab.offsets:  # the partner may not see it any more
        ack_ranges(cursor, instance.group, part, [(grab.start, grab.stop)])
        return None
    return _insert(cursor, instance, grab, lease_s)


def _insert(cursor: CursorWrapper, instance: Instance, grab: Grab, lease_s: float) -> int:
    place = (instance.group, instance.id, grab.topic, grab.partition, grab.start, grab.stop)
    is_empty = not grab.offsets
    cursor.execute(INSERT, [*place, lease_s, list(grab.offsets), grab.size, is_empty])
    return int(cursor.fetchone()[0])


def hidden_of(grab: Grab) -> list[tuple[int, int]]:
    """Return the ranges of a grab that hold nothing to be shown."""
    ranges, at = [], grab.start
    for offset in (*grab.offsets, grab.stop):
        if offset > at:
            ranges.append((at, offset))
        at = offset + 1
    return ranges


def ack_ranges(
    cursor: CursorWrapper, group: int, part: Part, ranges: Sequence[tuple[int, int]]
) -> None:
    """Note ranges of a parallel group as done, and move ``committed`` as far as it goes."""
    if ranges:
        text = ",".join(f"[{start},{stop})" for start, stop in ranges)
        cursor.execute(ADD_ACKED, [f"{{{text}}}", group, *part])
        cursor.execute(ADVANCE, [group, *part])


@guarded
def skip(instance: Instance, gap: Range, reason: str, position: int, epoch: str = "") -> bool:
    """Go on at another position where Kafka no longer has the old one, and note the gap.

    epoch  Kafka's id of the topic where that is another one by now: then nothing that was handed
           out can be acknowledged any more

    Returns False, and does nothing, when somebody else has moved on.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(MOVE, [position, instance.id, gap.topic, gap.partition, gap.start])
        if cursor.rowcount == 0:
            return False
        part = (gap.topic, gap.partition)
        cursor.execute(GO_ON, [position, instance.group, *part, instance.id])
        if epoch:
            cursor.execute(DROP_FROM, [instance.id, *part, 0])
            renew(cursor, instance.group, part, position, epoch)
        note_gap(cursor, instance, gap, reason)
    return True
