"""Jobs on the control API's tables: idempotent, in slices, one at a time."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session

from kafkahub import clock
from kafkahub.jobs import TRY_LOCK
from subscriptions import tasks
from subscriptions.models import IdempotencyKey, StreamTicket
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


def stored(key: str, *, hours_old: int) -> None:
    IdempotencyKey.objects.create(
        partner=factories.partner(),
        key=key,
        fingerprint=b"",
        created_at=clock.now() - timedelta(hours=hours_old),
    )


def test_stored_answers_are_kept_for_a_day() -> None:
    for number in range(5):
        stored(f"old-{number}", hours_old=25)
    stored("young", hours_old=23)

    tasks.expire_idempotency_keys(rows_per_slice=2)
    tasks.expire_idempotency_keys()

    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]


def test_tickets_are_kept_for_a_day_after_their_end() -> None:
    alice = factories.caller(factories.partner())
    factories.grant(alice.partner)
    for hours in (-25, -23, 1):
        factories.ticket(alice, expires_in=timedelta(hours=hours))

    tasks.expire_stream_tickets(rows_per_slice=1)

    assert StreamTicket.objects.count() == 2


def test_sessions_that_are_over_go() -> None:
    for name, hours in (("over", -1), ("open", 1)):
        Session.objects.create(session_key=name, expire_date=clock.now() + timedelta(hours=hours))

    tasks.expire_sessions()

    assert [session.pk for session in Session.objects.all()] == ["open"]


def test_a_job_that_runs_elsewhere_is_left_to_it() -> None:
    stored("old", hours_old=25)
    with factories.connect() as conn, conn.transaction():
        conn.execute(TRY_LOCK, ["subscriptions.idempotency_keys"])

        tasks.expire_idempotency_keys()

        assert IdempotencyKey.objects.count() == 1
