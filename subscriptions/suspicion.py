"""From what was counted to suspicions: reads the tables that the rules of ``anomaly`` look at."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from django.db.models import Max, QuerySet, Sum

from subscriptions import anomaly
from subscriptions.anomaly import Hour, Minute, Suspicion, Use
from subscriptions.audit import Verb
from subscriptions.issues import Finding, Kind
from subscriptions.models import (
    ApiKey,
    AuditEvent,
    ReplayProgress,
    Sighting,
    SightingHour,
    UsageHour,
)

RECENT = timedelta(minutes=10)
MINUTES_KEPT = timedelta(hours=2)
HOURS_KEPT = timedelta(days=28)
WIDENED_WITHIN = timedelta(hours=1)
DAYS_BEFORE = 7
WIDENING = frozenset({"row_filter", "key_rule", "fields", "masks", "headers", "filter", "types"})
"""Changed fields of a grant or subscription after which more may come out."""
WIDENERS = (Verb.GRANT_UPDATED, Verb.SUBSCRIPTION_UPDATED)
KEY_PREFIX = "key:"


def findings(now: datetime) -> list[Finding]:
    """Return what is unusual now, one finding for each rule and subject."""
    return [*_of_subjects(now), *_of_partners(now), *_of_replays(now)]


def _of_subjects(now: datetime) -> Iterator[Finding]:
    recent: dict[tuple[str, str], list[Minute]] = {}
    rows = Sighting.objects.filter(minute__gte=now - RECENT).order_by("minute")  # sighting_minute
    for row in rows:
        recent.setdefault((row.subject, row.partner), []).append(_minute(row))
    hours = _hours([subject for subject, _ in recent], now)
    partners = _partners_of([subject for subject, _ in recent])
    for (subject, partner), minutes in recent.items():
        use = Use(subject, minutes, hours.get(subject, ()))
        for found in anomaly.judge(use, now):
            yield _finding(found, subject, partner or partners.get(subject, ""))


def _of_partners(now: datetime) -> Iterator[Finding]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    for partner, taken in _taken(UsageHour.objects.filter(hour=hour)).items():
        records, size = taken
        before = [
            _taken(
                UsageHour.objects.filter(partner_id=partner, hour=hour - timedelta(days=days))
            ).get(partner, (0, 0))[1]
            for days in range(DAYS_BEFORE, 0, -1)
        ]
        if (found := anomaly.judge_volume(size, before, records)) is not None:
            yield _finding(found, partner, partner)
        if (found := anomaly.judge_widening(_widened(partner, now), records)) is not None:
            yield _finding(found, partner, partner)


def _of_replays(now: datetime) -> Iterator[Finding]:
    progress = ReplayProgress.objects.select_related("replay")
    for one in progress.filter(replay__started_at__gte=now - RECENT):
        partner = one.replay.partner_id
        before = progress.filter(
            replay__partner_id=partner, replay__started_at__gte=now - HOURS_KEPT
        ).exclude(pk=one.pk)
        most = before.aggregate(most=Max("count"))["most"] or 0
        asked = one.replay.source.get("kafka", {}) if isinstance(one.replay.source, dict) else {}
        is_whole = asked.get("from") == "earliest"
        if (found := anomaly.judge_replays(one.count, most, is_whole=is_whole)) is not None:
            yield _finding(found, one.replay.pk, partner)


def _taken(rows: QuerySet[UsageHour]) -> Mapping[str, tuple[int, int]]:
    """Return records and bytes out by partner."""
    sums = rows.order_by().values_list("partner_id").annotate(Sum("records_out"), Sum("bytes_out"))
    return {partner: (records, size) for partner, records, size in sums}


def _widened(partner: str, now: datetime) -> list[str]:
    """Return the grants and subscriptions that were changed to let more out within the hour."""
    rows = AuditEvent.objects.filter(
        partner=partner, verb__in=WIDENERS, at__gte=now - WIDENED_WITHIN
    )
    return sorted({row.object_id for row in rows if not WIDENING.isdisjoint(row.changes)})


def _hours(subjects: Iterable[str], now: datetime) -> dict[str, list[Hour]]:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    rows = SightingHour.objects.filter(
        subject__in=list(subjects), hour__gte=now - HOURS_KEPT, hour__lt=this_hour
    ).order_by("hour")  # by sighting_once_an_hour
    found: dict[str, list[Hour]] = {}
    for row in rows:
        hour = Hour(row.hour, frozenset(row.networks), frozenset(row.agents))
        found.setdefault(row.subject, []).append(hour)
    return found


def _partners_of(subjects: Iterable[str]) -> dict[str, str]:
    """Return whose the keys are that refused credentials named."""
    named = [text.removeprefix(KEY_PREFIX) for text in subjects if text.startswith(KEY_PREFIX)]
    rows = ApiKey.objects.filter(public_id__in=named).values_list("public_id", "partner_id")
    return {f"{KEY_PREFIX}{public_id}": partner for public_id, partner in rows}


def _minute(row: Sighting) -> Minute:
    return Minute(
        at=row.minute,
        requests=row.requests,
        errors=row.errors,
        failures=row.failures,
        streams=row.streams,
        short_streams=row.short_streams,
        missing=frozenset(row.missing),
        networks=frozenset(row.networks),
        agents=frozenset(row.agents),
    )


def _finding(found: Suspicion, subject: str, partner: str) -> Finding:
    evidence = {"rule": found.rule.value, "subject": subject, **found.evidence}
    return Finding(
        Kind.UNUSUAL_USE, f"{found.rule}:{subject}", f"{subject}: {found.text}", partner, evidence
    )
