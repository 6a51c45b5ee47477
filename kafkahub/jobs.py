"""One at a time: what a job takes before it does a slice of its work."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7100002))"


@contextmanager
def alone(job: str) -> Iterator[bool]:
    """Open a transaction for one slice of ``job``; give False when another process is at it.

    The lock ends with the transaction, so a killed process holds nothing up. A slice is short:
    the transaction, and whatever it locks, lasts as long.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TRY_LOCK, [job])
        yield bool(cursor.fetchone()[0])
