"""Signing in, in a real browser: passkeys, and operators who must have a second factor."""

import pytest
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from kafkahub import config
from subscriptions.models import Partner
from tests import factories
from tests.e2e.axe import findings
from tests.e2e.watched import Watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "correct horse battery"
ANA = "ana@acme.example"


@pytest.fixture
def acme() -> Partner:
    acme = factories.partner("Acme")
    factories.member(acme, User.objects.create_user(ANA, ANA, PASSWORD))
    return acme


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators must have a second factor, as in production."""
    asked = config.load().model_copy(update={"operators_second_factor": True})
    monkeypatch.setattr(config, "load", lambda: asked)


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("E-mail or operator name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def code_of(seed: str) -> str:
    value = totp.hotp_value(seed, next(iter(totp.yield_hotp_counters_from_time())))
    return str(totp.format_hotp_value(value))


def test_an_operator_has_a_second_factor_before_anything_else(
    strict: None, watched: Watched
) -> None:
    User.objects.create_superuser("olga", "olga@hub.example", PASSWORD)
    page = watched.open("/admin/")
    assert findings(page) == []
    sign_in(page, "olga")

    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    watched.open("/admin/subscriptions/partner/")
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    assert findings(page) == []
    page.get_by_role("link", name="Set up an app").click()
    assert findings(page) == []
    seed = page.get_by_role("textbox", name="Secret").input_value()
    page.get_by_role("textbox", name="Authenticator code").fill(code_of(seed))
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert findings(page) == []

    watched.open("/admin/")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert watched.faults == []


def test_a_member_signs_in_with_a_passkey_alone(acme: Partner, watched: Watched) -> None:
    page = watched.page
    debugger = page.context.new_cdp_session(page)
    debugger.send("WebAuthn.enable")
    debugger.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    watched.open("/account/login/")
    sign_in(page, ANA)
    page.get_by_role("link", name=ANA).click()
    page.get_by_role("link", name="Second factor and passkeys").click()
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("It replaces the password as well").check()
    assert findings(page) == []
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()

    watched.open("/account/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", name="Welcome, Acme")).to_be_visible()
    assert watched.faults == []
