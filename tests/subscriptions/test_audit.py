"""The audit log: complete, chained, append only, and free of secrets."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kafkahub.fields import Sealed
from subscriptions import audit, chain, tasks
from subscriptions.audit import Actor, Subject
from subscriptions.models import AuditEvent, Endpoint, Partner, SigningSecret

OPERATOR = Actor("operator", "olga", address="2001:db8::1", request_id="req_1")
ANYTHING = Subject("thing", "thing_1")


def write(count: int = 1) -> list[AuditEvent]:
    for number in range(count):
        audit.record(OPERATOR, "partner.updated", ANYTHING, {"name": (number, number + 1)})
    return list(AuditEvent.objects.order_by("id"))


def tamper(statement: str, *values: int) -> None:
    """Run SQL as somebody who may switch the guard off: the owner of the table."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE subscriptions_auditevent DISABLE TRIGGER audit_no_change")
        cursor.execute(statement, values)
        cursor.execute("ALTER TABLE subscriptions_auditevent ENABLE ALWAYS TRIGGER audit_no_change")


@pytest.mark.django_db
def test_a_row_says_who_did_what_to_which_object_of_whom() -> None:
    partner = Partner.objects.create(name="Acme")
    endpoint = Endpoint.objects.create(partner=partner, name="hook", url="https://a.example/")

    audit.record(
        OPERATOR, "endpoint.disabled", endpoint, {"status": ("active", "disabled")}, reason="asked"
    )

    event = AuditEvent.objects.get()
    assert (event.actor_kind, event.actor, event.address) == ("operator", "olga", "2001:db8::1")
    assert (event.partner, event.request_id, event.reason) == (partner.id, "req_1", "asked")
    assert (event.verb, event.object_type) == ("endpoint.disabled", "endpoint")
    assert event.object_id == endpoint.id
    assert event.changes == {"status": ["active", "disabled"]}


@pytest.mark.django_db
def test_the_owner_is_found_through_the_endpoint() -> None:
    partner = Partner.objects.create(name="Acme")
    endpoint = Endpoint.objects.create(partner=partner, name="hook", url="https://a.example/")
    secret = SigningSecret.objects.create(endpoint=endpoint, secret="whsec_canary")

    audit.record(OPERATOR, "secret.rotated", secret, {"secret": audit.SECRET})

    assert AuditEvent.objects.get().partner == partner.id


@pytest.mark.django_db
def test_a_secret_is_only_ever_said_to_have_changed() -> None:
    partner = Partner.objects.create(name="Acme")
    endpoint = Endpoint.objects.create(partner=partner, name="hook", url="https://a.example/")

    audit.record(
        OPERATOR,
        "endpoint.updated",
        endpoint,
        {"headers": ("canary", "canary"), "other": (Sealed("canary"), b"canary")},
    )

    changes = AuditEvent.objects.get().changes
    assert changes == {"headers": [None, "changed"], "other": ["changed", "changed"]}


@pytest.mark.django_db(transaction=True)
def test_a_row_outside_the_transaction_of_its_change_is_refused() -> None:
    with pytest.raises(audit.NoTransaction):
        audit.append(OPERATOR, "partner.updated", ANYTHING, {})

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_an_unlisted_verb_and_an_unlisted_kind_of_actor_are_refused() -> None:
    with pytest.raises(ValueError, match=r"partner\.renamed"):
        audit.record(OPERATOR, "partner.renamed", ANYTHING, {})
    with pytest.raises(ValueError, match="robot"):
        audit.record(Actor("robot", "r2"), "partner.updated", ANYTHING, {})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subscriptions_auditevent SET actor = 'nobody'",
        "DELETE FROM subscriptions_auditevent",
        "TRUNCATE subscriptions_auditevent",
    ],
)
def test_the_database_refuses_to_change_a_row(statement: str) -> None:
    write()
    with connection.cursor() as cursor:
        # The test database lets transactional tests empty the table; see tests/conftest.py.
        cursor.execute(
            "ALTER TABLE subscriptions_auditevent ENABLE ALWAYS TRIGGER audit_no_truncate"
        )

    with (
        pytest.raises(DatabaseError, match="append only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert AuditEvent.objects.get().actor == "olga"


@pytest.mark.django_db
def test_an_untouched_log_is_whole() -> None:
    write(5)

    assert chain.verify() == chain.Verdict(5, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subscriptions_auditevent SET actor = 'nobody' WHERE id = %s",
        "UPDATE subscriptions_auditevent SET changes = '{}' WHERE id = %s",
        "UPDATE subscriptions_auditevent SET at = at - interval '1 us' WHERE id = %s",
        "UPDATE subscriptions_auditevent SET address = NULL WHERE id = %s",
        r"UPDATE subscriptions_auditevent SET prev_hash = '\x00' WHERE id = %s",
    ],
)
def test_a_changed_row_is_found(statement: str) -> None:
    events = write(4)

    tamper(statement, events[2].id)

    assert found() == (events[2].id, chain.Fault.CHANGED)


@pytest.mark.django_db
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_row_is_found_at_the_one_after_it(gone: int) -> None:
    events = write(4)

    tamper("DELETE FROM subscriptions_auditevent WHERE id = %s", events[gone].id)

    assert found() == (events[gone + 1].id, chain.Fault.MISSING)


@pytest.mark.django_db
def test_reordered_rows_are_found() -> None:
    first, second, third = write(3)

    for old, new in ((second.id, -1), (third.id, second.id), (-1, third.id)):
        tamper("UPDATE subscriptions_auditevent SET id = %s WHERE id = %s", new, old)

    assert found() == (second.id, chain.Fault.ORDER)
    assert first.id < second.id


@pytest.mark.django_db
def test_a_log_cut_at_its_tail_differs_from_the_head_written_down() -> None:
    events = write(3)
    heads = {events[2].id: bytes(events[2].hash)}
    tamper("DELETE FROM subscriptions_auditevent WHERE id = %s", events[2].id)

    assert chain.verify().finding is None
    assert found(heads) == (events[2].id, chain.Fault.HEAD)


@pytest.mark.django_db
def test_a_head_from_before_the_first_row_says_nothing() -> None:
    heads = {audit.EMPTY: audit.head().hash}
    write(1)

    assert chain.verify(heads=heads) == chain.Verdict(1, None)


@pytest.mark.django_db
def test_a_part_of_the_log_can_be_checked_alone() -> None:
    events = write(5)
    tamper("UPDATE subscriptions_auditevent SET actor = 'x' WHERE id = %s", events[0].id)

    assert chain.verify(first=events[2].id, last=events[3].id) == chain.Verdict(2, None)


@pytest.mark.django_db(transaction=True)
def test_rows_written_at_once_make_one_chain() -> None:
    writers = [threading.Thread(target=write_and_close, args=(5,)) for _ in range(4)]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert chain.verify() == chain.Verdict(20, None)


def write_and_close(count: int) -> None:
    try:
        for number in range(count):
            audit.record(OPERATOR, "partner.updated", ANYTHING, {"name": (number, number)})
    finally:
        connection.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.django_db
@given(old=json_values, reason=st.text(st.characters(), max_size=300))
def test_any_value_survives_the_database_with_its_hash(old: object, reason: str) -> None:
    audit.record(OPERATOR, "topic.updated", ANYTHING, {"example": (old, 1e22)}, reason=reason)

    newest = AuditEvent.objects.order_by("-id")[0]

    assert chain.is_authentic(newest, audit.ring().keys.values())


@pytest.mark.django_db
def test_differences_name_only_what_changed() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)

    changes = audit.differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": moment, "d": 4})
    audit.record(OPERATOR, "topic.updated", ANYTHING, changes)

    assert AuditEvent.objects.get().changes == {
        "b": [2, "2026-01-02T00:00:00+00:00"],
        "c": [3, None],
        "d": [None, 4],
    }


@pytest.mark.django_db
def test_the_command_prints_a_head_that_it_takes_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = write(2)

    call_command("verify_audit")

    line = capsys.readouterr().out
    assert json.loads(line) == {"rows": 2, "id": events[1].id, "hash": bytes(events[1].hash).hex()}
    heads = tmp_path / "heads"
    heads.write_text(line)
    call_command("verify_audit", heads=heads)


@pytest.mark.django_db
def test_the_command_fails_with_the_first_bad_row() -> None:
    events = write(3)
    tamper("UPDATE subscriptions_auditevent SET reason = 'none' WHERE id = %s", events[1].id)

    with pytest.raises(CommandError, match=f"audit row {events[1].id}: changed") as failure:
        call_command("verify_audit")

    assert failure.value.returncode == 1


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "{}", "no json", '{"id": 1, "hash": "zz"}'])
def test_a_file_without_heads_is_no_pass(tmp_path: Path, text: str) -> None:
    heads = tmp_path / "heads"
    heads.write_text(text)

    with pytest.raises(CommandError) as failure:
        call_command("verify_audit", heads=heads)

    assert failure.value.returncode == 2


@pytest.mark.django_db
def test_the_hourly_log_line_is_a_head(tmp_path: Path) -> None:
    events = write(2)
    with capture_logs() as lines:
        tasks.write_audit_head()
    heads = tmp_path / "heads"
    heads.write_text("\n".join(json.dumps(line) for line in lines))

    call_command("verify_audit", heads=heads)
    tamper("DELETE FROM subscriptions_auditevent WHERE id = %s", events[1].id)

    with pytest.raises(CommandError, match="head differs"):
        call_command("verify_audit", heads=heads)


def found(heads: dict[int, bytes] | None = None) -> tuple[int, chain.Fault]:
    finding = chain.verify(heads=heads).finding
    assert finding is not None
    return finding.id, finding.fault
