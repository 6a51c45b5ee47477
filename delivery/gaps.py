"""Gaps: offsets of a lane that will never come; how they are kept, and who was told."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import Connection, Cursor

from delivery.ledger import NewlyParked

Conn = Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""
Cur = Cursor[tuple[Any, ...]]


class Gap(NamedTuple):
    """Offsets from ``from_offset`` up to ``to_offset`` that one lane will never be given.

    to_offset  first one after the gap; None where the old log's end was never seen
    delivery   webhook-id of what tells the subscription; "" where nothing does
    replay     id of the replay that met it, or ""
    """

    id: str
    subscription: str
    topic: str
    partition: int
    generation: int
    from_offset: int
    to_offset: int | None
    reason: str
    delivery: str = ""
    replay: str = ""

    @property
    def lost(self) -> int | None:
        """Return how many offsets are missing; None while the end is not known."""
        return None if self.to_offset is None else self.to_offset - self.from_offset


class Noticed(NamedTuple):
    """A gap, and the row that tells its subscription of it; None for one of a replay."""

    gap: Gap
    notice: NewlyParked | None


# FOR KEY SHARE makes a deletion of the subscription wait, or leaves the row out if it was first.
INSERT = """
INSERT INTO delivery_gap
       (id, subscription_id, topic, partition, generation, from_offset, to_offset, reason,
        delivery, replay, found_at)
SELECT g.id, g.subscription, g.topic, g.partition, g.generation, g.from_offset, g.to_offset,
       g.reason, g.delivery, g.replay, now()
  FROM unnest(%(id)s::text[], %(subscription)s::text[], %(topic)s::text[], %(partition)s::int[],
              %(generation)s::int[], %(from_offset)s::bigint[], %(to_offset)s::bigint[],
              %(reason)s::text[], %(delivery)s::text[], %(replay)s::text[])
       AS g (id, subscription, topic, partition, generation, from_offset, to_offset, reason,
             delivery, replay)
  JOIN subscriptions_subscription s ON s.id = g.subscription
   FOR KEY SHARE OF s
ON CONFLICT DO NOTHING
RETURNING id
"""  # delivery_gap_once (subscription, topic, partition, generation, from_offset, replay)

UNTOLD = """
SELECT g.subscription_id, p.id
  FROM parked_delivery p JOIN delivery_gap g ON g.delivery = p.id
 WHERE p.reason = 'gap' AND p.state IN ('scheduled', 'sending')
   AND g.topic = %(topic)s AND g.partition = %(partition)s
"""  # parked_gaps, gap_of_delivery

UNTOLD_IDS = """
SELECT id FROM parked_delivery WHERE reason = 'gap' AND state IN ('scheduled', 'sending')
"""  # parked_gaps: few rows, and for a short time each


def insert(cur: Cur, gaps: Sequence[Gap]) -> set[str]:
    """Write gaps in the caller's transaction; return the ids of those that are new.

    One that was announced before, and whose subscription is gone, is left out.
    """
    if not gaps:
        return set()
    columns = {name: [getattr(gap, name) for gap in gaps] for name in Gap._fields}
    cur.execute(INSERT, columns)
    return {gap_id for (gap_id,) in cur.fetchall()}


def untold(conn: Conn, topic: str, partition: int) -> dict[str, str]:
    """Return by subscription the delivery of its gap here that is still on its way."""
    rows = conn.execute(UNTOLD, {"topic": topic, "partition": partition}).fetchall()
    return dict(rows)


def untold_ids(conn: Conn) -> frozenset[str]:
    """Return the deliveries of all gaps that are still on their way."""
    return frozenset(row_id for (row_id,) in conn.execute(UNTOLD_IDS).fetchall())
