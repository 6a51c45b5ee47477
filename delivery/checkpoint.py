"""Makes outcomes durable: one batch, one transaction."""

import queue
import threading
from collections.abc import Callable, Iterable
from uuid import UUID

import psycopg
import structlog

from delivery import gaps, ledger, metrics, positions, replaying, succession
from delivery.batch import Batch
from delivery.database import Conn
from delivery.inbox import Committed, Place
from kafkahub.failpoints import failpoint

RETRY_S = 0.5
"""Wait before a batch is tried again while PostgreSQL is away."""
LIVE = "live"
WARN_EVERY = 20
"""A failure that repeats is logged the first time and every so many times."""

log = structlog.get_logger()


class Checkpoint:
    """Writes batches, in order, each until it is durable.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection
    Takes  batches through ``submit``; the dispatcher hands over one at a time
    Ends   ``stop``: after the batch it holds, or at once while PostgreSQL is away
    """

    def __init__(
        self,
        owner: UUID,
        connect: Callable[[], Conn],
        *,
        kept_days: int,
        on_committed: Callable[[Committed, Batch], None],
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._kept_days = kept_days
        self._on_committed = on_committed
        self._batches: queue.Queue[Batch | None] = queue.Queue(maxsize=2)
        self._stopping = threading.Event()
        self._conn: Conn | None = None

    def submit(self, batch: Batch) -> None:
        """Take the next batch; never waits, for there is one under way at most."""
        self._batches.put_nowait(batch)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()
        self._batches.put(None)

    def run(self) -> None:
        """Write batches until stopped."""
        while (batch := self._batches.get()) is not None:
            committed = self._durable(batch)
            if committed is None:
                break
            metrics.count(batch)
            for found in batch.gaps:
                log.error("gap.found", **found.gap._asdict())
            self._on_committed(committed, batch)
        if self._conn is not None:
            self._conn.close()

    def _durable(self, batch: Batch) -> Committed | None:
        """Write a batch however long it takes; None when stopped before it was."""
        failures = 0
        while True:
            try:
                if failures and (written := self._already_written(batch)):
                    fenced = {(one.topic, one.partition) for one in batch.floors} - written
                    return Committed(batch.number, frozenset(fenced))
                with metrics.checkpoint_seconds.time():
                    return self._write(batch)
            except psycopg.Error as error:
                failures += 1
                metrics.checkpoint_failures.inc()
                if failures % WARN_EVERY == 1:
                    log.warning("checkpoint.failed", failures=failures, error=str(error))
                self._hang_up()
            if self._stopping.wait(RETRY_S):
                return None

    def _write(self, batch: Batch) -> Committed:
        conn = self._connection()
        with conn.transaction(), conn.cursor() as cur:
            fenced = positions.advance(cur, batch.floors)
            succession.hold(cur, {(one.topic, one.partition) for one in batch.orders})
            ours = [row for row in batch.parked if (row.topic, row.partition) not in fenced]
            ours += self._announced(cur, batch, fenced)
            ledger.copy_attempts(cur, batch.attempts)
            self._park(cur, ours, batch)
            if ours:
                failpoint("park.before_commit")
            ledger.finish(
                cur,
                self._owner,
                delivered=batch.delivered,
                rescheduled=batch.rescheduled,
                dead=batch.dead,
                kept_days=self._kept_days,
            )
            succession.unclaim(cur, self._owner, batch.unclaimed)
            for subscriptions, since_us in batch.hastened:
                ledger.hasten(cur, subscriptions, since_us=since_us)
            lanes = [row for row in batch.lanes if (row.topic, row.partition) not in fenced]
            epochs = {(floor.topic, floor.partition): floor.epoch for floor in batch.floors}
            own = [row for row in lanes if not row.replay]
            positions.save_lanes(cur, own, owner=self._owner, epochs=epochs)
            moved = [row for row in lanes if row.replay]
            replays = positions.save_replay_lanes(cur, moved, owner=self._owner, epochs=epochs)
            replaying.end(cur, replays)
            for lane in batch.dissolved:
                succession.dissolve(cur, lane, kept_days=self._kept_days)
            emptied = succession.promote(cur, batch.orders)
            failpoint("checkpoint.before_commit")
        failpoint("checkpoint.after_commit")
        if any(row.state != LIVE for row in lanes):
            failpoint("lane.behind.after_row")
        self._note_fenced(fenced)
        return Committed(batch.number, frozenset(fenced), frozenset(emptied))

    def _park(self, cur: positions.Cur, rows: list[ledger.NewlyParked], batch: Batch) -> None:
        """Set records aside, and count what replays did."""
        fresh = ledger.park(cur, rows, kept_days=self._kept_days)
        again = [row for row in rows if row.replay and row.id not in fresh]
        fresh |= replaying.reset(cur, again, kept_days=self._kept_days)
        parked = [row for row in rows if row.id in fresh]
        replaying.forget_dead(cur, batch.attempts)
        replaying.count(cur, replaying.done(batch.attempts, parked))

    def _announced(
        self, cur: positions.Cur, batch: Batch, fenced: set[Place]
    ) -> list[ledger.NewlyParked]:
        """Write the gaps of partitions that are ours; return what tells of those that are new."""
        found = [one for one in batch.gaps if (one.gap.topic, one.gap.partition) not in fenced]
        fresh = gaps.insert(cur, [one.gap for one in found])
        return [one.notice for one in found if one.gap.id in fresh and one.notice is not None]

    def _already_written(self, batch: Batch) -> set[Place]:
        """Return the floors of a COMMIT that succeeded without an answer; none if it did not.

        With one of them all of the batch is durable, and nothing is written twice.
        """
        return positions.committed(self._connection(), batch.floors) if batch.floors else set()

    def _connection(self) -> Conn:
        if self._conn is None:
            self._conn = self._connect()
        return self._conn

    def _hang_up(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _note_fenced(self, places: Iterable[Place]) -> None:
        for topic, partition in places:
            metrics.fenced_writes.inc()
            log.warning("partition.fenced", topic=topic, partition=partition)
