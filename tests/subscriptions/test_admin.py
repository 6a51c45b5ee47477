"""The operators' pages: everything is asked before, audited after, and no secret is shown twice."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from kafkahub.crypto import digest
from subscriptions import chain
from subscriptions.admin.base import CappedPaginator
from subscriptions.authentication import api_key
from subscriptions.models import (
    ApiKey,
    AuditEvent,
    Endpoint,
    Grant,
    Partner,
    SigningSecret,
    Subscription,
    Topic,
)
from tests import factories

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
CANARY = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXI="


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password=PASSWORD))
    return client


@pytest.fixture
def viewer(client: Client) -> Client:
    """Somebody of support, who may look and nothing else."""
    user = User.objects.create_user("vera", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


@pytest.fixture
def acme() -> Partner:
    return factories.partner("Acme")


def act(client: Client, path: str, action: str, *pks: str, **answer: str) -> str:
    """Take an action on these objects; ``answer`` is what its question is answered with."""
    data = {"action": action, "_selected_action": pks, **answer}
    response = client.post(f"/admin/{path}/", data, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def newest() -> AuditEvent:
    return AuditEvent.objects.order_by("-id")[0]


def test_signing_in_out_and_failing_to_are_audited(client: Client) -> None:
    User.objects.create_superuser("olga", password=PASSWORD)

    client.post("/account/login/", {"login": "olga", "password": "wrong"})
    client.post("/account/login/", {"login": "olga", "password": PASSWORD})
    client.post("/admin/logout/")

    rows = AuditEvent.objects.order_by("id").values_list("verb", "actor", "address")
    assert list(rows) == [
        ("operator.sign_in_failed", "olga", "127.0.0.1"),
        ("operator.signed_in", "olga", "127.0.0.1"),
        ("operator.signed_out", "olga", "127.0.0.1"),
    ]


def test_an_edit_is_audited_with_what_was_before(olga: Client, acme: Partner) -> None:
    olga.post(
        f"/admin/subscriptions/partner/{acme.pk}/change/",
        {"name": "Acme Logistics", "contact": "ops@acme.example"},
    )

    fresh = Partner.objects.get()
    event = newest()
    assert (fresh.name, fresh.version) == ("Acme Logistics", acme.version + 1)
    assert (event.verb, event.actor, event.partner) == ("partner.updated", "olga", acme.pk)
    assert event.changes == {
        "name": ["Acme", "Acme Logistics"],
        "contact": ["", "ops@acme.example"],
    }


def test_saving_without_a_change_leaves_no_trace(olga: Client, acme: Partner) -> None:
    olga.post(f"/admin/subscriptions/partner/{acme.pk}/change/", {"name": "Acme", "contact": ""})

    assert not AuditEvent.objects.exists()
    assert Partner.objects.get().version == acme.version


def test_partners_topics_and_grants_are_made_by_the_audited_verbs(olga: Client) -> None:
    olga.post("/admin/subscriptions/partner/add/", {"name": "Acme", "contact": ""})
    olga.post(
        "/admin/subscriptions/topic/add/",
        {
            "name": "orders",
            "format": "json",
            "content_type": "application/json",
            "type_source": "constant",
            "example": "null",
        },
    )
    acme = Partner.objects.get()
    olga.post(
        "/admin/subscriptions/grant/add/",
        {"partner": acme.pk, "topic": "orders", "action": "read"},
    )

    assert Grant.objects.filter(partner=acme, topic_id="orders").exists()
    verbs = AuditEvent.objects.order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["partner.created", "topic.created", "grant.created"]
    assert chain.verify().finding is None


def test_a_grant_is_deleted_as_a_verb(olga: Client, acme: Partner) -> None:
    grant = factories.grant(acme)

    olga.post(f"/admin/subscriptions/grant/{grant.pk}/delete/", {"post": "yes"})

    assert not Grant.objects.exists()
    assert (newest().verb, newest().object_id) == ("grant.deleted", grant.pk)


def test_nothing_is_stopped_before_the_question_is_answered(olga: Client, acme: Partner) -> None:
    page = act(olga, "subscriptions/partner", "suspend", acme.pk)

    assert "Their keys stop working" in page
    assert Partner.objects.get().status == "active"
    assert not AuditEvent.objects.exists()


def test_an_answered_question_acts_once_and_keeps_the_reason(olga: Client, acme: Partner) -> None:
    for _ in range(2):
        act(olga, "subscriptions/partner", "suspend", acme.pk, confirmed="yes", reason="unpaid")

    assert Partner.objects.get().status == "suspended"
    events = AuditEvent.objects.filter(verb="partner.suspended")
    assert [(event.reason, event.changes) for event in events] == [
        ("unpaid", {"status": ["active", "suspended"]})
    ]


@pytest.mark.parametrize(
    ("path", "action", "verb"),
    [
        ("topic", "disable", "topic.disabled"),
        ("endpoint", "disable", "endpoint.disabled"),
        ("subscription", "pause", "subscription.paused"),
        ("subscription", "remove", "subscription.deleted"),
    ],
)
def test_each_action_leaves_its_verb(
    olga: Client, acme: Partner, path: str, action: str, verb: str
) -> None:
    target = factories.subscription(acme)
    pks = {
        "topic": factories.topic().pk,
        "endpoint": target.endpoint_id or "",
        "subscription": target.pk,
    }

    act(olga, f"subscriptions/{path}", action, pks[path], confirmed="yes")

    assert newest().verb == verb


def test_an_endpoint_in_use_is_not_deleted_and_the_page_says_why(
    olga: Client, acme: Partner
) -> None:
    target = factories.subscription(acme)

    page = act(olga, "subscriptions/endpoint", "remove", target.endpoint_id or "", confirmed="yes")

    assert "These subscriptions send to it" in page
    assert Endpoint.objects.exists()


def test_a_new_key_is_shown_once_and_works(olga: Client, acme: Partner) -> None:
    made = olga.post(
        "/admin/subscriptions/apikey/add/",
        {
            "partner": acme.pk,
            "name": "shop",
            "mode": "live",
            "scopes": ["webhooks:read"],
            "allowed_cidrs": "192.0.2.0/24, 2001:db8::/32",
            "expires_at_0": "2026-12-24",
            "expires_at_1": "12:00:00",
        },
    )

    key = ApiKey.objects.get()
    plain = re.search(r"khk_live_\w{60}", made.content.decode())
    assert plain is not None
    assert "no-store" in made["Cache-Control"]
    assert bytes(key.digest) == digest(api_key.peppers().keys[key.pepper_id], plain[0].encode())
    assert key.allowed_cidrs == ["192.0.2.0/24", "2001:db8::/32"]
    assert_nowhere(olga, plain[0])


def test_a_key_with_a_wrong_network_is_not_made(olga: Client, acme: Partner) -> None:
    page = olga.post(
        "/admin/subscriptions/apikey/add/",
        {"partner": acme.pk, "name": "shop", "mode": "live", "allowed_cidrs": "192.0.2.1/24"},
    )

    assert "has host bits set" in page.content.decode()
    assert not ApiKey.objects.exists()


def test_a_rotated_secret_is_shown_once_and_the_old_one_signs_on(
    olga: Client, acme: Partner
) -> None:
    endpoint = factories.endpoint(acme)
    SigningSecret.objects.create(endpoint=endpoint, secret=CANARY)

    page = act(olga, "subscriptions/endpoint", "rotate_secret", endpoint.pk, confirmed="yes")

    shown = re.search(r"whsec_[A-Za-z0-9+/=]+", page)
    assert shown is not None
    assert shown[0] != CANARY
    assert sorted(each.status for each in SigningSecret.objects.all()) == ["active", "retiring"]
    assert_nowhere(olga, shown[0])
    assert_nowhere(olga, CANARY)


def assert_nowhere(client: Client, secret: str) -> None:
    """Look for a secret on every list and every object's page, and in the session."""
    for path in pages(client):
        assert secret not in client.get(path).content.decode(), path
    assert secret not in str(dict(client.session))


def pages(client: Client) -> list[str]:
    lists = [
        f"/admin/{match}"
        for match in ("", *re.findall(r'href="/admin/(\w+/\w+/)"', text(client, "/admin/")))
    ]
    rows = {
        path
        for each in lists
        for path in re.findall(r'href="(/admin/[^"]+/change/)', text(client, each))
    }
    assert len(rows) > 2
    return [*lists, *sorted(rows)]


def text(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def test_who_may_only_look_is_offered_no_action_and_gets_none(
    viewer: Client, acme: Partner
) -> None:
    key = ApiKey.objects.create(
        partner=acme,
        public_id="a" * 12,
        digest=b"x",
        pepper_id="p1",
        name="shop",
        expires_at="2027-01-01T00:00Z",
    )

    page = viewer.get(f"/admin/subscriptions/apikey/{key.pk}/change/").content.decode()
    act(viewer, "subscriptions/apikey", "revoke", key.pk, confirmed="yes")

    assert 'name="action"' not in page
    assert ApiKey.objects.get().revoked_at is None
    assert viewer.get("/admin/subscriptions/apikey/add/").status_code == 403


@pytest.mark.parametrize(
    "path",
    ["auditevent", "laneposition", "idempotencykey", "signingsecret", "endpoint", "subscription"],
)
def test_rows_that_others_own_can_be_neither_added_nor_edited(olga: Client, path: str) -> None:
    assert olga.get(f"/admin/subscriptions/{path}/add/").status_code == 403


def test_passwords_are_changed_without_a_trace_of_them(olga: Client) -> None:
    other = User.objects.create_user("otto", password=PASSWORD)
    new = {"password1": "new battery staple", "password2": "new battery staple"}

    olga.post(f"/admin/auth/user/{other.pk}/password/", {"usable_password": "true", **new})

    assert User.objects.get(pk=other.pk).check_password("new battery staple")
    event = newest()
    assert (event.verb, event.changes) == ("operator.updated", {"password": [None, "changed"]})
    page = olga.get(f"/admin/auth/user/{other.pk}/change/").content.decode()
    assert "pbkdf2" not in page


def test_a_new_operator_and_a_role_are_audited(olga: Client) -> None:
    olga.post("/admin/auth/group/add/", {"name": "support"})
    olga.post(
        "/admin/auth/user/add/",
        {
            "username": "otto",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )

    verbs = AuditEvent.objects.order_by("id").values_list("verb", flat=True)
    assert list(verbs) == ["role.created", "operator.created"]
    assert PASSWORD not in str(list(AuditEvent.objects.values_list("changes", flat=True)))


def test_history_is_the_audit_log_of_the_object(olga: Client, acme: Partner) -> None:
    act(olga, "subscriptions/partner", "suspend", acme.pk, confirmed="yes")

    page = olga.get(f"/admin/subscriptions/partner/{acme.pk}/history/", follow=True)

    assert "partner.suspended" in page.content.decode()


class ThreeAtMost(CappedPaginator):
    limit = 3


def test_a_list_counts_no_further_than_its_bound() -> None:
    Topic.objects.bulk_create(Topic(name=f"t{number}") for number in range(5))

    paginator = ThreeAtMost(Topic.objects.all(), 2)

    assert (paginator.count, paginator.is_capped, paginator.num_pages) == (3, True, 2)


def test_every_table_of_ours_has_its_page(olga: Client) -> None:
    listed = text(olga, "/admin/")

    for model in (ApiKey, AuditEvent, Endpoint, Grant, Partner, SigningSecret, Subscription, Topic):
        assert f"/admin/subscriptions/{model._meta.model_name}/" in listed
