"""Claims parked rows that are due, and holds the claims while they are being sent."""

import threading
import time
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
"""Rows claimed at once, in all and of one subscription."""
RECONNECT_S = 1.0

log = structlog.get_logger()


class Redelivery:
    """Brings due parked rows to the dispatcher.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection, and the ids of the rows it has claimed
    Takes  the ids of finished rows through ``finished``
    Ends   ``stop``: gives all claims back
    """

    def __init__(
        self,
        owner: UUID,
        connect: Callable[[], Conn],
        *,
        snapshot: Callable[[], Snapshot],
        post: Callable[[Note], None],
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._snapshot = snapshot
        self._post = post
        self._lock = threading.Lock()
        self._claimed: set[str] = set()
        self._renewed_at = time.monotonic()
        self._stopping = threading.Event()

    def finished(self, ids: Iterable[str]) -> None:
        """Note that a checkpoint has written what came of these rows."""
        with self._lock:
            self._claimed.difference_update(ids)

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
        for _ in conn.notifies(timeout=SWEEP_S, stop_after=1):
            return

    def _claim(self, conn: Conn) -> list[ledger.ParkedRow]:
        with self._lock:
            room = CLAIMS_MAX - len(self._claimed)
        live = [one.id for one in self._snapshot().subscriptions.values() if one.sending]
        if room <= 0 or not live:
            return []
        rows = ledger.claim_due(
            conn,
            self._owner,
            subscriptions=live,
            limit=min(room, CLAIMS_MAX),
            each=EACH_MAX,
            lease_s=LEASE_S,
        )
        with self._lock:
            self._claimed.update(row.id for row in rows)
        return rows

    def _renew(self, conn: Conn) -> None:
        with self._lock:
            ids = list(self._claimed)
        now = time.monotonic()
        if ids and now - self._renewed_at >= RENEW_S:
            held = ledger.renew(conn, self._owner, ids, lease_s=LEASE_S)
            with self._lock:
                lost = self._claimed.intersection(ids) - held
                self._claimed -= lost
            metrics.leases_lost.inc(len(lost))
        if not ids or now - self._renewed_at >= RENEW_S:
            self._renewed_at = now

    def _forget_when_late(self) -> None:
        """Send no claimed row any more whose lease may be over: another engine may have it."""
        if time.monotonic() - self._renewed_at < FORGET_S:
            return
        with self._lock:
            is_holding = bool(self._claimed)
            self._claimed.clear()
        if is_holding:
            self._post(ParkedForgotten())
