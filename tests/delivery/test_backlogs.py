"""Suspended, resumed, behind, caught up, little headroom: each told once an episode."""

from collections.abc import Mapping
from datetime import timedelta

import jsonschema
import pytest

from delivery import backlogs
from kafkahub import clock
from kafkahub.kafka.faults import KafkaUnavailable
from subscriptions import notices
from subscriptions.models import Endpoint, Episode, Grant, LanePosition, Notice, Subscription
from subscriptions.notice_types import Kind, schema
from tests import factories

pytestmark = pytest.mark.django_db
NOW = clock.now()
DAY_MS = 86_400_000


class Log:
    """A topic with one record a minute, the last of them at offset 9,999 and now."""

    end = 10_000

    def __init__(self, kept_days: float = 7) -> None:
        self.kept_days = kept_days

    def watermarks(self, _: str) -> Mapping[int, tuple[int, int]]:
        return {0: (0, self.end)}

    def offsets_at(self, _: str, unix_ms: int) -> Mapping[int, int]:
        minutes = (NOW.timestamp() * 1000 - unix_ms) / 60_000
        return {0: max(0, min(self.end, int(self.end - minutes)))}

    def configs(self, _: str) -> Mapping[str, str]:
        return {"retention.ms": str(int(self.kept_days * DAY_MS))}


class AwayLog(Log):
    """Kafka does not answer."""

    def configs(self, _: str) -> Mapping[str, str]:
        raise KafkaUnavailable("away")


@pytest.fixture
def owner() -> Subscription:
    partner = factories.partner()
    factories.grant(partner)
    return factories.subscription(partner)


def lane(owner: Subscription, next_offset: int, reason: str = "endpoint_down") -> None:
    LanePosition.objects.create(
        subscription=owner,
        topic="orders",
        partition=0,
        state="behind",
        reason=reason,
        next_offset=next_offset,
    )


def told() -> list[str]:
    found = Notice.objects.order_by("id")
    for one in found:
        jsonschema.validate(notices.data(one), schema(Kind(one.type)))
    return [one.type.removeprefix("kafkahub.subscription.") for one in found]


def test_behind_is_told_once_and_then_that_it_caught_up(owner: Subscription) -> None:
    lane(owner, 10_000 - 12)

    backlogs.watch_lags(Log(), NOW)
    backlogs.watch_lags(Log(), NOW)
    LanePosition.objects.update(state="live")
    backlogs.watch_lags(Log(), NOW)
    backlogs.watch_lags(Log(), NOW)

    assert told() == ["behind", "caught_up"]
    first = Notice.objects.order_by("id")[0].data
    assert (first["reason"], first["lag_records"]) == ("endpoint_down", 12)


@pytest.mark.parametrize(
    ("offset", "reason"), [(10_000 - 9, "endpoint_down"), (10_000 - 100, "start")]
)
def test_young_records_and_those_somebody_asked_for_are_no_news(
    owner: Subscription, offset: int, reason: str
) -> None:
    lane(owner, offset, reason)

    backlogs.watch_lags(Log(), NOW)

    assert told() == []


def test_what_the_partner_paused_is_its_own_doing(owner: Subscription) -> None:
    lane(owner, 0)
    Subscription.objects.update(status="paused")

    backlogs.watch_lags(Log(), NOW)

    assert told() == []


def test_less_than_a_day_of_headroom_is_told_with_its_step(owner: Subscription) -> None:
    lane(owner, 10_000 - 5 * 24 * 60)  # the oldest record owed is five days old

    backlogs.watch_lags(Log(kept_days=7), NOW)
    plenty = told()
    backlogs.watch_lags(Log(kept_days=5.2), NOW)

    assert plenty == ["behind"]
    assert told() == ["behind", "headroom_low"]
    last = Notice.objects.order_by("-id")[0].data
    assert last["headroom_s"] == 6 * 3_600
    assert last["loses_at"] == clock.rfc3339(NOW + timedelta(hours=6))


def test_while_kafka_is_away_nothing_begins_and_nothing_ends(owner: Subscription) -> None:
    lane(owner, 0)
    backlogs.watch_lags(AwayLog(), NOW)
    assert told() == []
    backlogs.watch_lags(Log(), NOW)
    before = told()

    backlogs.watch_lags(AwayLog(), NOW)

    assert told() == before


def test_a_subscription_that_is_gone_leaves_no_episode(owner: Subscription) -> None:
    lane(owner, 0)
    backlogs.watch_lags(Log(), NOW)
    before = told()
    owner.delete()

    backlogs.watch_lags(Log(), NOW)

    assert told() == before
    assert not Episode.objects.exists()


def test_a_suspension_is_told_with_its_reason_and_then_its_end(owner: Subscription) -> None:
    Grant.objects.update(valid_until=NOW - timedelta(days=1))
    backlogs.watch_suspensions(NOW)
    backlogs.watch_suspensions(NOW)
    Grant.objects.update(valid_until=None)
    backlogs.watch_suspensions(NOW)
    backlogs.watch_suspensions(NOW)

    assert told() == ["suspended", "resumed"]
    assert {one.data["reason"] for one in Notice.objects.all()} == {"grant_ended"}


@pytest.mark.parametrize(("status", "expected"), [("disabled", ["suspended"]), ("unverified", [])])
def test_a_disabled_endpoint_suspends_and_an_unverified_one_does_not(
    owner: Subscription, status: str, expected: list[str]
) -> None:
    Endpoint.objects.update(status=status)

    backlogs.watch_suspensions(NOW)

    assert told() == expected
