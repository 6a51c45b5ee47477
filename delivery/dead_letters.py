"""Telling partners of dead letters: that there are new ones, and that some are purged soon."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction

from delivery.models import ParkedDelivery
from subscriptions import notices
from subscriptions.live import NOTICES
from subscriptions.notice_types import Kind

MAX_IDS = 100
NOTICE_BEFORE = timedelta(days=3)

# A notice that died is told to nobody: the next one about it would die as well.
FRESH = """
WITH fresh AS (
    UPDATE parked_delivery SET announced_at = now() WHERE id IN (
        SELECT id FROM parked_delivery
         WHERE state = 'dead' AND announced_at IS NULL
         ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING id, subscription_id, topic, reason, first_failed_at
)
SELECT s.partner_id, f.subscription_id, f.id, f.reason, f.first_failed_at
  FROM fresh f JOIN subscriptions_subscription s ON s.id = f.subscription_id
 WHERE f.topic <> %(notices)s
 ORDER BY f.first_failed_at, f.id
"""  # parked_unannounced


class Letter(NamedTuple):
    """One dead letter."""

    partner: str
    subscription: str
    id: str
    reason: str
    first_failed_at: datetime


def announce(limit: int) -> int:
    """Tell of dead letters nobody was told of, joined by subscription; return how many rows.

    Inside the caller's transaction, which marks the rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(FRESH, {"limit": limit, "notices": NOTICES})
        letters = [Letter._make(row) for row in cursor.fetchall()]
    for (partner, _), of_one in _by_subscription(letters).items():
        notices.write(Kind.DEAD_LETTER, partner, _members(of_one))
    return len(letters)


def warn_of_purge(now: datetime) -> int:
    """Tell of dead letters that are purged within 3 days, once a subscription and day."""
    told = 0
    soon = ParkedDelivery.objects.filter(
        state=ParkedDelivery.State.DEAD, expires_at__gt=now, expires_at__lte=now + NOTICE_BEFORE
    ).exclude(topic=NOTICES)  # by parked_expiring
    days = soon.values_list("subscription_id", "subscription__partner_id", "expires_at__date")
    for subscription, partner, day in days.distinct().order_by("expires_at__date"):
        of_day = soon.filter(subscription_id=subscription, expires_at__date=day)
        rows = of_day.order_by("first_failed_at", "id").values_list(
            "subscription__partner_id", "subscription_id", "id", "reason", "first_failed_at"
        )
        first = of_day.order_by("expires_at").values_list("expires_at", flat=True)[0]
        members = _members([Letter(*row) for row in rows]) | {"purge_at": first}
        with transaction.atomic():
            made = notices.write(
                Kind.DEAD_LETTERS_EXPIRING, partner, members, episode=f"{subscription} {day}"
            )
        told += made is not None
    return told


def _by_subscription(letters: Iterable[Letter]) -> dict[tuple[str, str], list[Letter]]:
    found: dict[tuple[str, str], list[Letter]] = defaultdict(list)
    for one in letters:
        found[one.partner, one.subscription].append(one)
    return found


def _members(letters: list[Letter]) -> dict[str, object]:
    return {
        "subscription": letters[0].subscription,
        "count": len(letters),
        "reasons": dict(Counter(one.reason for one in letters)),
        "oldest_at": letters[0].first_failed_at,
        "ids": [one.id for one in letters[:MAX_IDS]],
    }
