"""Jobs' work on what operators should look at: finds, reconciles, tells, slows."""

from collections.abc import Callable
from datetime import timedelta
from typing import cast

import structlog

from kafkahub import clock, config
from kafkahub.errors import Conflict
from kafkahub.observability import metrics
from subscriptions import alerts, attention, chain, suspicion
from subscriptions.actions import issues as verbs
from subscriptions.actions.keys import end_slowdowns, slow_key
from subscriptions.issues import Finding, Kind
from subscriptions.models import ApiKey, Issue, Sighting, SightingHour

SLOWED_FOR = timedelta(minutes=15)

anomalies = metrics.counter("anomalies_total", "Findings of unusual use, by rule.", ["rule"])
log = structlog.get_logger()


def watch_use() -> None:
    """Judge what credentials do now, tell operators of news, and slow keys where that is set."""
    now = clock.now()
    end_slowdowns(verbs.WATCH)
    news = verbs.reconcile({Kind.UNUSUAL_USE}, suspicion.findings(now))
    for issue in news:
        anomalies.labels(issue.evidence["rule"]).inc()
        log.warning("anomaly.found", issue=issue.pk, rule=issue.evidence["rule"])
        _slow(issue)
    alerts.tell(news)


def watch_state(ask_kafka: Callable[[], object]) -> None:
    """Let issues follow what is the matter now, and tell operators of news."""
    alerts.tell(verbs.reconcile(attention.KINDS, attention.findings(clock.now(), ask_kafka)))


def verify_audit() -> None:
    """Check the whole audit log; a break is a critical issue until a person ends it."""
    verdict = chain.verify()
    if verdict.finding is None:
        log.info("audit.verified", rows=verdict.rows)
        return
    bad = verdict.finding
    text = f"Audit row {bad.id}: {bad.fault}: {bad.text}."
    log.error("audit.broken", row=bad.id, fault=bad.fault.value)
    issue = verbs.report(Finding(Kind.AUDIT_BROKEN, "audit", text))
    alerts.tell([] if issue is None else [issue])


def expire(rows: int) -> int:
    """Delete what was counted longer ago than rules look back; return how many rows went."""
    now = clock.now()
    old = Sighting.objects.filter(minute__lt=now - suspicion.MINUTES_KEPT)  # by sighting_minute
    hours = SightingHour.objects.filter(hour__lt=now - suspicion.HOURS_KEPT)  # by sighting_hour
    minutes_gone, _ = Sighting.objects.filter(pk__in=old.values("pk")[:rows]).delete()
    hours_gone, _ = SightingHour.objects.filter(pk__in=hours.values("pk")[:rows]).delete()
    return max(minutes_gone, hours_gone)


def _slow(issue: Issue) -> None:
    rule, subject = issue.evidence["rule"], cast("str", issue.evidence["subject"])
    if rule not in config.load().anomaly_throttle or not subject.startswith("key_"):
        return
    key = ApiKey.objects.filter(pk=subject).first()
    if key is None:
        return
    try:
        slow_key(verbs.WATCH, key, clock.now() + SLOWED_FOR, f"unusual use: {rule}")
    except Conflict as error:  # it ended meanwhile
        log.info("anomaly.not_slowed", key=subject, reason=error.detail)
