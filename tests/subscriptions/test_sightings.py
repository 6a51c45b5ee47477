"""What credentials do is counted in memory, added up in PostgreSQL, and told to operators."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection

from kafkahub import clock, config
from subscriptions import audit, tasks, watching
from subscriptions.actions.issues import WATCH
from subscriptions.actions.keys import end_slowdowns
from subscriptions.audit import Subject, Verb
from subscriptions.authentication import api_key
from subscriptions.models import Issue, Replay, ReplayProgress, Sighting, SightingHour
from subscriptions.sightings import MAX_NAMES, Answered, Sightings
from tests import factories

pytestmark = pytest.mark.django_db

WHO = SimpleNamespace(id="key_1", partner="ptn_1")


def answered(status: int = 200, path: str = "/a", **members: object) -> Answered:
    values = {"address": "198.51.100.7", "agent": "curl/8.5", "lasted_s": 0.1, **members}
    return Answered(status, path, **values)  # type: ignore[arg-type]  # named by the test


def test_counts_of_many_processes_add_up_in_one_row() -> None:
    for address in ("198.51.100.7", "203.0.113.9"):
        counting = Sightings()
        counting.answered(WHO, answered(404, f"/{address}", address=address))
        counting.answered(WHO, answered(lasted_s=3.0, is_stream=True))
        counting.flush()

    row, hour = Sighting.objects.get(), SightingHour.objects.get()
    assert (row.requests, row.errors, row.streams, row.short_streams) == (4, 2, 2, 2)
    assert sorted(row.networks) == ["198.51.0.0/16", "203.0.0.0/16"]
    assert len(row.missing) == 2
    assert row.agents == ["curl"]
    assert (hour.requests, sorted(hour.networks)) == (4, sorted(row.networks))


def test_a_flood_of_names_takes_no_more_room() -> None:
    counting = Sightings()
    for number in range(1_000):
        counting.answered(WHO, answered(404, f"/{number}"))

    counting.flush()

    assert len(Sighting.objects.get().missing) == MAX_NAMES


def test_guessing_ids_is_told_to_operators_once() -> None:
    counting = Sightings()
    for number in range(25):
        counting.answered(WHO, answered(404, f"/api/v1/endpoints/ep_{number}"))
    counting.flush()

    tasks.watch_use()
    tasks.watch_use()

    issue = Issue.objects.get()
    assert (issue.kind, issue.partner) == ("unusual_use", "ptn_1")
    assert issue.evidence == {"rule": "enumeration", "subject": "key_1", "missing": 25}


def test_refused_credentials_are_told_of_with_the_key_they_named() -> None:
    owner = factories.partner()
    key, _ = factories.api_key(owner)
    counting = Sightings()
    for _ in range(10):
        counting.failed([f"key:{key.public_id}", "net:4:c63364"])
    counting.flush()

    tasks.watch_use()

    assert {(row.partner, row.evidence["rule"]) for row in Issue.objects.all()} == {
        (owner.id, "auth_failures"),
        ("", "auth_failures"),
    }


def test_a_rule_may_slow_a_key_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKAHUB_ANOMALY_THROTTLE", "error_burst")
    config.load.cache_clear()
    owner = factories.partner()
    key, _ = factories.api_key(owner)
    usual = api_key.known(key).principal.limits.rates["key"]["requests"].per_s
    counting = Sightings()
    for _ in range(200):
        counting.answered(SimpleNamespace(id=key.id, partner=owner.id), answered(400))
    counting.flush()

    tasks.watch_use()
    monkeypatch.undo()
    config.load.cache_clear()

    key.refresh_from_db()
    slowed = api_key.known(key).principal.limits.rates["key"]["requests"].per_s
    assert slowed == pytest.approx(usual / 10)
    later = clock.now() + watching.SLOWED_FOR + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert end_slowdowns(WATCH) == 1
    key.refresh_from_db()
    assert api_key.known(key).principal.limits.rates["key"]["requests"].per_s == usual


def test_what_is_old_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Sightings()
    counting.answered(WHO, answered())
    counting.flush()
    later = clock.now() + timedelta(days=29)
    monkeypatch.setattr(clock, "now", lambda: later)

    tasks.expire_sightings()

    assert not Sighting.objects.exists()
    assert not SightingHour.objects.exists()


def test_a_broken_chain_of_audit_rows_is_a_critical_issue() -> None:
    tasks.verify_audit()
    assert not Issue.objects.exists()
    audit.record(WATCH, Verb.ISSUE_MOVED, Subject("issue", "iss_1"), {})
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE subscriptions_auditevent DISABLE TRIGGER audit_no_change")
        cursor.execute("UPDATE subscriptions_auditevent SET reason = 'forged'")
        cursor.execute("ALTER TABLE subscriptions_auditevent ENABLE ALWAYS TRIGGER audit_no_change")

    tasks.verify_audit()

    issue = Issue.objects.get()
    assert (issue.kind, issue.severity) == ("audit_broken", "critical")


def test_a_replay_over_all_that_is_kept_is_told() -> None:
    owner = factories.partner()
    subscription = factories.subscription(owner)
    for source in ({"kafka": {"from": "earliest"}}, {"kafka": {"from": "first_failure"}}):
        replay = Replay.objects.create(
            partner=owner,
            subscription=subscription,
            kind="kafka",
            source=source,
            started_at=clock.now(),
        )
        ReplayProgress.objects.create(replay=replay, count=100)

    tasks.watch_use()

    issue = Issue.objects.get()
    assert issue.evidence["rule"] == "mass_replay"
    assert issue.evidence["whole"] is True
