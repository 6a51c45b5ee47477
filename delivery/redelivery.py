"""Claims parked rows that are due."""

import threading
import time
from collections.abc import Callable, Iterable
from uuid import UUID

import psycopg
import structlog

from delivery import ledger, succession
from delivery.database import Conn
from delivery.inbox import Note, ParkedClaimed, ParkedForgotten, Released
from delivery.leases import LEASE_S, Leases
from delivery.succession import Order
from kafkahub.failpoints import failpoint
from subscriptions.live import Snapshot

LISTEN_DUE = "LISTEN kafkahub_due"
"""Rung by whoever makes a row due now: a resend, a test, a redrive."""
SWEEP_S = 1.0
"""Between two looks for due rows when no doorbell rings."""
CLAIMS_MAX = 256
EACH_MAX = 64
"""Rows claimed at once, in all and of one subscription: what one that hangs holds, others lack."""
RESERVE = 64
"""Claims kept for subscriptions that hold none, so that a few that hang never hold all of them."""
FRESH_SHARE = 8
"""A subscription that holds none is given this part of the room at most."""
HEADS_MAX = 32
BEHIND = 15
"""Heads of keys claimed at once, and rows behind each: they go out one after the other."""
RECONNECT_S = 1.0

log = structlog.get_logger()


class Redelivery:
    """Brings due parked rows to the dispatcher.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection, and ``leases``, whose threads the engine starts beside it
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
        held: Callable[[], frozenset[Order]],
        post: Callable[[Note], None],
        sweep_s: float = SWEEP_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._snapshot = snapshot
        self._down = down
        self._held = held
        self._post = post
        self._sweep_s = sweep_s
        self._monotonic = monotonic
        self.leases = Leases(
            owner, connect, forgotten=lambda: post(ParkedForgotten()), monotonic=monotonic
        )
        self._stopping = threading.Event()

    def finished(self, ids: Iterable[str]) -> None:
        """Note that a checkpoint has written what came of these rows."""
        self.leases.drop(ids)

    def stop(self) -> None:
        """End the threads; the caller joins them."""
        self._stopping.set()
        self.leases.stop()

    def run(self) -> None:
        """Claim until stopped; a database that is away is waited for."""
        while not self._stopping.is_set():
            try:
                with self._connect() as conn:
                    conn.execute(LISTEN_DUE)
                    self._serve(conn)
            except psycopg.Error as error:
                log.warning("redelivery.interrupted", error=str(error))
                self._stopping.wait(RECONNECT_S)

    def _serve(self, conn: Conn) -> None:
        while not self._stopping.is_set():
            rows = self._claim(conn)
            if rows:
                failpoint("park.claimed")
                self._post(ParkedClaimed(rows))
            else:
                self._release_lanes(conn)
                self._wait(conn)
        ledger.release(conn, self._owner)

    def _wait(self, conn: Conn) -> None:
        """Wait for a doorbell, for the next sweep at the longest."""
        for _ in conn.notifies(timeout=self._sweep_s, stop_after=1):
            return

    def _release_lanes(self, conn: Conn) -> None:
        """Tell of lanes that wait for a person whose held row is gone: it was discarded."""
        held = self._held()
        gone = held - succession.still_open(conn, held) if held else None
        if gone:
            self._post(Released(list(gone)))

    def _claim(self, conn: Conn) -> list[ledger.ParkedRow]:
        """Claim what is due; of an endpoint that is down one row, due or not, as a probe."""
        held = self.leases.count()
        room = CLAIMS_MAX - held.total()
        if room <= 0:
            return []
        down = self._down()
        sending = [one for one in self._snapshot().subscriptions.values() if one.sending]
        up = [one.id for one in sending if one.endpoint.id not in down]
        fresh = [one for one in up if not held[one]]
        probes = [one.id for one in sending if one.endpoint.id in down and not held[one.id]]
        rows = self._claim_of(conn, fresh, limit=room, each=max(1, room // FRESH_SHARE))
        rows += self._claim_of(conn, probes, limit=room - len(rows), each=1, is_early=True)
        busy = [one for one in up if 0 < held[one] < EACH_MAX]
        rows += self._claim_of(conn, busy, limit=room - len(rows) - RESERVE, each=EACH_MAX)
        ordered = {
            one.id
            for one in sending
            if (one.ordering != "none" or one.batch is not None) and held[one.id] < EACH_MAX
        }
        if ordered and len(rows) < room:
            rows += self._claim_heads(conn, ordered.intersection(up), each=HEADS_MAX, behind=BEHIND)
            rows += self._claim_heads(
                conn, ordered.intersection(probes), each=1, behind=0, is_early=True
            )
        return rows

    def _claim_of(
        self,
        conn: Conn,
        subscriptions: list[str],
        *,
        limit: int,
        each: int,
        is_early: bool = False,
    ) -> list[ledger.ParkedRow]:
        if not subscriptions or limit <= 0:
            return []
        at = self._monotonic()
        rows = ledger.claim_due(
            conn,
            self._owner,
            subscriptions=subscriptions,
            limit=limit,
            each=each,
            lease_s=LEASE_S,
            is_early=is_early,
        )
        self.leases.hold({row.id: row.subscription for row in rows}, at)
        return rows

    def _claim_heads(
        self,
        conn: Conn,
        subscriptions: set[str],
        *,
        each: int,
        behind: int,
        is_early: bool = False,
    ) -> list[ledger.ParkedRow]:
        if not subscriptions:
            return []
        at = self._monotonic()
        rows = succession.claim_heads(
            conn,
            self._owner,
            subscriptions=subscriptions,
            limit=HEADS_MAX,
            each=each,
            behind=behind,
            lease_s=LEASE_S,
            is_early=is_early,
        )
        self.leases.hold({row.id: row.subscription for row in rows}, at)
        return rows
