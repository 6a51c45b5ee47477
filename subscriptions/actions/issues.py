"""Everything that is done to issues: by what is found, and by operators."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

import structlog
from django.db import connection, transaction

from kafkahub import clock
from kafkahub.errors import Conflict
from kafkahub.observability import metrics
from subscriptions import audit
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.issues import (
    ACKNOWLEDGED_MOST,
    Finding,
    Kind,
    Severity,
    Standing,
    Step,
    on_absence,
    on_finding,
)
from subscriptions.models import Issue

WATCH = Actor(ActorKind.SYSTEM, "attention")
LIVE = (Issue.State.OPEN, Issue.State.ACKNOWLEDGED, Issue.State.REGRESSED)
MUTED_FOR = timedelta(days=30)
MAX_TEXT = 1_000
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 7100003))"

log = structlog.get_logger()
opened = metrics.counter(
    "issues_opened_total", "Issues that opened or came back, by kind.", ["kind"]
)


def reconcile(kinds: Collection[Kind], findings: Iterable[Finding]) -> list[Issue]:
    """Let the issues of these kinds follow what was found now, each in a transaction of its own.

    kinds     all that the caller looked for: what is not found any more resolves
    findings  at most one a fingerprint

    Returns the issues that are news: they opened, came back, or got worse.
    """
    wanted = {(finding.kind, finding.subject): finding for finding in findings}
    news = [row for finding in wanted.values() if (row := report(finding)) is not None]
    for row in Issue.objects.filter(kind__in=kinds, state__in=LIVE):  # by issue_live
        if (Kind(row.kind), row.subject) not in wanted:
            _absent(row)
    return news


def report(finding: Finding) -> Issue | None:
    """Tell of one cause; returns its issue where that is news."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Two that find the same at once: the second sees the first one's row.
        cursor.execute(LOCK, [f"{finding.kind} {finding.subject}"])
        return _found(finding, clock.now())


def acknowledge(actor: Actor, issue: Issue, *, until: datetime, note: str) -> Issue:
    """Keep an issue quiet until a time, seven days ahead at most, unless it gets worse."""
    with transaction.atomic():
        row = _live(issue)
        latest = clock.now() + ACKNOWLEDGED_MOST
        return _move(
            row,
            actor,
            Issue.State.ACKNOWLEDGED,
            acknowledged_until=min(until, latest),
            note=note,
        )


def resolve(actor: Actor, issue: Issue, reason: str) -> Issue:
    """Call an issue resolved; it opens again when its cause is still there after five minutes."""
    with transaction.atomic():
        return _move(
            _live(issue), actor, Issue.State.RESOLVED, resolved_at=clock.now(), note=reason
        )


def expect(actor: Actor, issue: Issue, reason: str) -> Issue:
    """Call unusual use expected: the same rule says nothing of the same key for 30 days."""
    with transaction.atomic():
        now = clock.now()
        return _move(
            _live(issue),
            actor,
            Issue.State.RESOLVED,
            resolved_at=now,
            muted_until=now + MUTED_FOR,
            note=reason,
        )


def _live(issue: Issue) -> Issue:
    row = Issue.objects.select_for_update().get(pk=issue.pk)
    if row.state == Issue.State.RESOLVED:
        raise Conflict("The issue is resolved already.")
    return row


def _absent(issue: Issue) -> None:
    with transaction.atomic():
        row = Issue.objects.select_for_update().get(pk=issue.pk)
        now = clock.now()
        if row.state in LIVE and on_absence(_standing(row), now):
            _move(row, WATCH, Issue.State.RESOLVED, resolved_at=now)


def _found(finding: Finding, now: datetime) -> Issue | None:
    newest = (
        Issue.objects.select_for_update()
        .filter(kind=finding.kind, subject=finding.subject)
        .order_by("-id")  # by issue_fingerprint
        .first()
    )
    step = on_finding(_standing(newest) if newest else None, finding.severity, now)
    if step is None:
        return None
    row = _opened(finding) if newest is None or step is Step.OPEN else newest
    row.text, row.evidence = finding.text[:MAX_TEXT], finding.evidence
    row.severity, row.seen_at = finding.severity.value, now
    if step is Step.SEE:
        row.save(update_fields=["text", "evidence", "severity", "seen_at"])
        return None
    is_back = step is Step.REGRESS
    row.times += is_back
    row.resolved_at = row.acknowledged_until = None
    _move(row, WATCH, Issue.State.REGRESSED if is_back else Issue.State.OPEN)
    return row


def _opened(finding: Finding) -> Issue:
    return Issue(kind=finding.kind, subject=finding.subject, partner=finding.partner)


def _move(row: Issue, actor: Actor, state: Issue.State, **values: object) -> Issue:
    """Save a step with its audit row, and tell of it in log and metric."""
    before = Issue.objects.filter(pk=row.pk).values_list("state", flat=True).first()
    row.state, row.by = state, "" if actor is WATCH else actor.id
    for name, value in values.items():
        setattr(row, name, value)
    row.save()
    shown = {"state": (before, state.value), "text": (None, row.text)}
    subject = audit.Subject("issue", row.pk, row.partner)
    audit.append(actor, Verb.ISSUE_MOVED, subject, shown, row.note if values.get("note") else "")
    if state in {Issue.State.OPEN, Issue.State.REGRESSED}:
        opened.labels(row.kind).inc()
    log.warning("issue.moved", issue=row.pk, kind=row.kind, state=state.value, about=row.subject)
    return row


def _standing(row: Issue) -> Standing:
    return Standing(
        kind=Kind(row.kind),
        state=row.state,
        severity=Severity(row.severity),
        seen_at=row.seen_at,
        acknowledged_until=row.acknowledged_until,
        resolved_at=row.resolved_at,
        by_hand=bool(row.by),
        muted_until=row.muted_until,
    )
