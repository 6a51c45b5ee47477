"""All SQL by which engines move replays: what they have done, what they find parked, their end."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import Connection, Cursor

from delivery.attempts import AttemptRow
from delivery.ledger import NewlyParked

Conn = Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""
Cur = Cursor[tuple[Any, ...]]

COUNT = """
UPDATE replay_progress
   SET sent = sent + %(sent)s, delivered = delivered + %(delivered)s,
       failed = failed + %(failed)s, parked = parked + %(parked)s, updated_at = now()
 WHERE replay_id = %(replay)s
"""  # the primary key

# A record that has a row gets that row anew, never a second one; one that is on its way keeps it.
RESET = """
UPDATE parked_delivery p
   SET state = r.state, reason = r.reason, attempts = r.attempts, sends = p.sends + r.sends,
       next_attempt_at = now() + make_interval(secs => r.delay_s), last_outcome = r.last_outcome,
       last_status = r.last_status, replay = r.replay,
       expires_at = CASE WHEN r.state = 'dead' THEN now() + make_interval(days => %(kept_days)s) END
  FROM unnest(%(ids)s::text[], %(states)s::text[], %(reasons)s::text[], %(attempts)s::int[],
              %(sends)s::int[], %(delays_s)s::float8[], %(outcomes)s::text[], %(statuses)s::int[],
              %(replays)s::text[])
       AS r (id, state, reason, attempts, sends, delay_s, last_outcome, last_status, replay)
 WHERE p.id = r.id AND p.state = 'dead'
RETURNING p.id
"""  # the primary key

FORGET_DEAD = "DELETE FROM parked_delivery WHERE id = ANY(%(ids)s) AND state = 'dead'"
# the primary key

SETTLED = """
SELECT "offset" FROM delivery_attempt
 WHERE replay = %(replay)s AND topic = %(topic)s AND partition = %(partition)s
   AND "offset" >= %(next_offset)s AND outcome_class = 'delivered'
UNION
SELECT "offset" FROM parked_delivery
 WHERE replay = %(replay)s AND topic = %(topic)s AND partition = %(partition)s
   AND "offset" >= %(next_offset)s
"""  # attempt_of_replay (replay, topic, partition, offset), parked_of_replay (replay, state)

END = """
UPDATE subscriptions_replay r SET state = 'done', ended_at = now(), version = version + 1
 WHERE r.id = ANY(%(replays)s) AND r.state = 'running' AND r.kind = 'kafka'
   AND NOT EXISTS (SELECT FROM replay_lane l
                    WHERE l.replay_id = r.id AND l.next_offset < l.end_offset)
RETURNING id
"""  # the primary key, replay_lane_once (replay, topic, partition)


class Done(NamedTuple):
    """What one checkpoint adds to one replay."""

    replay: str
    sent: int
    delivered: int
    failed: int
    parked: int


def done(attempts: Iterable[AttemptRow], parked: Iterable[NewlyParked]) -> list[Done]:
    """Return what these add to each replay, ordered, so that two engines never lock crosswise."""
    sent = [row for row in attempts if row.replay]
    kinds = Counter((row.replay, row.outcome_class == "delivered") for row in sent)
    of_parked = Counter(row.replay for row in parked if row.replay)
    return [
        Done(
            replay,
            kinds[replay, True] + kinds[replay, False],
            kinds[replay, True],
            kinds[replay, False],
            of_parked[replay],
        )
        for replay in sorted({row.replay for row in sent if row.replay} | of_parked.keys())
    ]


def count(cur: Cur, figures: Iterable[Done]) -> None:
    """Add to the progress of replays."""
    for one in figures:
        cur.execute(COUNT, one._asdict())


def reset(cur: Cur, rows: Sequence[NewlyParked], *, kept_days: int) -> set[str]:
    """Begin dead rows anew for records that failed in a replay; return their ids."""
    if not rows:
        return set()
    columns = {
        "ids": [row.id for row in rows],
        "states": [row.state for row in rows],
        "reasons": [row.reason for row in rows],
        "attempts": [row.attempts for row in rows],
        "sends": [row.sends for row in rows],
        "delays_s": [row.delay_s for row in rows],
        "outcomes": [row.last_outcome for row in rows],
        "statuses": [row.last_status for row in rows],
        "replays": [row.replay for row in rows],
        "kept_days": kept_days,
    }
    cur.execute(RESET, columns)
    return {row_id for (row_id,) in cur.fetchall()}


def forget_dead(cur: Cur, attempts: Iterable[AttemptRow]) -> None:
    """Delete the dead letters of what a replay has delivered."""
    ids = [row.delivery for row in attempts if row.replay and row.outcome_class == "delivered"]
    if ids:
        cur.execute(FORGET_DEAD, {"ids": ids})


def settled(
    conn: Conn, replay: str, *, topic: str, partition: int, next_offset: int
) -> frozenset[int]:
    """Return what this replay, and no older pass, has delivered or parked from there on."""
    place = {"topic": topic, "partition": partition, "next_offset": next_offset}
    rows = conn.execute(SETTLED, place | {"replay": replay}).fetchall()
    return frozenset(offset for (offset,) in rows)


def end(cur: Cur, replays: Collection[str]) -> set[str]:
    """End those of these replays that have nothing left to send; return them."""
    if not replays:
        return set()
    cur.execute(END, {"replays": sorted(replays)})
    return {replay for (replay,) in cur.fetchall()}
