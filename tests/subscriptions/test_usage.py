"""What partners use is counted in memory and added up by the hour."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from kafkahub import clock
from subscriptions import tasks
from subscriptions.models import UsageHour
from subscriptions.usage import KEPT, Usage, Used
from tests import factories

pytestmark = pytest.mark.django_db


def test_counts_of_many_processes_add_up_in_one_row() -> None:
    owner = factories.partner()
    for process in (Usage(), Usage()):
        for _ in range(3):
            process.note(owner.id, "rest", Used(requests=1, records_in=10, bytes_in=100), "orders")
        process.flush()

    row = UsageHour.objects.get()

    assert (row.requests, row.records_in, row.bytes_in, row.refused) == (6, 60, 600, 0)
    assert row.hour == datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def test_what_belongs_to_nobody_harms_nobody() -> None:
    owner = factories.partner()
    counting = Usage()
    counting.note("ptn_gone", "rest", Used(requests=1))
    counting.note(owner.id, "rest", Used(requests=1))

    counting.flush()

    assert [row.partner_id for row in UsageHour.objects.all()] == [owner.id]


def test_what_could_not_be_written_is_written_with_the_next(transactional_db: None) -> None:
    owner = factories.partner()
    counting = Usage()
    counting.note(owner.id, "rest", Used(requests=1))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE subscriptions_usagehour RENAME TO away")
    counting.flush()
    counting.note(owner.id, "rest", Used(requests=2))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO subscriptions_usagehour")

    counting.flush()

    assert UsageHour.objects.get().requests == 3


def test_the_last_counts_are_written_at_the_end(transactional_db: None) -> None:
    owner = factories.partner()
    counting = Usage()
    counting.start()
    counting.note(owner.id, "rest", Used(requests=1))

    counting.stop()

    assert UsageHour.objects.get().requests == 1


def test_hours_older_than_kept_are_deleted() -> None:
    owner = factories.partner()
    for age in (KEPT + timedelta(hours=1), KEPT - timedelta(hours=1)):
        UsageHour.objects.create(partner=owner, hour=clock.now() - age, door="rest")

    tasks.expire_usage()

    assert UsageHour.objects.count() == 1
