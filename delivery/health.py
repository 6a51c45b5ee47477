"""How endpoints fare, as engines know it: gathered in memory, written every few seconds."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import psycopg
import structlog

from delivery.database import Conn
from delivery.window import Window

EVERY_S = 5.0
"""Between two reports of an engine: what pages show is so old at most."""
RETRY_S = 1.0
QUEUE = 4
"""Reports that wait for PostgreSQL at most; older ones are dropped, the next tell the same."""
FRESH_S = 30
"""An engine that has said nothing for so long is not counted."""

log = structlog.get_logger()

# Rows in one order, so that two engines never wait for each other. A success that is news begins
# a new count; what failed before it is over, whichever engine it failed for.
WRITE = """
INSERT INTO endpoint_standing AS s
       (endpoint, last_success_at, failing_since, last_failure_at, failures, last_outcome,
        last_status, engines, updated_at)
SELECT r.endpoint, to_timestamp(r.success_us / 1e6), to_timestamp(r.since_us / 1e6),
       to_timestamp(r.failure_us / 1e6), r.failures, r.outcome, r.status,
       jsonb_build_object(%(owner)s::text, jsonb_build_object(
           'window', r.size, 'in_flight', r.in_flight, 'is_down', r.is_down,
           'is_throttled', r.is_throttled, 'next_probe_at', r.probe_us / 1e6,
           'at', extract(epoch FROM now()))), now()
  FROM unnest(%(endpoint)s::text[], %(success_us)s::bigint[], %(since_us)s::bigint[],
              %(failure_us)s::bigint[], %(failures)s::int[], %(outcome)s::text[],
              %(status)s::int[], %(size)s::int[], %(in_flight)s::int[], %(is_down)s::bool[],
              %(is_throttled)s::bool[], %(probe_us)s::bigint[])
       AS r (endpoint, success_us, since_us, failure_us, failures, outcome, status, size,
             in_flight, is_down, is_throttled, probe_us)
  JOIN subscriptions_endpoint e ON e.id = r.endpoint
 ORDER BY r.endpoint
ON CONFLICT (endpoint) DO UPDATE SET
       last_success_at = greatest(s.last_success_at, excluded.last_success_at),
       last_failure_at = greatest(s.last_failure_at, excluded.last_failure_at),
       failing_since = CASE
           WHEN excluded.last_success_at > coalesce(s.last_success_at, '-infinity') THEN
               CASE WHEN excluded.failing_since > excluded.last_success_at
                    THEN excluded.failing_since
                    WHEN s.last_failure_at > excluded.last_success_at THEN s.last_failure_at END
           WHEN excluded.failures = 0 THEN s.failing_since
           ELSE least(s.failing_since, CASE
               WHEN excluded.failing_since > coalesce(s.last_success_at, '-infinity')
               THEN excluded.failing_since
               WHEN excluded.last_failure_at > s.last_success_at
               THEN excluded.last_failure_at END) END,
       failures = CASE
           WHEN excluded.last_success_at > coalesce(s.last_success_at, '-infinity')
           THEN CASE WHEN excluded.failing_since > excluded.last_success_at
                     THEN excluded.failures ELSE 0 END
           ELSE s.failures + excluded.failures END,
       last_outcome = CASE WHEN excluded.failures > 0 THEN excluded.last_outcome
                           ELSE s.last_outcome END,
       last_status = CASE WHEN excluded.failures > 0 THEN excluded.last_status
                          ELSE s.last_status END,
       engines = excluded.engines || coalesce((
           SELECT jsonb_object_agg(x.key, x.value) FROM jsonb_each(s.engines) AS x
            WHERE x.key <> %(owner)s::text
              AND (x.value ->> 'at')::float8 > extract(epoch FROM now()) - %(fresh_s)s), '{}'),
       updated_at = now()
"""  # the primary key


class Report(NamedTuple):
    """What one engine tells of one endpoint; times in Unix µs on PostgreSQL's clock.

    failures  since the report before
    """

    endpoint: str
    success_us: int | None
    since_us: int | None
    failure_us: int | None
    failures: int
    outcome: str
    status: int | None
    size: int
    in_flight: int
    is_down: bool
    is_throttled: bool
    probe_us: int | None


def gather(
    windows: Iterable[tuple[str, Window]], since: float, now: float, us: Callable[[float], int]
) -> list[Report]:
    """Return reports of the endpoints that anything has happened at since then.

    since, now  monotonic times
    us          turns them into Unix µs on PostgreSQL's clock
    """
    return [
        _report(endpoint, window, now, us)
        for endpoint, window in windows
        if window.answered_at > since or window.in_flight or window.breaker.is_open
    ]


def _report(endpoint: str, window: Window, now: float, us: Callable[[float], int]) -> Report:
    failed = window.failed
    is_failing = failed.count > 0 and failed.last > window.delivered_at
    fresh, failed.told = failed.count - failed.told, failed.count
    is_down = window.breaker.is_open
    return Report(
        endpoint,
        us(window.delivered_at) if window.delivered_at else None,
        us(failed.since) if is_failing else None,
        us(failed.last) if failed.count else None,
        fresh,
        failed.outcome,
        failed.status,
        window.size,
        window.in_flight,
        is_down,
        not is_down and window.not_before > now,
        us(window.not_before) if is_down else None,
    )


def write(conn: Conn, owner: UUID, reports: Sequence[Report]) -> None:
    """Write what an engine tells; endpoints that are gone are left out."""
    columns: dict[str, object] = {
        name: [getattr(one, name) for one in reports] for name in Report._fields
    }
    conn.execute(WRITE, columns | {"owner": str(owner), "fresh_s": FRESH_S})


class Reporter:
    """Writes reports.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection
    Takes  reports through ``submit``, which never waits
    Ends   ``stop``, after the report it holds
    """

    def __init__(self, owner: UUID, connect: Callable[[], Conn]) -> None:
        self._owner = owner
        self._connect = connect
        self._reports: queue.Queue[list[Report] | None] = queue.Queue(QUEUE)
        self._stopping = threading.Event()

    def submit(self, reports: list[Report]) -> None:
        """Take reports; while PostgreSQL is away all but the first few are dropped."""
        if not self._reports.full():
            self._reports.put_nowait(reports)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()
        if not self._reports.full():
            self._reports.put_nowait(None)

    def run(self) -> None:
        """Write until stopped."""
        while not self._stopping.is_set():
            try:
                with self._connect() as conn:
                    self._serve(conn)
            except psycopg.Error as error:
                log.warning("health.interrupted", error=str(error))
                self._stopping.wait(RETRY_S)

    def _serve(self, conn: Conn) -> None:
        while (reports := self._reports.get()) is not None:
            write(conn, self._owner, reports)
            if self._stopping.is_set():
                return
