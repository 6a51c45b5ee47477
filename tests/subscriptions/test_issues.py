"""Issues come, stay, go and come back, on a moved clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core import mail

from kafkahub import clock, config
from kafkahub.errors import Conflict
from subscriptions import alerts
from subscriptions.actions import issues as verbs
from subscriptions.audit import Actor, ActorKind
from subscriptions.issues import Finding, Kind, Severity, Standing, Step, on_absence, on_finding
from subscriptions.models import AuditEvent, Issue

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbook"
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
OPERATOR = Actor(ActorKind.OPERATOR, "olga")
FOUND = Finding(Kind.ENDPOINT_FAILING, "ep_1", "ep_1 answers nothing.", "ptn_1")


def standing(state: str, **members: object) -> Standing:
    values = {"kind": Kind.LANE_BEHIND, "severity": Severity.WARNING, "seen_at": NOW, **members}
    return Standing(state=state, **values)  # type: ignore[arg-type]  # named by the test


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


@pytest.mark.parametrize(
    ("was", "step"),
    [
        (None, Step.OPEN),
        (standing("open"), Step.SEE),
        (standing("regressed"), Step.SEE),
        (standing("acknowledged", acknowledged_until=NOW + hours(1)), Step.SEE),
        (standing("acknowledged", acknowledged_until=NOW - hours(1)), Step.REOPEN),
        (
            standing("acknowledged", severity=Severity.INFO, acknowledged_until=NOW + hours(1)),
            Step.REOPEN,
        ),
        (standing("resolved", resolved_at=NOW - hours(1)), Step.REGRESS),
        (standing("resolved", resolved_at=NOW - hours(0.05), by_hand=True), None),
        (standing("resolved", resolved_at=NOW - hours(0.1), by_hand=True), Step.REGRESS),
        (standing("resolved", resolved_at=NOW - timedelta(days=15)), Step.OPEN),
        (standing("resolved", resolved_at=NOW, muted_until=NOW + hours(1)), None),
        (standing("resolved", kind=Kind.GAP, resolved_at=NOW - hours(9), by_hand=True), None),
    ],
)
def test_what_a_cause_does(was: Standing | None, step: Step | None) -> None:
    assert on_finding(was, Severity.WARNING, NOW) is step


def test_an_issue_ends_with_its_cause_unless_a_person_has_to_end_it() -> None:
    assert on_absence(standing("open"), NOW) is Step.RESOLVE
    assert on_absence(standing("open", kind=Kind.GAP), NOW + hours(99)) is None
    assert on_absence(standing("open", kind=Kind.UNUSUAL_USE), NOW + hours(0.9)) is None
    assert on_absence(standing("open", kind=Kind.UNUSUAL_USE), NOW + hours(1)) is Step.RESOLVE


@pytest.mark.django_db
def test_the_life_of_an_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = NOW
    monkeypatch.setattr(clock, "now", lambda: now)

    [issue] = verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND])
    assert verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND]) == []
    verbs.acknowledge(OPERATOR, issue, until=now + hours(2), note="calling them")
    now += hours(1)
    assert verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND]) == []
    now += hours(1)
    assert verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND]) == [issue]
    verbs.reconcile({Kind.ENDPOINT_FAILING}, [])
    now += hours(1)
    [again] = verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND])

    assert again.pk == issue.pk
    assert (again.state, again.times) == ("regressed", 2)
    states = [row.changes["state"][1] for row in AuditEvent.objects.order_by("id")]
    assert states == ["open", "acknowledged", "open", "resolved", "regressed"]
    assert Issue.objects.count() == 1


@pytest.mark.django_db
def test_what_is_resolved_cannot_be_acknowledged() -> None:
    [issue] = verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND])
    verbs.resolve(OPERATOR, issue, "mended")

    with pytest.raises(Conflict):
        verbs.acknowledge(OPERATOR, issue, until=clock.now(), note="")


@pytest.mark.django_db
def test_kinds_that_were_not_looked_for_stay() -> None:
    verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND])

    verbs.reconcile({Kind.DEAD_LETTERS}, [])

    assert Issue.objects.get().state == "open"


@pytest.mark.django_db
def test_operators_are_mailed_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKAHUB_MAIL_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("KAFKAHUB_OPERATORS_MAIL", "ops@hub.example")
    config.load.cache_clear()
    [issue] = verbs.reconcile({Kind.ENDPOINT_FAILING}, [FOUND])

    alerts.tell([issue])
    alerts.tell([])
    monkeypatch.undo()
    config.load.cache_clear()

    [sent] = mail.outbox
    assert sent.to == ["ops@hub.example"]
    assert "ep_1 answers nothing." in sent.subject
    assert f"/admin/subscriptions/issue/{issue.pk}/change/" in sent.body


HEADINGS = ["What it means", "Who is affected", "Check", "Do", "Undo", "If it comes back"]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_its_page_of_the_runbook(kind: Kind) -> None:
    lines = (RUNBOOK / f"{kind}.md").read_text(encoding="utf-8").splitlines()

    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS
