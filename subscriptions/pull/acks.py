"""What clients say of records that they hold a lease on: done, again, longer, never."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from subscriptions.pull.leases import PARALLEL, ack_ranges, again, rewind
from subscriptions.pull.rows import Instance, InstanceGone, Part, guarded

Kind = Literal["ack", "nack", "extend", "reject"]
Why = Literal["LEASE_EXPIRED", "UNKNOWN_ACK_ID"]

ID_BYTES: Final = 10
_LEASE_BYTES: Final = 8

FIND_GROUP = "SELECT id, order_mode FROM pull_group WHERE partner_id = %s AND name = %s"  # unique
FIND = """
SELECT l.id, l.instance_id, l.topic, l.partition, l.from_offset, l.to_offset, l.offsets,
       l.settled, l.expires_at > now()
  FROM pull_lease AS l
 WHERE l.group_id = %s AND l.id = ANY(%s) AND l.offsets IS NOT NULL
 ORDER BY l.id FOR UPDATE
"""  # by primary key
COMMIT = """
UPDATE pull_position AS p SET committed = %s, committed_at = now()
 WHERE p.group_id = %s AND p.topic = %s AND p.partition = %s AND p.owner_instance = %s
   AND coalesce(p.committed, p.start, 0) <= %s AND EXISTS (
       SELECT 1 FROM pull_assignment AS a
        WHERE a.instance_id = p.owner_instance AND a.topic = p.topic
          AND a.partition = p.partition AND a.owner_generation = p.owner_generation)
"""  # by the unique indexes on (group, topic, partition) and (instance, topic, partition)
IS_BEHIND = """
SELECT 1 FROM pull_position WHERE group_id = %s AND topic = %s AND partition = %s
   AND committed >= %s
"""  # by the unique index on (group, topic, partition)
NEXT_HIDDEN = """
SELECT to_offset FROM pull_lease WHERE instance_id = %s AND topic = %s AND partition = %s
   AND settled AND from_offset = %s
"""  # by the index on (instance, read_seq)
SETTLE_TO = """
UPDATE pull_lease
   SET settled = to_offset <= %s, from_offset = least(greatest(from_offset, %s),
                                                            to_offset - 1),
       offsets = ARRAY(SELECT CASE WHEN o >= 0 AND o < %s THEN -1 - o ELSE o END
                         FROM unnest(offsets) WITH ORDINALITY AS n(o, i) ORDER BY i)
 WHERE instance_id = %s AND topic = %s AND partition = %s
   AND NOT settled AND from_offset < %s
"""  # by the index on (instance, read_seq)
FORGET_AGAIN = """
DELETE FROM pull_exception WHERE group_id = %s AND topic = %s AND partition = %s
   AND "offset" < %s AND state = 'retry'
"""  # by the unique index on (group, topic, partition, offset)
FORGET_SOME = """
DELETE FROM pull_exception WHERE group_id = %s AND topic = %s AND partition = %s
   AND "offset" = ANY(%s) AND state = 'retry'
"""  # by the unique index on (group, topic, partition, offset)
SET_OFFSETS = "UPDATE pull_lease SET offsets = %s, settled = %s WHERE id = %s"  # by primary key
EXTEND = """
UPDATE pull_lease SET expires_at = now() + %s * interval '1 second' WHERE id = %s
"""  # by primary key
BURY = """
INSERT INTO pull_exception AS e (group_id, topic, partition, "offset", attempt, state, reason)
VALUES (%s, %s, %s, %s, 1, 'dead', %s)
ON CONFLICT (group_id, topic, partition, "offset") DO UPDATE
   SET state = 'dead', due_at = NULL, reason = excluded.reason
"""
PAYLOAD = """
UPDATE pull_exception SET payload = %s
 WHERE group_id = %s AND topic = %s AND partition = %s AND "offset" = %s AND state = 'dead'
"""  # by the unique index on (group, topic, partition, offset)


class Act(NamedTuple):
    """What a client says of one record.

    seconds  delay of a nack, new lease of an extend
    reason   of a reject
    """

    ack_id: bytes
    kind: Kind
    seconds: float = 0.0
    reason: str = ""


class Failed(NamedTuple):
    """An act that was not taken."""

    ack_id: bytes
    why: Why


class Dead(NamedTuple):
    """A record that will never come again, and whose payload is to be kept."""

    group: int
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of some acts."""

    failed: Sequence[Failed]
    dead: Sequence[Dead]


@dataclass(slots=True)
class _Lease:
    """A lease as it is; ``instance`` is its id."""

    id: int
    instance: UUID
    topic: str
    partition: int
    start: int
    stop: int
    offsets: list[int]
    settled: bool
    is_alive: bool

    @property
    def part(self) -> Part:
        return (self.topic, self.partition)


def ack_id(lease: int, index: int) -> bytes:
    """Return the id of one record of a lease; it tells nothing of offsets."""
    return lease.to_bytes(_LEASE_BYTES, "big") + index.to_bytes(2, "big")


@guarded
def settle(partner: str, group: str, acts: Sequence[Act]) -> Settled:
    """Do what a client says of records; an ack may come twice, any act may come too late.

    In an ordered group an ack covers all before it in the partition, and a nack lets all come
    again from its record on. Raises InstanceGone for a group that is not the partner's.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FIND_GROUP, [partner, group])
        row = cursor.fetchone()
        if row is None:
            raise InstanceGone
        leases = _find(cursor, row[0], acts)
        work = _Parallel if row[1] == PARALLEL else _Ordered
        return work(cursor, row[0], leases).settle(acts)


@guarded
def store(dead: Dead, payload: bytes) -> None:
    """Keep what a dead record held, as its partner may see it."""
    with connection.cursor() as cursor:
        cursor.execute(PAYLOAD, [payload, *dead])


@guarded
def bury(instance: Instance, part: Part, offset: int, payload: bytes, reason: str) -> None:
    """Never let a record of a parallel group come again."""
    dead = Dead(instance.group, *part, offset)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BURY, [*dead, reason])
        cursor.execute(PAYLOAD, [payload, *dead])
        ack_ranges(cursor, instance.group, part, [(offset, offset + 1)])


def _find(cursor: CursorWrapper, group: int, acts: Iterable[Act]) -> dict[int, _Lease]:
    wanted = {_numbers(act.ack_id)[0] for act in acts if len(act.ack_id) == ID_BYTES}
    cursor.execute(FIND, [group, [one for one in wanted if one < 1 << 63]])
    return {row[0]: _Lease(*row) for row in cursor.fetchall()}


def _numbers(given: bytes) -> tuple[int, int]:
    return int.from_bytes(given[:_LEASE_BYTES], "big"), int.from_bytes(given[_LEASE_BYTES:], "big")


class _Settling:
    """Does acts one after another; what is alike in both kinds of group."""

    def __init__(self, cursor: CursorWrapper, group: int, leases: Mapping[int, _Lease]) -> None:
        self.cursor = cursor
        self.group = group
        self.leases = leases
        self.failed: list[Failed] = []
        self.dead: list[Dead] = []

    def settle(self, acts: Sequence[Act]) -> Settled:
        for act in acts:
            found = self._lease_of(act)
            if found is not None:
                self._do(act, *found)
        self._finish()
        return Settled(self.failed, self.dead)

    def _lease_of(self, act: Act) -> tuple[_Lease, int] | None:
        """Return the lease and the index an act is about; None where there is nothing to do."""
        why: Why = "UNKNOWN_ACK_ID"
        if len(act.ack_id) == ID_BYTES:
            number, index = _numbers(act.ack_id)
            lease = self.leases.get(number)
            why = "LEASE_EXPIRED"
            if lease is not None and index >= len(lease.offsets):
                why = "UNKNOWN_ACK_ID"
            elif lease is not None and (lease.settled or lease.offsets[index] < 0):
                if act.kind == "ack":
                    return None  # again: it is done
            elif lease is not None and lease.is_alive and lease.offsets[index] < lease.stop:
                return lease, index
        self.failed.append(Failed(act.ack_id, why))
        return None

    def _do(self, act: Act, lease: _Lease, index: int) -> None:
        offset = lease.offsets[index]
        match act.kind:
            case "ack":
                self._ack(act, lease, index)
            case "nack":
                self._nack(lease, index, act.seconds)
            case "extend":
                self.cursor.execute(EXTEND, [act.seconds, lease.id])
            case "reject":
                dead = Dead(self.group, *lease.part, offset)
                self.cursor.execute(BURY, [*dead, act.reason])
                self.dead.append(dead)
                self._ack(act, lease, index)

    def _ack(self, act: Act, lease: _Lease, index: int) -> None:
        raise NotImplementedError

    def _nack(self, lease: _Lease, index: int, delay_s: float) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError


class _Ordered(_Settling):
    """Acks of a partition are one number: how far it is done."""

    def __init__(self, cursor: CursorWrapper, group: int, leases: Mapping[int, _Lease]) -> None:
        super().__init__(cursor, group, leases)
        self._done: dict[tuple[UUID, Part], tuple[int, list[Act]]] = {}

    def _ack(self, act: Act, lease: _Lease, index: int) -> None:
        is_last = index == len(lease.offsets) - 1
        stop = lease.stop if is_last else lease.offsets[index] + 1
        key = (lease.instance, lease.part)
        known, acts = self._done.get(key, (0, []))
        self._done[key] = (max(known, stop), [*acts, act])

    def _nack(self, lease: _Lease, index: int, delay_s: float) -> None:
        self._finish()  # acks that came before it count first
        offset = lease.offsets[index]
        rewind(self.cursor, lease.instance, lease.part, offset)
        again(self.cursor, self.group, lease.part, offset, reason="nack", delay_s=delay_s)
        for other in self.leases.values():
            if other.part == lease.part and other.instance == lease.instance:
                other.stop = min(other.stop, offset)

    def _finish(self) -> None:
        for (instance, part), (stop, acts) in self._done.items():
            end = self._with_hidden(instance, part, stop)
            self.cursor.execute(COMMIT, [end, self.group, *part, instance, end])
            if self.cursor.rowcount == 0:
                self.cursor.execute(IS_BEHIND, [self.group, *part, stop])
                if self.cursor.fetchone() is None:
                    self.failed += [Failed(act.ack_id, "LEASE_EXPIRED") for act in acts]
                    continue
            self.cursor.execute(SETTLE_TO, [stop, stop, stop, instance, *part, stop])
            self.cursor.execute(FORGET_AGAIN, [self.group, *part, stop])
        self._done.clear()

    def _with_hidden(self, instance: UUID, part: Part, stop: int) -> int:
        """Return where the group stands behind what follows and shows nothing."""
        while True:
            self.cursor.execute(NEXT_HIDDEN, [instance, *part, stop])
            row = self.cursor.fetchone()
            if row is None:
                return stop
            stop = row[0]


class _Parallel(_Settling):
    """Each record is settled for itself."""

    def __init__(self, cursor: CursorWrapper, group: int, leases: Mapping[int, _Lease]) -> None:
        super().__init__(cursor, group, leases)
        self._done: dict[Part, list[int]] = defaultdict(list)
        self._touched: dict[int, _Lease] = {}

    def _ack(self, act: Act, lease: _Lease, index: int) -> None:  # noqa: ARG002 - the other kind needs it
        self._done[lease.part].append(lease.offsets[index])
        self._close(lease, index)

    def _nack(self, lease: _Lease, index: int, delay_s: float) -> None:
        offset = lease.offsets[index]
        again(self.cursor, self.group, lease.part, offset, reason="nack", delay_s=delay_s)
        self._close(lease, index)

    def _close(self, lease: _Lease, index: int) -> None:
        lease.offsets[index] = -1 - lease.offsets[index]
        self._touched[lease.id] = lease

    def _finish(self) -> None:
        for lease in self._touched.values():
            is_over = all(offset < 0 for offset in lease.offsets)
            self.cursor.execute(SET_OFFSETS, [lease.offsets, is_over, lease.id])
        for part, offsets in self._done.items():
            self.cursor.execute(FORGET_SOME, [self.group, *part, offsets])
            ack_ranges(self.cursor, self.group, part, _ranges(offsets))


def _ranges(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Return offsets as ranges, joined where they touch."""
    found: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + 1)
        else:
            found.append((offset, offset + 1))
    return found
