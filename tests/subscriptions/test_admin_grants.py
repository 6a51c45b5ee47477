"""Operators say who sees what, try it on real records, and bring many grants from a file."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from subscriptions import grant_csv
from subscriptions.models import AuditEvent, Grant, Partner
from tests import factories
from tests.conftest import MakeTopic

pytestmark = pytest.mark.django_db
GRANTS = "/admin/subscriptions/grant/"
RULES: dict[str, Any] = {
    "row_filter": '{"value": {"country": "DE"}}',
    "fields": "/id\n/card\n",
    "masks": "/card last4",
    "headers": "trace",
    "key_visible": "on",
    "max_bytes": "1000",
}


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="correct horse"))
    return client


@pytest.fixture
def acme() -> Partner:
    return factories.partner("Acme")


def text(response: Any) -> str:
    return str(response.content.decode())


def test_a_grant_is_made_with_its_rules_and_audited(olga: Client, acme: Partner) -> None:
    factories.topic("orders")

    olga.post(f"{GRANTS}add/", {"partner": acme.pk, "topic": "orders", "action": "read", **RULES})

    grant = Grant.objects.get()
    assert grant.row_filter == {"value": {"country": "DE"}}
    assert (grant.fields, grant.masks, grant.headers) == (
        ["/id", "/card"],
        {"/card": "last4"},
        ["trace"],
    )
    assert (grant.key_visible, grant.max_bytes, grant.key_rule) == (True, 1000, None)
    event = AuditEvent.objects.get(verb="grant.created")
    assert event.changes["fields"] == [None, ["/id", "/card"]]


def test_an_edit_changes_what_differs_and_raises_the_version(olga: Client, acme: Partner) -> None:
    grant = factories.grant(acme)
    page = text(olga.get(f"{GRANTS}{grant.pk}/change/"))

    olga.post(f"{GRANTS}{grant.pk}/change/", {**RULES, "_save": "Save"})
    olga.post(f"{GRANTS}{grant.pk}/change/", {**RULES, "_save": "Save"})

    event = AuditEvent.objects.get(verb="grant.updated")
    assert 'name="row_filter"' in page
    assert event.changes.keys() == {"row_filter", "fields", "masks", "headers", "max_bytes"}
    grant.refresh_from_db()
    assert grant.version == 2
    assert "last4" in text(olga.get(f"{GRANTS}{grant.pk}/change/"))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("row_filter", '{\n  "value": {"$regex": "x"}\n}', "Line 2, column 13"),
        ("row_filter", '{"value": 1', "Line 1, column 12"),
        ("row_filter", "[]", "a filter is an object"),
        ("key_rule", '{"regex": "x"}', "One of"),
        ("fields", "id", "begins with a slash"),
        ("masks", "/card rot13", "A mask is one of"),
        ("masks", "/card", "a space and a mask"),
        ("max_bytes", "0", "above 0"),
    ],
)
def test_a_fault_is_told_at_its_field_and_place(
    olga: Client, acme: Partner, field: str, value: str, said: str
) -> None:
    grant = factories.grant(acme)

    page = text(olga.post(f"{GRANTS}{grant.pk}/change/", {field: value, "key_visible": "on"}))

    assert said in page
    assert Grant.objects.get().version == 1


def test_only_a_grant_to_write_lets_answers_come_before_kafka(olga: Client, acme: Partner) -> None:
    factories.topic("orders")
    posted = {"partner": acme.pk, "topic": "orders", "key_visible": "on", "allow_unconfirmed": "on"}

    refused = text(olga.post(f"{GRANTS}add/", {**posted, "action": "read"}))
    plan = grant_csv.plan("partner,topic,hide_offsets\nAcme,orders,true")
    olga.post(f"{GRANTS}add/", {**posted, "action": "write"})

    assert "Only a grant to write has this." in refused
    assert [(one.line, one.column) for one in plan.faults] == [(2, "hide_offsets")]
    grant = Grant.objects.get()
    assert (grant.action, grant.allow_unconfirmed, grant.hide_offsets) == ("write", True, False)
    [change] = grant_csv.plan("partner,topic,action,hide_offsets\nAcme,orders,write,yes").changes
    assert change.values == {"hide_offsets": True}


def test_a_grant_to_write_takes_no_rule_of_what_is_shown(olga: Client, acme: Partner) -> None:
    factories.topic("orders")
    posted = {"partner": acme.pk, "topic": "orders", "action": "write", **RULES}

    assert "has no such rule" in text(olga.post(f"{GRANTS}add/", posted))
    assert not Grant.objects.exists()


@pytest.fixture
def filled(topic: MakeTopic) -> str:
    """Return a topic with three records, one of them no JSON."""
    name = topic(1)
    factories.topic(name)
    producer = Producer(producer_options(config.load()))
    for value in (
        b'{"country":"DE","card":"4111111111111111","n":"canary-one"}',
        b'{"country":"FR","card":"4222222222222222","n":"canary-two"}',
        b"<script>",
    ):
        producer.produce(name, value, key=b"k", headers=[("trace", b"t")]).result(timeout=15)
    producer.close()
    return name


def looked_at(olga: Client, grant: Grant, **rules: str) -> str:
    posted = {"key_visible": "on", **rules, "_preview": "yes"}
    return text(olga.post(f"{GRANTS}{grant.pk}/change/", posted))


@pytest.mark.kafka
def test_a_preview_shows_before_and_after_and_who_else_sees_what(
    olga: Client, acme: Partner, filled: str
) -> None:
    grant = factories.grant(acme, filled)
    Grant.objects.create(
        partner=factories.partner("Bolt"),
        topic=grant.topic,
        row_filter={"value": {"country": "FR"}},
    )

    page = looked_at(
        olga, grant, row_filter='{"value": {"country": "DE"}}', masks="/card last4\n/n drop"
    )

    assert "****1111" in page
    assert "4222222222222222" in page  # before, for the operator
    assert "****2222" not in page
    assert "Bolt" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page.split("<table", 1)[1]
    assert [page.count(word) for word in ("undecodable", "nothing</td>")] >= [1, 2]
    assert Grant.objects.get(pk=grant.pk).version == 1
    viewed = AuditEvent.objects.get(verb="payload.viewed")
    assert (viewed.object_id, viewed.reason) == (filled, "preview of a grant")


@pytest.mark.kafka
def test_a_preview_without_the_right_to_see_payloads_counts_only(
    client: Client, acme: Partner, filled: str
) -> None:
    paul = User.objects.create_user("paul", password="correct horse", is_staff=True)
    names = ("view_grant", "change_grant")
    paul.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(paul)

    page = looked_at(client, factories.grant(acme, filled), fields="/country")

    assert "canary" not in page
    assert "You may not see what partners are sent" in page
    assert not AuditEvent.objects.filter(verb="payload.viewed").exists()


@pytest.mark.kafka
def test_a_preview_of_faulty_rules_shows_the_fault(
    olga: Client, acme: Partner, filled: str
) -> None:
    assert "begins with a slash" in looked_at(olga, factories.grant(acme, filled), fields="x")


def brought(olga: Client, content: str | bytes, **posted: str) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    return olga.post(f"{GRANTS}import/", {"file": SimpleUploadedFile("g.csv", raw), **posted})


def rows_of(*lines: str) -> str:
    return "\n".join(["partner,topic,action,row_filter,masks", *lines])


GOOD = (
    'Acme,orders,read,"{""value"":{""country"":""DE""}}","{""/card"":""hash""}"',
    "Acme,orders,write,,",
)


def test_a_file_is_looked_at_first_and_then_carried_out_whole(olga: Client, acme: Partner) -> None:
    factories.topic("orders")
    content = rows_of(*GOOD)

    looked = text(brought(olga, content))
    before = Grant.objects.count()
    olga.post(f"{GRANTS}import/", {"text": content, "confirmed": "yes"})
    again = text(brought(olga, content))

    assert "2 of 2 lines would change something" in looked
    assert before == 0
    read, write = Grant.objects.order_by("action")
    assert (read.masks, write.action) == ({"/card": "hash"}, "write")
    assert AuditEvent.objects.filter(verb="grant.created").count() == 2
    assert "0 of 2 lines would change something" in again


def test_bad_lines_are_named_and_nothing_is_changed(olga: Client, acme: Partner) -> None:
    factories.topic("orders")
    content = rows_of(
        GOOD[0],
        "Nobody,orders,read,,",
        'Acme,orders,write,"{""key"":""a""}",',
        'Acme,nowhere,reads,"{",',
        GOOD[0],
        "Acme,orders",
    )

    plan = grant_csv.plan(content)
    olga.post(f"{GRANTS}import/", {"text": content, "confirmed": "yes"})

    assert [(fault.line, fault.column) for fault in plan.faults] == [
        (3, "partner"),
        (4, "row_filter"),
        (5, "topic"),
        (5, "action"),
        (5, "row_filter"),
        (6, ""),
        (7, ""),
    ]
    assert not plan.changes
    assert not Grant.objects.exists()


def test_an_update_names_only_what_differs_and_leaves_other_columns(acme: Partner) -> None:
    grant = factories.grant(acme)
    Grant.objects.filter(pk=grant.pk).update(fields=["/id"])

    [change] = grant_csv.plan("partner,topic,max_bytes\nAcme,orders,500").changes

    assert (change.kind, change.values) == ("update", {"max_bytes": 500})
    assert change.grant.fields == ["/id"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("partner,topik\n", "Is it topic?"),
        ("partner\nAcme", "The column is missing."),
        ("partner,topic,topic\n", "twice"),
        ('partner,topic\n"Acme', "not CSV"),
        ("", "The column is missing."),
    ],
)
def test_a_file_with_other_columns_is_told_which(content: str, said: str) -> None:
    assert any(said in fault.message for fault in grant_csv.plan(content).faults)


def test_a_partner_may_be_named_by_id(acme: Partner) -> None:
    factories.topic("orders")

    assert not grant_csv.plan(f"partner,topic\n{acme.pk},orders").faults


def test_a_file_that_is_too_large_or_no_text_is_refused(olga: Client) -> None:
    assert brought(olga, b"x" * (grant_csv.MAX_BYTES + 1)).status_code == 413
    assert brought(olga, b"\xff\xfe").status_code == 413


def test_text_in_a_file_is_shown_as_text(olga: Client) -> None:
    page = text(brought(olga, "partner,topic\n<b>x</b>,orders"))

    assert "<b>x</b>" not in page


def test_who_may_only_look_imports_nothing(client: Client) -> None:
    paul = User.objects.create_user("paul", password="correct horse", is_staff=True)
    paul.user_permissions.set(Permission.objects.filter(codename="view_grant"))
    client.force_login(paul)

    assert client.get(f"{GRANTS}import/").status_code == 302
    assert brought(client, rows_of(*GOOD)).status_code == 302


def test_a_list_says_what_is_shown(olga: Client, acme: Partner) -> None:
    grant = factories.grant(acme)
    whole = text(olga.get(GRANTS))
    Grant.objects.filter(pk=grant.pk).update(fields=["/id"], row_filter=json.loads('{"key":"a"}'))

    assert "all of it" in whole
    assert "some records" in text(olga.get(GRANTS))
