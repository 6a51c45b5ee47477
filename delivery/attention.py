"""What needs an operator now, as the tables of deliveries tell it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection

from delivery import partitions
from delivery.models import DeliveryGap
from subscriptions.issues import Finding, Kind

POISON_WITHIN = timedelta(minutes=10)
POISON = ("undecodable",)
GAPS_WITHIN = timedelta(days=1)
BY_A_PERSON = "skipped"
KINDS = frozenset({Kind.DEAD_LETTERS, Kind.POISON_RECORDS, Kind.PARTITIONS_DUE, Kind.GAP})
"""All that ``findings`` looks for."""

DEAD = """
SELECT p.subscription_id, s.partner_id, count(*),
       count(*) FILTER (WHERE p.reason = ANY(%(poison)s) AND p.first_failed_at >= %(since)s)
  FROM parked_delivery p JOIN subscriptions_subscription s ON s.id = p.subscription_id
 WHERE p.state = 'dead'
 GROUP BY p.subscription_id, s.partner_id
"""  # the dead are few: their days are counted, and somebody is told of each


def findings(now: datetime) -> list[Finding]:
    """Return what is the matter now."""
    return [*_dead_letters(now), *_partitions(now), *_gaps(now)]


def _dead_letters(now: datetime) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(DEAD, {"poison": list(POISON), "since": now - POISON_WITHIN})
        rows = cursor.fetchall()
    for subscription, partner, dead, poison in rows:
        text = f"{dead} dead letters of {subscription} wait for a person."
        yield Finding(Kind.DEAD_LETTERS, subscription, text, partner, {"count": dead})
        if poison:
            text = f"{poison} records for {subscription} could not be decoded in ten minutes."
            yield Finding(Kind.POISON_RECORDS, subscription, text, partner, {"count": poison})


def _partitions(now: datetime) -> Iterator[Finding]:
    tomorrow = now.date() + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NULL", [partitions.name_of(tomorrow)])
        [is_missing] = cursor.fetchone()
    if is_missing:
        text = f"The attempt log has no partition for {tomorrow}: is the control worker running?"
        yield Finding(Kind.PARTITIONS_DUE, "delivery_attempt", text)


def _gaps(now: datetime) -> Iterator[Finding]:
    rows = DeliveryGap.objects.filter(found_at__gte=now - GAPS_WITHIN)
    for row in rows.exclude(reason=BY_A_PERSON).select_related("subscription"):
        text = f"{row.subscription_id} lost records of {row.topic}[{row.partition}]: {row.reason}."
        evidence = {"from": row.from_offset, "to": row.to_offset, "lost": row.lost}
        yield Finding(Kind.GAP, str(row.pk), text, row.subscription.partner_id, evidence)
