"""The claims on parked rows that this engine holds, renewed and given up on threads of their own.

A claim that is not renewed in time may be another engine's, so a renewal must wait for nothing
else, and giving up must not even wait for a renewal that hangs.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

import psycopg
import structlog

from delivery import ledger, metrics
from delivery.database import Conn

LEASE_S = 5.0
RENEW_S = 1.5
"""Between two renewals; three of them fit into a lease."""
FORGET_S = 4.0
"""Without a renewal for so long, every claim counts as lost."""
LOOK_S = 0.25
"""Between two looks at the clock."""

log = structlog.get_logger()


class Leases:
    """Claims with their subscriptions.

    Runs   two threads, started by the engine: ``renew`` and ``guard``
    Owns   a PostgreSQL connection, for the thread that renews
    Takes  rows through ``hold``, and the ids of those that are written through ``drop``
    Ends   ``stop``

    forgotten  called when all claims may be lost: no send may start for them
    """

    def __init__(
        self,
        owner: UUID,
        connect: Callable[[], Conn],
        *,
        forgotten: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._forgotten = forgotten
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        self._renewed_at = monotonic()
        self._stopping = threading.Event()

    def hold(self, claimed: Mapping[str, str], at: float) -> None:
        """Take rows with their subscriptions, claimed at or after this monotonic time."""
        with self._lock:
            if not self._held:
                self._renewed_at = at
            self._held.update(claimed)

    def drop(self, ids: Iterable[str]) -> None:
        """Hold these no longer: a checkpoint has written what came of them."""
        with self._lock:
            for row_id in ids:
                self._held.pop(row_id, None)

    def count(self) -> Counter[str]:
        """Return how many claims each subscription has."""
        with self._lock:
            return Counter(self._held.values())

    def stop(self) -> None:
        """End both threads; the caller joins them."""
        self._stopping.set()

    def renew(self) -> None:
        """Renew all claims in time, until stopped."""
        while not self._stopping.wait(LOOK_S):
            try:
                with self._connect() as conn:
                    while not self._stopping.wait(LOOK_S):
                        self._renew(conn)
            except psycopg.Error as error:
                log.warning("leases.interrupted", error=str(error))

    def guard(self) -> None:
        """Give all claims up that could not be renewed in time, until stopped."""
        while not self._stopping.wait(LOOK_S):
            with self._lock:
                is_late = bool(self._held) and self._age_s() >= FORGET_S
                if is_late:
                    self._held.clear()
            if is_late:
                log.warning("leases.forgotten")
                self._forgotten()

    def _renew(self, conn: Conn) -> None:
        with self._lock:
            ids = list(self._held)
            is_due = bool(ids) and self._age_s() >= RENEW_S
        if not is_due:
            return
        now = self._monotonic()
        ours = ledger.renew(conn, self._owner, ids, lease_s=LEASE_S)
        lost = [row_id for row_id in ids if row_id not in ours]
        self.drop(lost)
        metrics.leases_lost.inc(len(lost))
        with self._lock:
            self._renewed_at = now

    def _age_s(self) -> float:
        return self._monotonic() - self._renewed_at
