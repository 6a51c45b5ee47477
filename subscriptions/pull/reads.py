"""A read is a lease: begun (T1), handed out (T2), sent (T3), settled by the read after it.

No transaction is open while anybody waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from kafkahub.failpoints import failpoint
from subscriptions import audit
from subscriptions.audit import Actor, ActorKind, Subject, Verb
from subscriptions.pull import ownership, positions
from subscriptions.pull.positions import Answer, Lease
from subscriptions.pull.rows import Instance, Name, NotSettled, Part, columns, guarded, touch

LAZY = "SET LOCAL synchronous_commit = off"
"""Where nothing would be lost but the time of a call."""
TOKEN = "UPDATE pull_instance SET read_token = %s WHERE id = %s"  # noqa: S105 - by primary key
ASSIGNED = """
SELECT a.topic, a.partition, a.position, coalesce(p.topic_epoch, '') FROM pull_assignment AS a
  LEFT JOIN pull_position AS p
    ON p.group_id = %s AND p.topic = a.topic AND p.partition = a.partition
 WHERE a.instance_id = %s ORDER BY a.topic, a.partition
"""  # by the unique indexes on (instance, topic, partition) and (group, topic, partition)
NUMBER = """
UPDATE pull_instance AS i SET read_seq = read_seq + 1
  FROM pull_group AS g
 WHERE i.id = %s AND i.read_token = %s AND g.id = i.group_id
   AND (i.manual OR i.generation = g.generation)
RETURNING i.read_seq, g.id
"""  # by primary key
INSERT_LEASES = """
INSERT INTO pull_lease (group_id, instance_id, topic, partition, from_offset, to_offset, read_seq,
                        sent)
SELECT %s, %s, n.topic, n.partition, n.start, n.stop, %s, false
  FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[])
       AS n(topic, partition, start, stop)
"""
MARK_SENT = """
UPDATE pull_lease AS l SET sent = true FROM unnest(%s::uuid[], %s::bigint[]) AS n(instance, seq)
 WHERE l.instance_id = n.instance AND l.read_seq = n.seq
"""  # by the index on (instance, read_seq)
MOVE = """
UPDATE pull_assignment SET position = %s
 WHERE instance_id = %s AND topic = %s AND partition = %s
"""  # by the unique index on (instance, topic, partition)
RENEW = """
UPDATE pull_position SET committed = NULL, metadata = '', start = %s, topic_epoch = %s, acked = '{}'
 WHERE group_id = %s AND topic = %s AND partition = %s
"""  # by the unique index on (group, topic, partition)
FORGET_AGAIN = """
DELETE FROM pull_exception
 WHERE group_id = %s AND topic = %s AND partition = %s AND state = 'retry'
"""  # by the unique index on (group, topic, partition, offset)
IS_OURS = "SELECT group_id FROM pull_instance WHERE id = %s AND read_token = %s"  # primary key
GAP = """
INSERT INTO pull_gap (group_id, topic, partition, from_offset, to_offset, reason)
VALUES (%s, %s, %s, %s, %s, %s)
"""
GAPS_KEPT = 20
FORGET_GAPS = """
DELETE FROM pull_gap WHERE group_id = %s AND id NOT IN (
       SELECT id FROM pull_gap WHERE group_id = %s ORDER BY at DESC, id DESC LIMIT %s)
"""  # by the index on (group, at)


class Range(NamedTuple):
    """Offsets of a partition from ``start`` up to ``stop``, which is not among them."""

    topic: str
    partition: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A read that may go on.

    positions  next offset by partition; None where nothing says where to begin
    again      ranges to be handed out once more, and nothing else
    seq        number of the last answer
    epochs     Kafka's id of the topic that a position belongs to; those without one are left out
    """

    instance: Instance
    token: UUID
    positions: Mapping[Part, int | None]
    again: Sequence[Range]
    seq: int
    epochs: Mapping[Part, str] = field(default_factory=dict)


@guarded
def begin(name: Name, *, receipt: int | None, sent_here: Answer | None) -> Begun:
    """Settle the last read and begin the next one (T1).

    receipt    ``KafkaHub-Read-Id`` of the request, None without one
    sent_here  instance and number of an answer that this process knows it has sent

    Raises InstanceGone, and NotSettled while another process may be about to mark the last answer.
    """
    token = uuid4()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LAZY)
        instance = touch(cursor, name)
        leases = positions.leases_of(cursor, instance)
        again = _settle(cursor, instance, leases, receipt=receipt, sent_here=sent_here)
        if instance.is_stale or (
            instance.is_subscribed and ownership.has_expired(cursor, instance)
        ):
            ownership.learn(cursor, instance)
            again = _still_ours(cursor, instance, again)
        cursor.execute(TOKEN, [token, instance.id])
        cursor.execute(ASSIGNED, [instance.group, instance.id])
        rows = cursor.fetchall()
    found = {(row[0], row[1]): row[2] for row in rows}
    epochs = {(row[0], row[1]): row[3] for row in rows if row[3]}
    return Begun(instance, token, found, again, instance.read_seq, epochs)


def _settle(
    cursor: CursorWrapper,
    instance: Instance,
    leases: Sequence[Lease],
    *,
    receipt: int | None,
    sent_here: Answer | None,
) -> list[Range]:
    """Settle what arrived; return what must be handed out again."""
    if not leases:
        return []
    seq = leases[0].read_seq
    is_sent = leases[0].sent or sent_here == (instance.id, seq)
    arrived = is_sent if receipt is None else receipt == seq
    if not arrived and receipt is None and leases[0].is_young:
        raise NotSettled
    if not arrived:
        return [Range(one.topic, one.partition, one.start, one.stop) for one in leases]
    if instance.auto_commit:
        cursor.execute("SET LOCAL synchronous_commit = on")
    positions.settle(cursor, instance, leases, commit=instance.auto_commit)
    return []


def _still_ours(cursor: CursorWrapper, instance: Instance, again: list[Range]) -> list[Range]:
    if not again:
        return again
    left = {lease.part for lease in positions.leases_of(cursor, instance)}
    return [one for one in again if (one.topic, one.partition) in left]


@guarded
def hand_out(begun: Begun, ranges: Sequence[Range]) -> int | None:
    """Lease what is about to be answered (T2); return the answer's number.

    None when a newer read took over, a seek came between, or partitions moved: then the answer is
    empty.
    """
    instance = begun.instance.id
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NUMBER, [instance, begun.token])
        row = cursor.fetchone()
        if row is None:
            return None
        seq, group = row
        cursor.execute("DELETE FROM pull_lease WHERE instance_id = %s", [instance])
        topics, numbers = columns([(one.topic, one.partition) for one in ranges])
        starts, stops = [one.start for one in ranges], [one.stop for one in ranges]
        cursor.execute(INSERT_LEASES, [group, instance, seq, topics, numbers, starts, stops])
        failpoint("pull.before_hand_out")
    failpoint("pull.after_hand_out")
    return int(seq)


@guarded
def mark_sent(answers: Sequence[tuple[UUID, int]]) -> None:
    """Note that these answers were accepted whole by peers that were still there (T3)."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LAZY)
        cursor.execute(MARK_SENT, [[one for one, _ in answers], [seq for _, seq in answers]])


@guarded
def skip(begun: Begun, gap: Range, reason: str, position: int | None, epoch: str = "") -> bool:
    """Go on at another position where Kafka no longer has the old one, and note the gap.

    position  None: nothing says where to go on
    epoch     Kafka's id of the topic where that is another one by now: what was handed out of the
              older one is forgotten

    Returns False, and does nothing, when the read is not ours any more.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(IS_OURS, [begun.instance.id, begun.token])
        if cursor.fetchone() is None:
            return False
        cursor.execute(MOVE, [position, begun.instance.id, gap.topic, gap.partition])
        if epoch:
            part = (gap.topic, gap.partition)
            cursor.execute(positions.DROP_LEASES, [*columns([part]), begun.instance.id])
            renew(cursor, begun.instance.group, part, position, epoch)
        note_gap(cursor, begun.instance, gap, reason)
    return True


def note_gap(cursor: CursorWrapper, instance: Instance, gap: Range, reason: str) -> None:
    """Note what a group will never get, for its stats and in the audit log."""
    cursor.execute(GAP, [instance.group, *gap, reason])
    cursor.execute(FORGET_GAPS, [instance.group, instance.group, GAPS_KEPT])
    place = f"{gap.topic}[{gap.partition}]"
    audit.append(
        Actor(ActorKind.SYSTEM, "pull"),
        Verb.GAP_FOUND,
        Subject("subscription", instance.subscription, partner=instance.partner),
        {"position": (gap.start, gap.stop), "gap": (place, reason)},
    )


def renew(cursor: CursorWrapper, group: int, part: Part, position: int | None, epoch: str) -> None:
    """Begin a partition anew: its offsets are those of another topic of the name."""
    cursor.execute(RENEW, [position, epoch, group, *part])
    cursor.execute(FORGET_AGAIN, [group, *part])
