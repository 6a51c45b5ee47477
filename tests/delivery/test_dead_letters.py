"""Partners are told of dead letters: once, joined, and before they are purged."""

from datetime import timedelta

import jsonschema
import pytest

from delivery import dead_letters, tasks
from delivery.models import ParkedDelivery
from kafkahub import clock
from subscriptions import notices
from subscriptions.models import Notice, Subscription
from subscriptions.notice_types import Kind, schema
from tests import factories

pytestmark = pytest.mark.django_db
NOW = clock.now()


def dead(owner: Subscription, offset: int, reason: str = "exhausted", days: float = 30) -> str:
    expires_at = NOW + timedelta(days=days)
    made = factories.parked(owner, offset, state="dead", reason=reason, expires_at=expires_at)
    return made.pk


def told(kind: Kind) -> list[Notice]:
    return list(Notice.objects.filter(type=kind).order_by("id"))


def test_new_dead_letters_of_a_subscription_are_one_notice() -> None:
    owner = factories.subscription(factories.partner())
    ids = {dead(owner, 1), dead(owner, 2), dead(owner, 3, "too_large")}
    other = factories.subscription(owner.partner, owner.endpoint)
    dead(other, 1)

    tasks.announce_dead_letters()
    tasks.announce_dead_letters()

    by_subscription = {one.data["subscription"]: one for one in told(Kind.DEAD_LETTER)}
    assert by_subscription.keys() == {owner.pk, other.pk}
    mine = by_subscription[owner.pk]
    assert (mine.data["count"], mine.data["reasons"]) == (3, {"exhausted": 2, "too_large": 1})
    assert set(mine.data["ids"]) == ids
    jsonschema.validate(notices.data(mine), schema(Kind.DEAD_LETTER))


def test_a_letter_that_dies_again_after_a_redrive_is_news() -> None:
    owner = factories.subscription(factories.partner())
    dead(owner, 1)
    tasks.announce_dead_letters()
    ParkedDelivery.objects.update(announced_at=None)  # as BURY does

    tasks.announce_dead_letters()

    assert len(told(Kind.DEAD_LETTER)) == 2


def test_a_notice_that_died_is_no_news() -> None:
    owner = factories.subscription(factories.partner())
    factories.parked(owner, 1, state="dead", topic="", partition=-1)

    tasks.announce_dead_letters()

    assert not Notice.objects.exists()
    assert not ParkedDelivery.objects.filter(announced_at=None).exists()


def test_a_purge_is_told_three_days_before_once_a_day_of_purges() -> None:
    owner = factories.subscription(factories.partner())
    dead(owner, 1, days=2.9)
    dead(owner, 2, days=3.1)

    first = dead_letters.warn_of_purge(NOW)
    again = dead_letters.warn_of_purge(NOW + timedelta(minutes=1))
    later = dead_letters.warn_of_purge(NOW + timedelta(days=1))

    assert first == 1
    assert again == 0
    assert later <= 1  # both may be of one day
    assert told(Kind.DEAD_LETTERS_EXPIRING)[0].data["count"] == 1
    one = told(Kind.DEAD_LETTERS_EXPIRING)[0]
    jsonschema.validate(notices.data(one), schema(Kind.DEAD_LETTERS_EXPIRING))
