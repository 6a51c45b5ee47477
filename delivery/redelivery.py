"""Claims parked rows that are due, and holds the claims while they are being sent."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from uuid import UUID

import psycopg
import structlog

from delivery import ledger, metrics
from delivery.database import Conn
from delivery.inbox import Note, ParkedClaimed, ParkedForgotten
from kafkahub.failpoints import failpoint
from subscriptions.live import Snapshot

LISTEN_DUE = "LISTEN kafkahub_due"
"""Rung by whoever makes a row due now: a resend, a test, a redrive."""
LEASE_S = 5.0
RENEW_S = 1.5
"""Between two renewals; three of them fit into a lease."""
FORGET_S = 4.0
"""Without a renewal for so long, every claim counts as lost."""
SWEEP_S = 1.0
"""Between two looks for due rows when no doorbell rings."""
CLAIMS_MAX = 256
EACH_MAX = 64
"""Rows claimed at once, in all and of one subscription: what one that hangs holds, others lack."""
RECONNECT_S = 1.0

log = structlog.get_logger()


class Redelivery:
    """Brings due parked rows to the dispatcher.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection, and the rows it has claimed, with their subscriptions
    Takes  the ids of finished rows through ``finished``
    Ends   ``stop``: gives all claims back

    sweep_s    between two looks for due rows when no doorbell rings
    monotonic  the clock of leases
    """

    def __init__(
        self,
        owner: UUID,
        connect: Callable[[], Conn],
        *,
        snapshot: Callable[[], Snapshot],
        down: Callable[[], frozenset[str]],
        post: Callable[[Note], None],
        sweep_s: float = SWEEP_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._snapshot = snapshot
        self._down = down
        self._post = post
        self._sweep_s = sweep_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._claimed: dict[str, str] = {}
        self._renewed_at = monotonic()
        self._stopping = threading.Event()

    def finished(self, ids: Iterable[str]) -> None:
        """Note that a checkpoint has written what came of these rows."""
        with self._lock:
            for row_id in ids:
                self._claimed.pop(row_id, None)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()

    def run(self) -> None:
        """Claim and renew until stopped; a database that is away is waited for."""
        while not self._stopping.is_set():
            try:
                with self._connect() as conn:
                    conn.execute(LISTEN_DUE)
                    self._serve(conn)
            except psycopg.Error as error:
                log.warning("redelivery.interrupted", error=str(error))
                self._forget_when_late()
                self._stopping.wait(RECONNECT_S)

    def _serve(self, conn: Conn) -> None:
        while not self._stopping.is_set():
            self._renew(conn)
            rows = self._claim(conn)
            if rows:
                failpoint("park.claimed")
                self._post(ParkedClaimed(rows))
            else:
                self._wait(conn)
        ledger.release(conn, self._owner)

    def _wait(self, conn: Conn) -> None:
        """Wait for a doorbell, for the next sweep at the longest."""
        for _ in conn.notifies(timeout=self._sweep_s, stop_after=1):
            return

    def _claim(self, conn: Conn) -> list[ledger.ParkedRow]:
        """Claim what is due; of an endpoint that is down one row at a time, as a probe."""
        with self._lock:
            room = CLAIMS_MAX - len(self._claimed)
            held = Counter(self._claimed.values())
        if room <= 0:
            return []
        down = self._down()
        sending = [one for one in self._snapshot().subscriptions.values() if one.sending]
        up = [one.id for one in sending if one.endpoint.id not in down and held[one.id] < EACH_MAX]
        probes = [one.id for one in sending if one.endpoint.id in down and not held[one.id]]
        rows = self._claim_of(conn, up, limit=room, each=EACH_MAX)
        if probes and len(rows) < room:
            rows += self._claim_of(conn, probes, limit=room - len(rows), each=1)
        with self._lock:
            self._claimed.update((row.id, row.subscription) for row in rows)
        return rows

    def _claim_of(
        self, conn: Conn, subscriptions: list[str], *, limit: int, each: int
    ) -> list[ledger.ParkedRow]:
        if not subscriptions:
            return []
        return ledger.claim_due(
            conn, self._owner, subscriptions=subscriptions, limit=limit, each=each, lease_s=LEASE_S
        )

    def _renew(self, conn: Conn) -> None:
        with self._lock:
            ids = list(self._claimed)
        now = self._monotonic()
        if ids and now - self._renewed_at >= RENEW_S:
            held = ledger.renew(conn, self._owner, ids, lease_s=LEASE_S)
            with self._lock:
                lost = [row_id for row_id in ids if row_id not in held]
                for row_id in lost:
                    self._claimed.pop(row_id, None)
            metrics.leases_lost.inc(len(lost))
        if not ids or now - self._renewed_at >= RENEW_S:
            self._renewed_at = now

    def _forget_when_late(self) -> None:
        """Send no claimed row any more whose lease may be over: another engine may have it."""
        if self._monotonic() - self._renewed_at < FORGET_S:
            return
        with self._lock:
            is_holding = bool(self._claimed)
            self._claimed.clear()
        if is_holding:
            self._post(ParkedForgotten())
