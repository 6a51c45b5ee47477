"""All SQL by which engines move attempts and parked rows; each query names its index.

Everything here runs on a psycopg connection that is handed in. Functions that take a cursor join
the caller's transaction; those that take a connection are meant for one in autocommit mode.
Leases and schedules are on PostgreSQL's clock: the caller gives durations, never times.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog
from psycopg import Connection, Cursor

from delivery import sealing
from delivery.attempts import AttemptRow, copy_attempts, possible_ms
from delivery.outcome import UNWELL_PATTERN
from kafkahub.crypto import SealBroken

__all__ = ["AttemptRow", "copy_attempts"]
"""Of what is imported: a checkpoint writes attempts and parked rows through this one module."""

Conn = Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""
Cur = Cursor[tuple[Any, ...]]

log = structlog.get_logger()

TEST_PREFIX = "tst_"
"""Ids of test deliveries begin so: one attempt, then the row goes, whatever came of it."""


class NewlyParked(NamedTuple):
    """A record to be set aside.

    body      the exact bytes to send; None where none could be made, then it must be ``dead``
    order_key  tag of the key whose order it keeps, None where it goes out on its own
    is_sensitive  whether the topic is: then the body is sealed, and the caller leaves out the key
    delay_s   time to the next attempt; None for ``dead``
    """

    id: str
    subscription: str
    topic: str
    partition: int
    offset: int
    generation: int
    key: bytes | None
    record_time_ms: int | None
    body: bytes | None
    is_sensitive: bool
    headers: Mapping[str, str]
    grant_version: int
    state: str
    reason: str
    attempts: int
    sends: int
    delay_s: float | None
    last_outcome: str
    last_status: int | None
    order_key: bytes | None = None
    replay: str = ""


class ParkedRow(NamedTuple):
    """A parked row that its claimer may send now.

    reason    ``resend`` makes the attempt's kind ``manual``, ``test`` makes it ``test``
    attempts  attempts that counted; ``sends`` requests made, counted or not
    order_key  tag of the key whose order it keeps, None where it goes out on its own
    """

    id: str
    subscription: str
    topic: str
    partition: int
    offset: int
    generation: int
    key: bytes | None
    record_time_ms: int | None
    body: bytes
    headers: dict[str, str]
    grant_version: int
    reason: str
    attempts: int
    sends: int
    order_key: bytes | None = None
    replay: str = ""


class Later(NamedTuple):
    """A claimed row that is tried again ``delay_s`` from now."""

    id: str
    delay_s: float
    outcome: str
    status: int | None
    attempts: int
    sends: int


class Dead(NamedTuple):
    """A claimed row that is not tried again by itself; ``reason`` is one of ParkedDelivery's.

    state  ``dead``; or ``held``, which keeps its key waiting for a person
    """

    id: str
    reason: str
    outcome: str
    status: int | None
    attempts: int
    sends: int
    state: str = "dead"


# FOR KEY SHARE makes a deletion of the subscription wait, or leaves the row out if it was first:
# a foreign key error would cost the whole checkpoint.
PARK = """
INSERT INTO parked_delivery
       (id, subscription_id, topic, partition, "offset", generation, key, record_time, body,
        sealed_body, headers, grant_version, state, reason, attempts, sends, first_failed_at,
        next_attempt_at, last_outcome, last_status, order_key, replay, expires_at)
SELECT r.id, r.subscription, r.topic, r.partition, r."offset", r.generation, r.key,
       to_timestamp(r.record_time_ms / 1000.0), r.body,
       r.sealed_body, r.headers::jsonb, r.grant_version, r.state,
       r.reason, r.attempts, r.sends, now(), now() + make_interval(secs => r.delay_s),
       r.last_outcome, r.last_status, r.order_key, r.replay,
       CASE WHEN r.state = 'dead' THEN now() + make_interval(days => %(kept_days)s) END
  FROM unnest(%(id)s::text[], %(subscription)s::text[], %(topic)s::text[], %(partition)s::int[],
              %(offset)s::bigint[], %(generation)s::int[], %(key)s::bytea[],
              %(record_time_ms)s::bigint[], %(body)s::bytea[],
              %(sealed_body)s::text[], %(headers)s::text[],
              %(grant_version)s::int[], %(state)s::text[], %(reason)s::text[], %(attempts)s::int[],
              %(sends)s::int[], %(delay_s)s::float8[], %(last_outcome)s::text[],
              %(last_status)s::int[], %(order_key)s::bytea[], %(replay)s::text[])
       AS r (id, subscription, topic, partition, "offset", generation, key, record_time_ms, body,
             sealed_body, headers, grant_version, state, reason, attempts, sends, delay_s,
             last_outcome, last_status, order_key, replay)
  JOIN subscriptions_subscription s ON s.id = r.subscription
   FOR KEY SHARE OF s
ON CONFLICT DO NOTHING
RETURNING id
"""  # parked_once (subscription, topic, partition, generation, offset) and the primary key

# One look-up a subscription, so that rows nobody may send now (a paused subscription, an open
# breaker) are never read, and no subscription's rows stand before another's.
CLAIM_DUE = """
WITH due AS MATERIALIZED (
    SELECT p.id
      FROM unnest(%(subscriptions)s::text[]) AS o (subscription)
      CROSS JOIN LATERAL (
          SELECT id FROM parked_delivery
           WHERE subscription_id = o.subscription AND state = 'scheduled' AND order_key IS NULL
             AND (next_attempt_at <= now() OR (%(is_early)s
                  AND concat_ws(' ', last_outcome, last_status) ~ %(unwell)s))
             AND NOT EXISTS (
                 SELECT FROM subscriptions_subscription s
                   JOIN subscriptions_grant g ON g.partner_id = s.partner_id
                  WHERE s.id = o.subscription AND g.topic_id = topic AND g.action = 'read'
                    AND partition >= 0 AND g.version <> grant_version)
           ORDER BY next_attempt_at LIMIT %(each)s
             FOR UPDATE SKIP LOCKED) p
     LIMIT %(limit)s
), lost AS MATERIALIZED (
    SELECT id FROM parked_delivery
     WHERE state = 'sending' AND lease_until < now() AND order_key IS NULL
       AND subscription_id = ANY(%(subscriptions)s::text[])
     LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE parked_delivery p
       SET state = 'sending', claimed_by = %(owner)s,
           lease_until = now() + make_interval(secs => %(lease_s)s)
      FROM (SELECT id FROM due UNION ALL SELECT id FROM lost) c
     WHERE p.id = c.id
    RETURNING p.*
)
SELECT id, subscription_id, topic, partition, "offset", generation, key,
       (extract(epoch FROM record_time) * 1000)::bigint, body, sealed_body, headers,
       grant_version, reason, attempts, sends, order_key, replay
  FROM claimed ORDER BY next_attempt_at, "offset"
"""  # parked_due (subscription, next_attempt_at), parked_leases (lease_until)

# A row that is locked is being written or claimed just now: waiting for it was seen to end in
# deadlocks with checkpoints, which lock many rows in an order of their own.
RENEW = """
WITH ours AS MATERIALIZED (
    SELECT id FROM parked_delivery
     WHERE id = ANY(%(ids)s) AND claimed_by = %(owner)s AND state IN ('sending', 'blocked')
), free AS MATERIALIZED (
    SELECT id FROM parked_delivery
     WHERE id = ANY(%(ids)s) AND claimed_by = %(owner)s AND state IN ('sending', 'blocked')
       FOR UPDATE SKIP LOCKED
), renewed AS (
    UPDATE parked_delivery p SET lease_until = now() + make_interval(secs => %(lease_s)s)
      FROM free WHERE p.id = free.id
)
SELECT id FROM ours
"""  # the primary key

DELIVERED = """
DELETE FROM parked_delivery
 WHERE id = ANY(%(ids)s) AND claimed_by = %(owner)s AND state IN ('sending', 'blocked')
RETURNING id
"""  # the primary key

# A resend asked for by hand is manual once; what follows its failure is the schedule again.
RESCHEDULE = """
UPDATE parked_delivery p
   SET state = 'scheduled', claimed_by = NULL, lease_until = NULL,
       reason = CASE p.reason WHEN 'resend' THEN 'failed' ELSE p.reason END,
       next_attempt_at = now() + make_interval(secs => r.delay_s),
       last_outcome = r.outcome, last_status = r.status, attempts = r.attempts, sends = r.sends
  FROM unnest(%(id)s::text[], %(delay_s)s::float8[], %(outcome)s::text[], %(status)s::int[],
              %(attempts)s::int[], %(sends)s::int[])
       AS r (id, delay_s, outcome, status, attempts, sends)
 WHERE p.id = r.id AND p.claimed_by = %(owner)s AND p.state IN ('sending', 'blocked')
RETURNING p.id
"""  # the primary key

# A dead row is out of its order: redriven, it goes out late.
BURY = """
UPDATE parked_delivery p
   SET state = r.state, claimed_by = NULL, lease_until = NULL, reason = r.reason,
       announced_at = NULL, next_attempt_at = NULL,
       order_key = CASE r.state WHEN 'held' THEN p.order_key END,
       expires_at = CASE r.state
                    WHEN 'dead' THEN now() + make_interval(days => %(kept_days)s) END,
       last_outcome = r.outcome, last_status = r.status, attempts = r.attempts, sends = r.sends
  FROM unnest(%(id)s::text[], %(reason)s::text[], %(outcome)s::text[], %(status)s::int[],
              %(attempts)s::int[], %(sends)s::int[], %(state)s::text[])
       AS r (id, reason, outcome, status, attempts, sends, state)
 WHERE p.id = r.id AND p.claimed_by = %(owner)s AND p.state IN ('sending', 'blocked')
RETURNING p.id
"""  # the primary key

HASTEN = """
UPDATE parked_delivery SET next_attempt_at = now()
 WHERE subscription_id = ANY(%(subscriptions)s) AND state = 'scheduled'
   AND next_attempt_at > now() AND first_failed_at >= to_timestamp(%(since_us)s / 1000000.0)
"""  # parked_due (subscription, next_attempt_at)

RELEASE = """
UPDATE parked_delivery SET state = 'scheduled', claimed_by = NULL, lease_until = NULL
 WHERE state = 'sending' AND claimed_by = %(owner)s
RETURNING id
"""  # parked_leases: rows being sent are few

# A lane stands at its own offset while it is behind, and never below the floor while it is live.
# What was delivered before ``since`` belongs to an older pass and is owed again.
SETTLED = """
WITH lane AS MATERIALIZED (
    SELECT subscription_id, since,
           CASE state WHEN 'live' THEN greatest(next_offset, %(floor)s) ELSE next_offset END
           AS stand
      FROM lane_position WHERE topic = %(topic)s AND partition = %(partition)s
)
SELECT l.subscription_id, a."offset"
  FROM lane l CROSS JOIN LATERAL (
      SELECT "offset" FROM delivery_attempt
       WHERE subscription = l.subscription_id AND topic = %(topic)s AND partition = %(partition)s
         AND "offset" >= l.stand AND at >= l.since AND outcome_class = 'delivered') a
UNION
SELECT l.subscription_id, p."offset"
  FROM lane l CROSS JOIN LATERAL (
      SELECT "offset" FROM parked_delivery
       WHERE subscription_id = l.subscription_id AND topic = %(topic)s
         AND partition = %(partition)s AND generation = %(generation)s
         AND "offset" >= l.stand) p
"""  # lane_position_partition, attempt_of_lane, parked_position or parked_once

CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def clock_us(conn: Conn) -> int:
    """Return the Unix time in µs on PostgreSQL's clock.

    An engine asks once and adds its monotonic clock: the times of attempts are compared with
    ``since`` of lanes, which PostgreSQL wrote.
    """
    [[now_us]] = conn.execute(CLOCK).fetchall()
    return int(now_us)


def park(cur: Cur, rows: Sequence[NewlyParked], *, kept_days: int) -> set[str]:
    """Set records aside; return the ids that are new.

    One that is parked already keeps its row, and a subscription that is gone takes none: both
    are settled. ``kept_days`` is how long a row that is born dead is kept.
    """
    if not rows:
        return set()
    columns: dict[str, object] = {
        name: [getattr(row, name) for row in rows] for name in NewlyParked._fields
    }
    del columns["is_sensitive"]
    kept = [sealing.stored(row.id, row.body, is_sensitive=row.is_sensitive) for row in rows]
    columns["body"] = [body for body, _ in kept]
    columns["sealed_body"] = [sealed for _, sealed in kept]
    columns["headers"] = [msgspec.json.encode(row.headers).decode() for row in rows]
    columns["record_time_ms"] = [possible_ms(row.record_time_ms) for row in rows]
    cur.execute(PARK, columns | {"kept_days": kept_days})
    return {row_id for (row_id,) in cur.fetchall()}


def claim_due(
    conn: Conn,
    owner: UUID,
    *,
    subscriptions: Collection[str],
    limit: int,
    each: int,
    lease_s: float,
    is_early: bool = False,
) -> list[ParkedRow]:
    """Claim rows that are due, and rows whose claimer did not renew its lease; oldest first.

    subscriptions  those that may be sent to now; rows of others are left alone
    limit, each    most rows in all, and of one subscription
    is_early       also what is not due and failed with its endpoint: it is a probe
    """
    values = {
        "owner": owner,
        "subscriptions": list(subscriptions),
        "limit": limit,
        "each": each,
        "lease_s": lease_s,
        "is_early": is_early,
        "unwell": UNWELL_PATTERN,
    }
    return opened(conn.execute(CLAIM_DUE, values).fetchall())


def opened(rows: Iterable[Sequence[Any]]) -> list[ParkedRow]:
    """Return claimed rows, in the columns of CLAIM_DUE, with their bodies."""
    found = (_opened(*row) for row in rows)
    return [row for row in found if row is not None]


def _opened(row_id: str, *rest: Any) -> ParkedRow | None:
    """Return a claimed row with its body, or None where that does not open.

    Such a row stays claimed until its lease is over, and is tried again then.
    """
    *before, body, sealed_body = rest[:-7]
    try:
        content = sealing.opened(row_id, body, sealed_body)
    except SealBroken as error:
        log.warning("parked.found_unreadable", delivery=row_id, reason=str(error))
        return None
    return ParkedRow._make((row_id, *before, content, *rest[-7:]))


def renew(conn: Conn, owner: UUID, ids: Collection[str], *, lease_s: float) -> set[str]:
    """Hold claims ``lease_s`` longer; return those still ours. The others must not be sent."""
    values = {"owner": owner, "ids": list(ids), "lease_s": lease_s}
    return {row_id for (row_id,) in conn.execute(RENEW, values).fetchall()}


def finish(
    cur: Cur,
    owner: UUID,
    *,
    delivered: Collection[str] = (),
    rescheduled: Sequence[Later] = (),
    dead: Sequence[Dead] = (),
    kept_days: int,
) -> set[str]:
    """Write what came of claimed rows; return the ids that were still ours.

    The rows of the others are unchanged: their new claimer writes them. A test is over after one
    attempt, so its row goes in any case.
    """
    tests = {row.id for row in rescheduled if _is_test(row.id)}
    tests |= {row.id for row in dead if _is_test(row.id)}
    gone = [*delivered, *tests]
    later = [row for row in rescheduled if row.id not in tests]
    buried = [row for row in dead if row.id not in tests]
    ours: set[str] = set()
    if gone:
        ours |= _ids(cur, DELIVERED, {"ids": gone, "owner": owner})
    if later:
        ours |= _ids(cur, RESCHEDULE, _columns(later) | {"owner": owner})
    if buried:
        ours |= _ids(cur, BURY, _columns(buried) | {"owner": owner, "kept_days": kept_days})
    return ours


def hasten(cur: Cur, subscriptions: Collection[str], *, since_us: int) -> int:
    """Make due at once what was set aside since then; return how many rows.

    since_us  Unix time in µs on PostgreSQL's clock, see ``clock_us``
    """
    cur.execute(HASTEN, {"subscriptions": list(subscriptions), "since_us": since_us})
    return cur.rowcount


def release(conn: Conn, owner: UUID) -> set[str]:
    """Give back all claims of an engine that stops; the rows are due at once. Return their ids."""
    return {row_id for (row_id,) in conn.execute(RELEASE, {"owner": owner}).fetchall()}


def settled_above(
    conn: Conn, topic: str, partition: int, *, generation: int, floor: int
) -> set[tuple[str, int]]:
    """Return (subscription, offset) of what must not be sent again after a restart.

    For each lane of the partition from where it stands: what was delivered in this pass, and
    what is parked, dead or discarded.
    """
    place = {"topic": topic, "partition": partition, "generation": generation, "floor": floor}
    return {(lane, offset) for lane, offset in conn.execute(SETTLED, place).fetchall()}


def _is_test(row_id: str) -> bool:
    return row_id.startswith(TEST_PREFIX)


def _ids(cur: Cur, statement: str, values: Mapping[str, object]) -> set[str]:
    cur.execute(statement, values)
    return {row_id for (row_id,) in cur.fetchall()}


def _columns(rows: Sequence[Later] | Sequence[Dead]) -> dict[str, object]:
    """Return the rows as one list a column, as ``unnest`` takes them."""
    return {name: [getattr(row, name) for row in rows] for name in rows[0]._fields}
