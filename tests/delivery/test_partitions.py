"""Daily partitions: made ahead, dropped by retention, and never in the way of a checkpoint."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from delivery import partitions
from delivery.partitions import Conn
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
FAR = date(2031, 5, 1)
"""A day nobody has prepared, so that a test owns it."""

INSERT = """
INSERT INTO delivery_attempt (at, partner, subscription, endpoint, delivery, topic, partition,
    "offset", number, kind, outcome, outcome_class, duration_us, timings_us, reused, request_bytes,
    secret_ids)
VALUES (%s, 'p', 's', 'e', 'd', 't', 0, 0, 1, 'first', 'delivered', 'delivered', 1,
    '{1,1,1,1,1,1}', true, 1, '{}')
"""


@pytest.fixture
def conn() -> Iterator[Conn]:
    # Django empties its own tables only, so other tests' attempts may still be there.
    with factories.connect() as conn:
        conn.execute("DELETE FROM delivery_attempt")
        yield conn
        conn.execute("DELETE FROM delivery_attempt")
        partitions.drop_older_than(conn, FAR + timedelta(days=99), kept_days=0)
        partitions.ensure(conn, partitions.current_day(conn))


def write(conn: Conn, day: date) -> None:
    conn.execute(INSERT, [datetime(day.year, day.month, day.day, 12, tzinfo=UTC)])


def homes(conn: Conn) -> list[str]:
    """Return the partition of each attempt."""
    rows = conn.execute("SELECT tableoid::regclass::text FROM delivery_attempt ORDER BY at")
    return [name for (name,) in rows.fetchall()]


def test_today_and_three_days_ahead_are_there_after_migration(conn: Conn) -> None:
    assert partitions.ensure(conn, partitions.current_day(conn)) == []


def test_missing_days_are_made_once(conn: Conn) -> None:
    wanted = [FAR + timedelta(days=ahead) for ahead in range(3)]

    assert partitions.ensure(conn, FAR, days_ahead=2) == wanted
    assert partitions.ensure(conn, FAR, days_ahead=2) == []
    write(conn, FAR)
    assert homes(conn) == ["delivery_attempt_20310501"]


def test_every_partition_has_the_indexes_of_the_log(conn: Conn) -> None:
    partitions.ensure(conn, FAR, days_ahead=0)

    count = "SELECT count(*) FROM pg_indexes WHERE tablename = %s"
    made = conn.execute(count, ["delivery_attempt_20310501"]).fetchone()
    assert made == conn.execute(count, ["delivery_attempt"]).fetchone() == (6,)


def test_a_day_nobody_prepared_goes_to_the_default_partition_and_stays_there(conn: Conn) -> None:
    write(conn, FAR)

    made = partitions.ensure(conn, FAR, days_ahead=1)

    assert made == [FAR + timedelta(days=1)]
    assert homes(conn) == ["delivery_attempt_default"]


def test_retention_drops_whole_days_and_nothing_younger(conn: Conn) -> None:
    partitions.ensure(conn, FAR, days_ahead=3)
    today = FAR + timedelta(days=3)
    write(conn, FAR)
    write(conn, FAR + timedelta(days=1))

    dropped = partitions.drop_older_than(conn, today, kept_days=2)

    assert [day for day in dropped if day >= FAR] == [FAR]
    assert homes(conn) == ["delivery_attempt_20310502"]


def test_retention_reaches_rows_without_a_day_of_their_own(conn: Conn) -> None:
    write(conn, FAR)
    write(conn, FAR + timedelta(days=5))

    assert partitions.purge_default(conn, FAR + timedelta(days=5), kept_days=2) == 1
    assert len(homes(conn)) == 1


def test_a_busy_log_is_not_waited_for(conn: Conn) -> None:
    with factories.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM delivery_attempt")

        with pytest.raises(psycopg.errors.LockNotAvailable):
            partitions.ensure(conn, FAR, days_ahead=0)


def test_a_writer_of_today_does_not_hold_up_the_next_day(conn: Conn) -> None:
    with factories.connect() as writer, writer.transaction():
        write(writer, partitions.current_day(conn))

        assert partitions.ensure(conn, FAR, days_ahead=0) == [FAR]
