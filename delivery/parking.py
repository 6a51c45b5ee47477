"""All SQL by which people and jobs move parked rows; what engines do with them is in ``ledger``.

Every statement names the states it may leave, and the rows it returns are the answer: what does
not come back was not in such a state any more.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from delivery import sealing, succession
from delivery.succession import Order

RING = "SELECT pg_notify('kafkahub_due', '')"
"""Tells engines, at the commit, that something is due; they look by themselves too."""

DUE_NOW = """
UPDATE parked_delivery
   SET state = 'scheduled', reason = %(reason)s, next_attempt_at = now(), expires_at = NULL,
       attempts = CASE WHEN state IN ('dead', 'held') THEN 0 ELSE attempts END
 WHERE id = %(id)s AND state = ANY(%(states)s) AND body IS NOT NULL
RETURNING id
"""  # the primary key

REFILL = """
UPDATE parked_delivery
   SET state = 'scheduled', reason = %(reason)s, next_attempt_at = now(), expires_at = NULL,
       attempts = 0, body = %(body)s, sealed_body = %(sealed_body)s, headers = %(headers)s::jsonb,
       grant_version = %(grant_version)s
 WHERE id = %(id)s AND state = ANY(%(states)s)
RETURNING id
"""  # the primary key

INSERT = """
INSERT INTO parked_delivery
       (id, subscription_id, topic, partition, "offset", generation, key, record_time, body,
        sealed_body, headers, grant_version, state, reason, attempts, sends, first_failed_at,
        next_attempt_at, last_outcome)
VALUES (%(id)s, %(subscription)s, %(topic)s, %(partition)s, %(offset)s, %(generation)s, %(key)s,
        %(record_time)s, %(body)s, %(sealed_body)s, %(headers)s::jsonb, %(grant_version)s,
        'scheduled', %(reason)s, 0, %(sends)s, now(), now(), '')
ON CONFLICT DO NOTHING
RETURNING id
"""  # parked_once (subscription, topic, partition, generation, offset) and the primary key

# What keeps an order is ended under the lock of its partition, and that comes before its row's:
# a checkpoint takes them so.
PLACES = """
SELECT DISTINCT topic, partition FROM parked_delivery
 WHERE id = ANY(%(ids)s) AND order_key IS NOT NULL
"""  # the primary key

# Without its body, for the partner gave the record up; as a mark, for a re-read would send it.
# One that is claimed with its head is about to be sent.
DISCARD = """
UPDATE parked_delivery
   SET state = 'discarded', body = NULL, sealed_body = NULL, next_attempt_at = NULL,
       expires_at = NULL
 WHERE id = ANY(%(ids)s) AND state = ANY(%(states)s)
   AND NOT (state = 'blocked' AND coalesce(lease_until, now()) > now())
RETURNING id, subscription_id, topic, partition, order_key
"""  # the primary key

# What never was in Kafka, a notice, is not read again. A lane without a row stands at the floor,
# and without a floor nobody reads the partition yet.
SWEEP_MARKS = """
DELETE FROM parked_delivery WHERE id IN (
    SELECT d.id FROM parked_delivery d
      LEFT JOIN lane_position l ON l.subscription_id = d.subscription_id
            AND l.topic = d.topic AND l.partition = d.partition
      LEFT JOIN partition_position p ON p.topic = d.topic AND p.partition = d.partition
     WHERE d.state = 'discarded'
       AND (d.partition < 0
            OR d."offset" < CASE WHEN l.state IN ('behind', 'paused') THEN l.next_offset
                                 ELSE greatest(l.next_offset, p.next_offset) END)
     LIMIT %(limit)s)
"""  # parked_marks, lane_position_once, partition_position_once

SWEEP_LEASES = """
UPDATE parked_delivery SET state = 'scheduled', claimed_by = NULL, lease_until = NULL
 WHERE id IN (SELECT id FROM parked_delivery WHERE state = 'sending' AND lease_until < now()
               ORDER BY lease_until LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""  # parked_leases (lease_until)

EXPIRE = """
WITH expired AS (
    DELETE FROM parked_delivery WHERE id IN (
        SELECT id FROM parked_delivery WHERE state = 'dead' AND expires_at < now()
         ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING subscription_id, reason
)
SELECT s.partner_id, e.subscription_id, e.reason, count(*)
  FROM expired e JOIN subscriptions_subscription s ON s.id = e.subscription_id
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # parked_expiring (expires_at)


REPROJECT = """
UPDATE parked_delivery
   SET body = %(body)s, sealed_body = %(sealed_body)s, headers = %(headers)s::jsonb,
       key = %(key)s, grant_version = %(grant_version)s
 WHERE id = %(id)s AND state IN ('scheduled', 'blocked') AND grant_version = %(before)s
RETURNING id
"""  # the primary key

# Without its body and key: they are what the grant showed before.
BURY_CHANGED = """
UPDATE parked_delivery
   SET state = 'dead', reason = 'grant_changed', body = NULL, sealed_body = NULL, key = NULL,
       next_attempt_at = NULL, expires_at = now() + make_interval(days => %(kept_days)s)
 WHERE id = %(id)s AND state IN ('scheduled', 'blocked') AND grant_version = %(before)s
RETURNING id, subscription_id, topic, partition, order_key
"""  # the primary key


class Expired(NamedTuple):
    """Dead letters of one subscription that were purged for one reason."""

    partner: str
    subscription: str
    reason: str
    rows: int


def due_now(row_id: str, reason: str, states: Collection[str]) -> bool:
    """Make a row that has its body due at once; False when it is in none of ``states``."""
    values = {"id": row_id, "reason": reason, "states": list(states)}
    return _is_rung(_rows(DUE_NOW, values))


def refill(
    row_id: str,
    reason: str,
    states: Collection[str],
    *,
    body: bytes,
    is_sensitive: bool,
    headers: Mapping[str, str],
    grant_version: int,
) -> bool:
    """Give a row a body made anew and make it due at once; False when in none of ``states``."""
    values = {
        "id": row_id,
        "reason": reason,
        "states": list(states),
        **_kept(row_id, body, is_sensitive=is_sensitive),
        "headers": _json(headers),
        "grant_version": grant_version,
    }
    return _is_rung(_rows(REFILL, values))


def insert(values: Mapping[str, Any], headers: Mapping[str, str], *, is_sensitive: bool) -> bool:
    """Insert a row that is due at once; False when there is one for that record already.

    values        the columns INSERT names, but ``headers`` and ``sealed_body``
    is_sensitive  whether its topic is: then the body is sealed and the key left out
    """
    kept = _kept(values["id"], values["body"], is_sensitive=is_sensitive)
    key = None if is_sensitive else values["key"]
    return _is_rung(_rows(INSERT, {**values, **kept, "key": key, "headers": _json(headers)}))


def reproject(
    row_id: str,
    before: int,
    *,
    body: bytes,
    key: bytes | None,
    is_sensitive: bool,
    headers: Mapping[str, str],
    grant_version: int,
) -> bool:
    """Give a row that waits the body of another grant version; False when it moved meanwhile.

    before  the version that it was projected under
    """
    values = {
        "id": row_id,
        "before": before,
        **_kept(row_id, body, is_sensitive=is_sensitive),
        "key": None if is_sensitive else key,
        "headers": _json(headers),
        "grant_version": grant_version,
    }
    return _is_rung(_rows(REPROJECT, values))


def bury_changed(row_id: str, before: int, *, kept_days: int) -> bool:
    """Make a row a dead letter that the grant no longer shows; False when it moved meanwhile.

    What waited behind it is due now. The caller has called ``hold``.
    """
    gone = _rows(BURY_CHANGED, {"id": row_id, "before": before, "kept_days": kept_days})
    _promote_behind(gone)
    return bool(gone)


def discard(row_ids: Collection[str], states: Collection[str]) -> set[str]:
    """Give rows up; return the ids of those that were in one of ``states``.

    What waited behind one of them is due now. The caller has called ``hold``.
    """
    gone = _rows(DISCARD, {"ids": list(row_ids), "states": list(states)})
    _promote_behind(gone)
    return {row_id for row_id, *_ in gone}


def _promote_behind(gone: Sequence[tuple[Any, ...]]) -> None:
    """Let the next of each order go; ``gone`` are rows (id, subscription, topic, …) that ended."""
    # Through Django a bytea is a memoryview.
    orders = {
        Order(subscription, topic, partition, bytes(order_key))
        for _, subscription, topic, partition, order_key in gone
        if order_key is not None
    }
    if orders:
        with connection.connection.cursor() as cursor:
            succession.promote(cursor, orders)
        _rows(RING, {})  # a lane may have waited for a person to do this


def hold(row_ids: Collection[str]) -> None:
    """Keep engines from ending rows of the same orders until the end of the transaction.

    To be called before any of the rows is locked.
    """
    places = [(topic, partition) for topic, partition in _rows(PLACES, {"ids": list(row_ids)})]
    if places:
        with connection.connection.cursor() as cursor:
            succession.hold(cursor, places)


def sweep_marks(limit: int) -> int:
    """Delete marks of discarded rows that their lanes have passed; return how many."""
    return _count(SWEEP_MARKS, {"limit": limit})


def sweep_leases(limit: int) -> int:
    """Make rows due whose claimer is gone; return how many. Engines do the same by themselves."""
    return _count(SWEEP_LEASES, {"limit": limit})


def expire(limit: int) -> list[Expired]:
    """Purge up to ``limit`` dead letters whose time is over; return what went, by subscription."""
    return [Expired._make(row) for row in _rows(EXPIRE, {"limit": limit})]


def _kept(row_id: str, body: bytes, *, is_sensitive: bool) -> dict[str, object]:
    content, sealed = sealing.stored(row_id, body, is_sensitive=is_sensitive)
    return {"body": content, "sealed_body": sealed}


def _is_rung(changed: list[tuple[Any, ...]]) -> bool:
    if changed:
        _rows(RING, {})
    return bool(changed)


def _rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, dict(values))
        return list(cursor.fetchall())


def _count(statement: str, values: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, dict(values))
        return int(cursor.rowcount)


def _json(headers: Mapping[str, str]) -> str:
    return msgspec.json.encode(headers).decode()
