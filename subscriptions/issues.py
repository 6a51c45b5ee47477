"""What operators are told needs them, and how it comes, stays and goes (pure)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

REGRESSES_WITHIN = timedelta(days=14)
"""The same trouble within this time after its end is the same issue again."""
REOPENS_AFTER = timedelta(minutes=5)
"""What a person called resolved opens again when its cause is still there after so long."""
ACKNOWLEDGED_MOST = timedelta(days=7)


class Severity(StrEnum):
    """How soon a person is needed; the same words as the table's."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return {"critical": 2, "warning": 1, "info": 0}[self.value]


class Kind(StrEnum):
    """Each has its page in ``docs/runbook``."""

    ENDPOINT_FAILING = "endpoint_failing"
    ENDPOINT_DISABLED = "endpoint_disabled"
    LANE_BEHIND = "lane_behind"
    GAP = "gap"
    DEAD_LETTERS = "dead_letters"
    POISON_RECORDS = "poison_records"
    UNUSUAL_USE = "unusual_use"
    KAFKA_UNREACHABLE = "kafka_unreachable"
    PARTITIONS_DUE = "partitions_due"
    SECRET_EXPIRING = "secret_expiring"  # noqa: S105 - the name of a kind
    AUDIT_BROKEN = "audit_broken"


SEVERITIES = {
    Kind.ENDPOINT_FAILING: Severity.WARNING,
    Kind.ENDPOINT_DISABLED: Severity.WARNING,
    Kind.LANE_BEHIND: Severity.WARNING,
    Kind.GAP: Severity.CRITICAL,
    Kind.DEAD_LETTERS: Severity.WARNING,
    Kind.POISON_RECORDS: Severity.WARNING,
    Kind.UNUSUAL_USE: Severity.WARNING,
    Kind.KAFKA_UNREACHABLE: Severity.CRITICAL,
    Kind.PARTITIONS_DUE: Severity.CRITICAL,
    Kind.SECRET_EXPIRING: Severity.WARNING,
    Kind.AUDIT_BROKEN: Severity.CRITICAL,
}
BY_HAND = frozenset({Kind.GAP, Kind.AUDIT_BROKEN})
"""Kinds that end by a person only: their cause is a thing that happened, not one that lasts."""
ONCE = frozenset({Kind.GAP})
"""Kinds that never come back: each has a subject of its own."""
QUIET: dict[Kind, timedelta] = {Kind.UNUSUAL_USE: timedelta(hours=1)}
"""How long the cause has to be away before the issue resolves by itself; at once for the others."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that is there now.

    subject   what it is about: an id; with ``kind`` the fingerprint
    partner   whose it is, "" of the installation
    text      what is the matter, in one sentence
    evidence  figures behind it, as JSON
    """

    kind: Kind
    subject: str
    text: str
    partner: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        return SEVERITIES[self.kind]


@dataclass(frozen=True, slots=True)
class Standing:
    """An issue as its row says; times as the columns of the same names."""

    kind: Kind
    state: str
    severity: Severity
    seen_at: datetime
    acknowledged_until: datetime | None = None
    resolved_at: datetime | None = None
    by_hand: bool = False
    muted_until: datetime | None = None


class Step(StrEnum):
    """What happens to an issue."""

    OPEN = "open"
    SEE = "see"
    REOPEN = "reopen"
    REGRESS = "regress"
    RESOLVE = "resolve"


def on_finding(standing: Standing | None, severity: Severity, now: datetime) -> Step | None:
    """Return what a cause that is there does to the newest issue of its fingerprint.

    standing  None where there never was one
    """
    if standing is None:
        return Step.OPEN
    if standing.muted_until is not None and now < standing.muted_until:
        return None
    if standing.state != "resolved":
        until = standing.acknowledged_until
        is_woken = severity.rank > standing.severity.rank or (until is not None and now >= until)
        return Step.REOPEN if standing.state == "acknowledged" and is_woken else Step.SEE
    if standing.kind in ONCE:
        return None
    ended = standing.resolved_at or now
    if standing.by_hand and now - ended < REOPENS_AFTER:
        return None
    return Step.REGRESS if now - ended < REGRESSES_WITHIN else Step.OPEN


def on_absence(standing: Standing, now: datetime) -> Step | None:
    """Return what happens to a live issue whose cause is not there now."""
    if standing.kind in BY_HAND or now - standing.seen_at < QUIET.get(standing.kind, timedelta()):
        return None
    return Step.RESOLVE
