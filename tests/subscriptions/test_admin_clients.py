"""The operators' pages of OAuth clients and issuers: audited, and no secret shown twice."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client

from subscriptions.authentication import oauth_rules
from subscriptions.authentication.basic import Given
from subscriptions.models import AuditEvent, Issuer, OAuthClient, Partner, TokenSubject
from tests import factories

pytestmark = pytest.mark.django_db

CLIENTS = "/admin/subscriptions/oauthclient/"
ISSUERS = "/admin/subscriptions/issuer/"
SUBJECTS = "/admin/subscriptions/tokensubject/"


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="correct horse battery"))
    return client


@pytest.fixture
def acme() -> Partner:
    return factories.partner("Acme")


def client_form(partner: Partner, **changed: object) -> dict[str, Any]:
    return {
        "partner": partner.pk,
        "name": "batch",
        "mode": "live",
        "scopes": "topic:*:read, webhooks:read",
        "default_scopes": "",
        "allowed_cidrs": "192.0.2.0/24",
        **changed,
    }


def issuer_form(**changed: object) -> dict[str, Any]:
    return {
        "name": "Login",
        "issuer": "https://login.example.com/",
        "jwks_url": "https://login.example.com/keys",
        "algorithms": ["RS256"],
        "audience": "https://hub.example.com",
        "claim": "sub",
        "max_age_s": 3_600,
        "is_enabled": "on",
        **changed,
    }


def act(client: Client, path: str, action: str, pk: str) -> str:
    data = {"action": action, "_selected_action": pk, "confirmed": "1", "reason": "left"}
    return client.post(path, data, follow=True).content.decode()


def newest() -> AuditEvent:
    return AuditEvent.objects.order_by("-id")[0]


def test_a_client_is_registered_and_its_secret_shown_once(olga: Client, acme: Partner) -> None:
    page = olga.post(f"{CLIENTS}add/", client_form(acme)).content.decode()

    row = OAuthClient.objects.get()
    found = re.search(r"[0-9A-Za-z]{128}", page)
    assert found is not None
    assert oauth_rules.authenticate(Given(row.client_id, found[0]), "192.0.2.7") == row
    assert found[0] not in olga.get(f"{CLIENTS}{row.pk}/change/").content.decode()
    assert row.client_secret not in olga.get(f"{CLIENTS}{row.pk}/change/").content.decode()
    assert (newest().verb, newest().partner) == ("client.created", acme.pk)


@pytest.mark.parametrize(
    "changed",
    [
        {"scopes": "nonsense"},
        {"scopes": "keys:manage"},
        {"default_scopes": "webhooks:write"},
        {"allowed_cidrs": "not a network"},
        {"scopes": ""},
    ],
)
def test_what_no_client_can_have_is_refused_on_the_page(
    olga: Client, acme: Partner, changed: dict[str, str]
) -> None:
    page = olga.post(f"{CLIENTS}add/", client_form(acme, **changed))

    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert not OAuthClient.objects.exists()


def test_a_client_is_changed_given_a_second_secret_and_revoked(olga: Client, acme: Partner) -> None:
    row, _ = factories.oauth_client(acme, "batch")

    olga.post(f"{CLIENTS}{row.pk}/change/", client_form(acme, scopes="webhooks:read"))
    row.refresh_from_db()
    assert row.scopes == ["webhooks:read"]
    assert newest().verb == "client.updated"
    assert set(newest().changes) == {"scopes", "allowed_cidrs"}
    assert re.search(r"[0-9A-Za-z]{128}", act(olga, CLIENTS, "rotate", row.pk))
    assert newest().changes["client_secret"] == [None, "changed"]
    act(olga, CLIENTS, "revoke", row.pk)
    assert (newest().verb, newest().reason) == ("client.revoked", "left")
    row.refresh_from_db()
    assert row.status == "revoked"


def test_an_issuer_is_registered_changed_and_disabled(olga: Client) -> None:
    olga.post(f"{ISSUERS}add/", issuer_form())
    row = Issuer.objects.get()
    form = issuer_form(algorithms=["RS256", "ES256"])
    del form["is_enabled"]
    olga.post(f"{ISSUERS}{row.pk}/change/", form)

    row.refresh_from_db()
    assert (row.algorithms, row.is_enabled) == (["RS256", "ES256"], False)
    assert (newest().verb, set(newest().changes)) == (
        "issuer.updated",
        {"algorithms", "is_enabled"},
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"jwks_url": "https://10.0.0.1/keys"},
        {"jwks_url": "gopher://login.example.com/"},
        {"algorithms": ["HS256"]},
        {"algorithms": []},
        {"max_age_s": 86_401},
    ],
)
def test_an_issuer_that_cannot_be_is_refused_on_the_page(
    olga: Client, changed: dict[str, Any]
) -> None:
    page = olga.post(f"{ISSUERS}add/", issuer_form(**changed))

    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert not Issuer.objects.exists()


def test_a_subject_is_added_changed_and_forgotten(olga: Client, acme: Partner) -> None:
    olga.post(f"{ISSUERS}add/", issuer_form())
    form = {**client_form(acme), "issuer": Issuer.objects.get().pk, "value": "acme-prod"}
    olga.post(f"{SUBJECTS}add/", form)
    row = TokenSubject.objects.get()
    assert newest().verb == "subject.created"
    olga.post(f"{SUBJECTS}{row.pk}/change/", {**form, "scopes": "webhooks:read"})
    assert newest().changes == {"scopes": [["topic:*:read", "webhooks:read"], ["webhooks:read"]]}

    act(olga, SUBJECTS, "forget", row.pk)

    assert (newest().verb, newest().reason) == ("subject.deleted", "left")
    assert not TokenSubject.objects.exists()


def test_who_may_only_look_changes_nothing(client: Client, acme: Partner) -> None:
    vera = User.objects.create_user("vera", password="correct horse battery", is_staff=True)
    vera.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(vera)
    row, _ = factories.oauth_client(acme)

    assert client.get(f"{CLIENTS}{row.pk}/change/").status_code == 200
    assert client.post(f"{CLIENTS}add/", client_form(acme)).status_code == 403
    act(client, CLIENTS, "revoke", row.pk)
    assert OAuthClient.objects.get().revoked_at is None


def test_no_page_of_the_oauth_package_is_there(olga: Client) -> None:
    from_package = {
        model for model in admin.site._registry if model._meta.app_label == "oauth2_provider"
    }

    assert from_package == set()
    assert olga.get("/admin/oauth2_provider/accesstoken/").status_code == 404
