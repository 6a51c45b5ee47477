"""Daily partitions of ``delivery_attempt``: made ahead of time, dropped by retention."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg import Connection, sql

Conn = Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""

PREFIX = "delivery_attempt_"
DEFAULT = "delivery_attempt_default"
PURGE_ROWS = 5_000
"""Rows of the default partition deleted by one statement: well below the statement timeout."""

_DAY = re.compile(rf"{PREFIX}(\d{{8}})")

PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'delivery_attempt'::regclass
"""  # pg_inherits_parent_index

# A lock that is waited for stops everybody who comes later, so the wait is short and the job
# simply comes again. ATTACH asks much less of the parent than CREATE … PARTITION OF does.
PATIENCE = "SET LOCAL lock_timeout = '500ms'"
CREATE = "CREATE TABLE {name} (LIKE delivery_attempt INCLUDING DEFAULTS)"
ATTACH = "ALTER TABLE delivery_attempt ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})"
DROP = "DROP TABLE {name}"

IS_TAKEN = """
SELECT EXISTS (SELECT FROM delivery_attempt_default WHERE at >= %(start)s AND at < %(end)s)
"""  # delivery_attempt_default_pkey (at, id)

PURGE = """
DELETE FROM delivery_attempt_default WHERE (at, id) IN (
    SELECT at, id FROM delivery_attempt_default WHERE at < %(before)s ORDER BY at, id LIMIT %(rows)s
)
"""  # delivery_attempt_default_pkey (at, id)

TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"


def current_day(conn: Conn) -> date:
    """Return the day it is in UTC by PostgreSQL's clock."""
    day: date
    [[day]] = conn.execute(TODAY).fetchall()
    return day


def name_of(day: date) -> str:
    """Return the name of a day's partition."""
    return f"{PREFIX}{day:%Y%m%d}"


def ensure(conn: Conn, today: date, *, days_ahead: int = 3) -> list[date]:
    """Make the partitions from ``today`` on that are missing, and return their days.

    A day that has rows in the default partition already is left there: moving a day of rows
    would lock the log, and retention removes them from there as well. Doing it twice is harmless.
    Raises psycopg.errors.LockNotAvailable when the table stayed busy for half a second.
    """
    there = {day for day, _ in _days(conn)}
    wanted = [today + timedelta(days=ahead) for ahead in range(days_ahead + 1)]
    return [day for day in wanted if day not in there and _make(conn, day)]


def drop_older_than(conn: Conn, today: date, *, kept_days: int) -> list[date]:
    """Drop the partitions whose last row is ``kept_days`` old or older; return their days.

    Raises psycopg.errors.LockNotAvailable when the table stayed busy for half a second.
    """
    before = today - timedelta(days=kept_days)
    dropped = []
    for day, name in sorted(_days(conn)):
        if day < before:
            with conn.transaction():
                conn.execute(PATIENCE)
                conn.execute(sql.SQL(DROP).format(name=sql.Identifier(name)))
            dropped.append(day)
    return dropped


def purge_default(conn: Conn, today: date, *, kept_days: int) -> int:
    """Delete one slice of rows past retention from the default partition; return how many."""
    before = _start(today - timedelta(days=kept_days))
    return conn.execute(PURGE, {"before": before, "rows": PURGE_ROWS}).rowcount


def _make(conn: Conn, day: date) -> bool:
    name = sql.Identifier(name_of(day))
    start, end = _start(day), _start(day + timedelta(days=1))
    with conn.transaction():
        conn.execute(PATIENCE)
        taken = conn.execute(IS_TAKEN, {"start": start, "end": end}).fetchone()
        if taken == (True,):
            return False
        conn.execute(sql.SQL(CREATE).format(name=name))
        bounds = {"start": sql.Literal(start), "end": sql.Literal(end)}
        conn.execute(sql.SQL(ATTACH).format(name=name, **bounds))
    return True


def _days(conn: Conn) -> Iterator[tuple[date, str]]:
    for (name,) in conn.execute(PARTITIONS).fetchall():
        if match := _DAY.fullmatch(str(name)):
            yield datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC).date(), str(name)


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
