"""Quotas of grants: what may be used in a day or a month, judged once a minute.

What is used is counted by the hour (``usage``), so a quota may be exceeded by what a minute brings.
A hard one that is used up stops every door, and webhooks wait in Kafka, until the period ends.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Sum

from kafkahub import clock
from kafkahub.errors import Fault, Invalid
from subscriptions import audit, notices
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.models import Grant, UsageHour
from subscriptions.notice_types import Kind

DAY, MONTH = "day", "month"
MOST: Final = 10**15
TOLD_AT: Final = (1.0, 0.8)
"""Shares of a quota at which its partner is told, each once a period."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be used in a period; None for no bound.

    is_hard  nothing more is let through once it is used up
    """

    period: str
    records: int | None
    size: int | None
    is_hard: bool

    def share(self, records: int, size: int) -> float:
        """Return which part of it is used, by whichever bound is nearer."""
        used = [(records, self.records), (size, self.size)]
        return max(have / bound for have, bound in used if bound)


def read(value: object) -> Quota | None:
    """Return the quota in a grant's column. Raises Invalid."""
    match value:
        case None:
            return None
        case {"period": "day" | "month" as period, **rest} if rest.keys() <= KNOWN:
            bounds = {name: _bound(rest[name]) for name in BOUNDS if rest.get(name) is not None}
            is_hard = rest.get("hard", False)
            if bounds and None not in bounds.values() and isinstance(is_hard, bool):
                return Quota(period, bounds.get("records"), bounds.get("bytes"), is_hard)
    text = 'A "period" of day or month is needed, "records" or "bytes" above 0, and "hard" or not.'
    raise Invalid([Fault("/quota", "wrong_operand", text)])


BOUNDS: Final = ("records", "bytes")
KNOWN: Final = frozenset({*BOUNDS, "hard"})


def _bound(value: object) -> int | None:
    """Return a bound, or None for what is none."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if isinstance(value, int) and is_whole and 1 <= value <= MOST else None


def begin_of(period: str, now: datetime) -> datetime:
    """Return when the period of now began, in UTC."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if period == DAY else midnight.replace(day=1)


def end_of(period: str, now: datetime) -> datetime:
    """Return when the period of now ends."""
    begin = begin_of(period, now)
    if period == DAY:
        return begin + timedelta(days=1)
    return (begin + timedelta(days=32)).replace(day=1)


def judge() -> int:
    """Look at every quota; return how many grants were stopped or let go."""
    changed = 0
    now = clock.now()
    for grant in Grant.objects.alive().filter(quota__isnull=False):
        try:
            quota = read(grant.quota)
        except Invalid:
            quota = None  # written past the forms: it holds nothing up
        share = 0.0 if quota is None else quota.share(*_used(grant, quota, now))
        is_spent = quota is not None and quota.is_hard and share >= 1
        until = end_of(quota.period, now) if quota is not None and is_spent else None
        with transaction.atomic():
            changed += _set(grant, until)
            if quota is not None:
                _tell(grant, quota, share, now)
    # A quota that was taken away holds nothing up.
    return changed + Grant.objects.filter(quota__isnull=True, spent_until__isnull=False).update(
        spent_until=None
    )


def _used(grant: Grant, quota: Quota, now: datetime) -> tuple[int, int]:
    way = "out" if grant.action == Grant.Action.READ else "in"
    rows = UsageHour.objects.filter(
        partner_id=grant.partner_id, topic=grant.topic_id, hour__gte=begin_of(quota.period, now)
    )
    sums = rows.aggregate(records=Sum(f"records_{way}"), size=Sum(f"bytes_{way}"))
    return sums["records"] or 0, sums["size"] or 0


def _set(grant: Grant, until: datetime | None) -> bool:
    """Stop a grant until then, or let it go; return whether that changed anything.

    Without a new version: what it shows is the same, so nothing is projected anew.
    """
    if grant.spent_until == until:
        return False
    Grant.objects.filter(pk=grant.pk).update(spent_until=until)
    actor = Actor(ActorKind.SYSTEM, "subscriptions.judge_quotas")
    audit.append(actor, Verb.GRANT_SPENT, grant, {"spent_until": (grant.spent_until, until)})
    return True


def _tell(grant: Grant, quota: Quota, share: float, now: datetime) -> None:
    for level in TOLD_AT:
        if share >= level:
            begin = begin_of(quota.period, now)
            members = {
                "topic": grant.topic_id,
                "action": str(grant.action),
                "used_percent": int(share * 100),
                "is_hard": quota.is_hard,
                "resets_at": end_of(quota.period, now),
            }
            episode = f"quota:{grant.pk}:{begin.date()}:{quota.period}:{level}"
            notices.write(Kind.QUOTA, grant.partner_id, members, episode=episode)
            return
