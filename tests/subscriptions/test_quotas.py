"""What a grant lets use in a period: judged, told, and stopped where it is hard."""

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine

from kafkahub.errors import Invalid, QuotaExceeded
from subscriptions import quotas, usage
from subscriptions.access import refuse_spent
from subscriptions.grant_rows import live_grant
from subscriptions.models import AuditEvent, Grant, Notice
from subscriptions.quotas import Quota
from subscriptions.rows import live_topic
from subscriptions.snapshot import load
from tests import factories
from tests.api import Caller

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FAR = datetime(2126, 1, 1, tzinfo=UTC)
HARD = {"period": "day", "records": 100, "hard": True}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"period": "week", "records": 1},
        {"period": "day"},
        {"period": "day", "records": 0},
        {"period": "day", "records": True},
        {"period": "day", "records": 1.5},
        {"period": "day", "records": 10**16},
        {"period": "day", "records": 1, "hard": "yes"},
        {"period": "day", "records": 1, "more": 1},
        [],
        "day",
    ],
)
def test_what_is_no_quota_is_refused(value: object) -> None:
    with pytest.raises(Invalid):
        quotas.read(value)


def test_a_quota_is_used_by_the_nearer_bound() -> None:
    assert quotas.read(None) is None
    assert quotas.read({"period": "month", "bytes": 5}) == Quota("month", None, 5, False)
    assert Quota("day", 100, 1_000, False).share(50, 900) == 0.9


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [("day", (2026, 11, 23), (2026, 11, 24)), ("month", (2026, 11, 1), (2026, 12, 1))],
)
def test_periods_begin_at_midnight_of_utc(
    period: str, begin: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    assert quotas.begin_of(period, NOON) == datetime(*begin, tzinfo=UTC)
    assert quotas.end_of(period, NOON) == datetime(*end, tzinfo=UTC)


def used(caller: Caller, **members: int) -> None:
    usage.process_usage().note(caller.partner.id, "rest", usage.Used(**members), "orders")
    usage.process_usage().flush()


def limited(caller: Caller, quota: dict[str, Any] | None, action: str = "read") -> Grant:
    grant, _ = Grant.objects.update_or_create(
        partner=caller.partner,
        topic=factories.topic("orders"),
        action=action,
        defaults={"quota": quota},
    )
    return grant


@pytest.mark.django_db
def test_a_hard_quota_stops_until_the_period_ends_and_tells_once(alice: Caller) -> None:
    grant = limited(alice, HARD)
    with time_machine.travel(NOON, tick=False):
        used(alice, records_out=99, records_in=500)
        assert quotas.judge() == 0
        used(alice, records_out=1)

        assert quotas.judge() == 1
        assert quotas.judge() == 0

    grant.refresh_from_db()
    assert grant.spent_until == datetime(2026, 11, 24, tzinfo=UTC)
    assert grant.version == 1
    told = Notice.objects.order_by("id").values_list("data__used_percent", flat=True)
    assert sorted(told) == [99, 100]
    assert AuditEvent.objects.filter(verb="grant.spent").count() == 1


@pytest.mark.django_db
def test_a_quota_that_is_not_hard_is_told_of_only(alice: Caller) -> None:
    grant = limited(alice, {"period": "month", "bytes": 10})
    with time_machine.travel(NOON, tick=False):
        used(alice, bytes_out=50)
        quotas.judge()

    grant.refresh_from_db()
    assert grant.spent_until is None
    assert [one.data["used_percent"] for one in Notice.objects.all()] == [500]


@pytest.mark.django_db
def test_writing_has_a_quota_of_its_own(alice: Caller) -> None:
    read, write = limited(alice, HARD), limited(alice, HARD, "write")
    with time_machine.travel(NOON, tick=False):
        used(alice, records_in=100)
        quotas.judge()

    assert Grant.objects.get(pk=read.pk).spent_until is None
    assert Grant.objects.get(pk=write.pk).spent_until is not None


@pytest.mark.django_db
@pytest.mark.parametrize("quota", [None, {**HARD, "records": 1_000}, {"period": "x"}])
def test_a_quota_that_is_raised_taken_away_or_broken_holds_nothing_up(
    alice: Caller, quota: dict[str, Any] | None
) -> None:
    grant = limited(alice, HARD)
    with time_machine.travel(NOON, tick=False):
        used(alice, records_out=100)
        quotas.judge()
        limited(alice, quota)

        assert quotas.judge() == 1

    grant.refresh_from_db()
    assert grant.spent_until is None


@pytest.mark.django_db
def test_a_spent_grant_is_refused_with_the_time_and_webhooks_wait(alice: Caller) -> None:
    row = factories.subscription(alice.partner)
    grant = limited(alice, HARD)
    Grant.objects.filter(pk=grant.pk).update(spent_until=FAR)
    grant.refresh_from_db()
    live = live_grant(grant, live_topic(grant.topic))
    assert live is not None

    with pytest.raises(QuotaExceeded) as caught:
        refuse_spent(live, int(NOON.timestamp() * 1_000))

    assert caught.value.retry_after_s == (FAR - NOON).total_seconds()
    assert not load().subscriptions[row.pk].sending
    Grant.objects.filter(pk=grant.pk).update(spent_until=NOON)
    with time_machine.travel(datetime(2026, 11, 24, tzinfo=UTC)):
        assert load().subscriptions[row.pk].sending
