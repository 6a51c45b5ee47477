"""All SQL of parked rows that keep an order: heads, those behind them, and who comes next.

Rows of one subscription, topic, partition and ``order_key`` go out one after the other. The first
that is open is the head (``scheduled``, ``sending`` or ``held``), the others are ``blocked``.
Whoever adds or ends such rows locks their partition's position first (``hold``), and calls
``promote`` last: so a row never waits behind a head that is gone.
"""

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection, Cursor

from delivery import ledger
from delivery.ledger import ParkedRow
from delivery.outcome import UNWELL_PATTERN

Conn = Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""
Cur = Cursor[tuple[Any, ...]]


class Order(NamedTuple):
    """One key of one lane, whose rows go out one after the other."""

    subscription: str
    topic: str
    partition: int
    order_key: bytes


RING = "SELECT pg_notify('kafkahub_due', '')"
"""Tells engines, at the commit, that something is due."""

# Only the holder of a partition claims its heads, so one thread decides the order. Those behind
# are claimed with their head, without a hole: a claim of theirs from before ended with its head's.
CLAIM_HEADS = """
WITH mine AS MATERIALIZED (
    SELECT topic, partition FROM partition_position WHERE owner = %(owner)s
), due AS MATERIALIZED (
    SELECT p.id
      FROM unnest(%(subscriptions)s::text[]) AS o (subscription)
      CROSS JOIN LATERAL (
          SELECT h.id FROM parked_delivery h
            JOIN mine ON mine.topic = h.topic AND mine.partition = h.partition
           WHERE h.subscription_id = o.subscription AND h.state = 'scheduled'
             AND h.order_key IS NOT NULL
             AND (h.next_attempt_at <= now() OR (%(is_early)s
                  AND concat_ws(' ', h.last_outcome, h.last_status) ~ %(unwell)s))
             AND NOT EXISTS (
                 SELECT FROM subscriptions_subscription s
                   JOIN subscriptions_grant g ON g.partner_id = s.partner_id
                  WHERE s.id = o.subscription AND g.topic_id = h.topic AND g.action = 'read'
                    AND h.partition >= 0 AND g.version <> h.grant_version)
           ORDER BY h.next_attempt_at LIMIT %(each)s
             FOR UPDATE OF h SKIP LOCKED) p
     LIMIT %(limit)s
), lost AS MATERIALIZED (
    SELECT h.id FROM parked_delivery h
      JOIN mine ON mine.topic = h.topic AND mine.partition = h.partition
     WHERE h.state = 'sending' AND h.lease_until < now() AND h.order_key IS NOT NULL
       AND h.subscription_id = ANY(%(subscriptions)s::text[])
     LIMIT %(limit)s
       FOR UPDATE OF h SKIP LOCKED
), heads AS MATERIALIZED (
    SELECT * FROM parked_delivery
     WHERE id IN (SELECT id FROM due UNION ALL SELECT id FROM lost)
), behind AS MATERIALIZED (
    SELECT f.id
      FROM heads h CROSS JOIN LATERAL (
          SELECT id FROM parked_delivery
           WHERE topic = h.topic AND partition = h.partition
             AND subscription_id = h.subscription_id AND order_key = h.order_key
             AND state = 'blocked' AND (generation, "offset") > (h.generation, h."offset")
           ORDER BY generation, "offset" LIMIT %(behind)s
             FOR UPDATE) f
), claimed AS (
    UPDATE parked_delivery p
       SET state = CASE p.state WHEN 'blocked' THEN 'blocked' ELSE 'sending' END,
           claimed_by = %(owner)s, lease_until = now() + make_interval(secs => %(lease_s)s)
      FROM (SELECT id FROM heads UNION ALL SELECT id FROM behind) c
     WHERE p.id = c.id
    RETURNING p.*
)
SELECT id, subscription_id, topic, partition, "offset", generation, key,
       (extract(epoch FROM record_time) * 1000)::bigint, body, sealed_body, headers,
       grant_version, reason, attempts, sends, order_key, replay
  FROM claimed ORDER BY generation, "offset"
"""  # parked_due, parked_leases, parked_order

HOLD = """
SELECT p.topic FROM partition_position p
  JOIN unnest(%(topics)s::text[], %(partitions)s::int[]) AS o (topic, partition)
    ON p.topic = o.topic AND p.partition = o.partition
 ORDER BY p.topic, p.partition FOR UPDATE OF p
"""  # partition_position_once (topic, partition)

# One that is claimed is about to be sent by its claimer, so it is that one's head now.
PROMOTE = """
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest(%(subscriptions)s::text[], %(topics)s::text[], %(partitions)s::int[],
                         %(order_keys)s::bytea[])
           AS o (subscription, topic, partition, order_key)
), first AS MATERIALIZED (
    SELECT o.*, (SELECT id FROM parked_delivery
                  WHERE topic = o.topic AND partition = o.partition
                    AND subscription_id = o.subscription AND order_key = o.order_key
                    AND state IN ('scheduled', 'sending', 'blocked', 'held')
                  ORDER BY generation, "offset" LIMIT 1) AS id
      FROM wanted o
), promoted AS (
    UPDATE parked_delivery p
       SET state = CASE WHEN p.claimed_by IS NULL THEN 'scheduled' ELSE 'sending' END,
           next_attempt_at = now()
      FROM first WHERE p.id = first.id AND p.state = 'blocked'
    RETURNING p.state
)
SELECT subscription, topic, partition, order_key, id IS NULL,
       (SELECT count(*) FROM promoted WHERE state = 'scheduled')
  FROM first
"""  # parked_order

UNCLAIM = """
UPDATE parked_delivery SET claimed_by = NULL, lease_until = NULL
 WHERE id = ANY(%(ids)s) AND claimed_by = %(owner)s AND state = 'blocked'
"""  # the primary key

WAITING = """
SELECT subscription_id, order_key,
       (extract(epoch FROM min(first_failed_at) FILTER (
            WHERE state IN ('scheduled', 'sending')
              AND concat_ws(' ', last_outcome, last_status) ~ %(unwell)s)) * 1000000)::bigint
  FROM parked_delivery
 WHERE topic = %(topic)s AND partition = %(partition)s AND order_key IS NOT NULL
   AND state IN ('scheduled', 'sending', 'blocked', 'held')
 GROUP BY subscription_id, order_key
"""  # parked_order or parked_position

STILL = """
SELECT DISTINCT p.subscription_id, p.topic, p.partition, p.order_key
  FROM unnest(%(subscriptions)s::text[], %(topics)s::text[], %(partitions)s::int[],
              %(order_keys)s::bytea[]) AS o (subscription, topic, partition, order_key)
  JOIN parked_delivery p ON p.topic = o.topic AND p.partition = o.partition
   AND p.subscription_id = o.subscription AND p.order_key = o.order_key
   AND p.state IN ('scheduled', 'sending', 'blocked', 'held')
"""  # parked_order

DISSOLVE = """
UPDATE parked_delivery
   SET order_key = NULL,
       state = CASE state WHEN 'held' THEN 'dead'
                          WHEN 'blocked' THEN CASE WHEN claimed_by IS NULL THEN 'scheduled'
                                                   ELSE 'sending' END
                          ELSE state END,
       next_attempt_at = CASE state WHEN 'blocked' THEN now() ELSE next_attempt_at END,
       expires_at = CASE state WHEN 'held' THEN now() + make_interval(days => %(kept_days)s) END
 WHERE topic = %(topic)s AND partition = %(partition)s AND subscription_id = %(subscription)s
   AND order_key IS NOT NULL
   AND state IN ('scheduled', 'sending', 'blocked', 'held')
"""  # parked_order, or the one of the subscription


def claim_heads(
    conn: Conn,
    owner: UUID,
    *,
    subscriptions: Collection[str],
    limit: int,
    each: int,
    behind: int,
    lease_s: float,
    is_early: bool = False,
) -> list[ParkedRow]:
    """Claim due heads in partitions of ``owner``, and those behind them; by offset.

    limit, each  most heads in all, and of one subscription
    behind       most rows behind one head that are claimed with it
    is_early     also heads that are not due and failed with their endpoint: as probes
    """
    values = {
        "owner": owner,
        "subscriptions": list(subscriptions),
        "limit": limit,
        "each": each,
        "behind": behind,
        "lease_s": lease_s,
        "is_early": is_early,
        "unwell": UNWELL_PATTERN,
    }
    return ledger.opened(conn.execute(CLAIM_HEADS, values).fetchall())


def hold(cur: Cur, places: Collection[tuple[str, int]]) -> None:
    """Keep others from adding or ending ordered rows of these partitions until the commit."""
    if places:
        columns = {"topics": [one[0] for one in places], "partitions": [one[1] for one in places]}
        cur.execute(HOLD, columns)


def promote(cur: Cur, orders: Collection[Order]) -> set[Order]:
    """Make the first open row of each order its head; return the orders that have no row left."""
    if not orders:
        return set()
    cur.execute(PROMOTE, _columns(orders))
    found = cur.fetchall()
    if any(promoted for *_, promoted in found):
        cur.execute(RING)
    return {Order._make(order) for *order, is_empty, _ in found if is_empty}


def unclaim(cur: Cur, owner: UUID, ids: Collection[str]) -> None:
    """Give claims of blocked rows back: their head is not done."""
    if ids:
        cur.execute(UNCLAIM, {"ids": list(ids), "owner": owner})


def dissolve(cur: Cur, lane: tuple[str, str, int], *, kept_days: int) -> None:
    """Let the rows of a lane go out on their own: its subscription keeps another order now.

    lane  subscription, topic and partition
    """
    subscription, topic, partition = lane
    values = {"subscription": subscription, "topic": topic, "partition": partition}
    cur.execute(DISSOLVE, values | {"kept_days": kept_days})


def waiting(conn: Conn, topic: str, partition: int) -> dict[tuple[str, bytes], int | None]:
    """Return (subscription, order key) of all keys of a partition that have open rows.

    With each, since when its head fails with its endpoint, in Unix µs; None where it does not.
    """
    place = {"topic": topic, "partition": partition, "unwell": UNWELL_PATTERN}
    rows = conn.execute(WAITING, place).fetchall()
    return {(subscription, order_key): since_us for subscription, order_key, since_us in rows}


def still_open(conn: Conn, orders: Collection[Order]) -> set[Order]:
    """Return those of the orders that have open rows."""
    return {Order._make(row) for row in conn.execute(STILL, _columns(orders)).fetchall()}


def _columns(orders: Collection[Order]) -> dict[str, list[Any]]:
    """Return the orders as one list a column, as ``unnest`` takes them."""
    return {
        "subscriptions": [order.subscription for order in orders],
        "topics": [order.topic for order in orders],
        "partitions": [order.partition for order in orders],
        "order_keys": [order.order_key for order in orders],
    }
