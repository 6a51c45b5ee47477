"""Signing in: passwords, the throttle, second factors, sessions, invitations."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from kafkahub import config
from subscriptions.actions import members
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import AuditEvent, Invitation, Member, Partner, Role
from subscriptions.signin.throttle import held_until
from tests import factories

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
ANA = "ana@acme.example"
OPERATOR = Actor(ActorKind.OPERATOR, "olga")


@pytest.fixture
def acme() -> Partner:
    return factories.partner("Acme")


def person(name: str = ANA, *, is_operator: bool = False) -> User:
    make = User.objects.create_superuser if is_operator else User.objects.create_user
    return make(name, name if "@" in name else "", PASSWORD)


def sign_in(client: Client, name: str = ANA, password: str = PASSWORD, **more: str) -> int:
    response = client.post("/account/login/", {"login": name, "password": password}, **more)  # type: ignore[arg-type]  # headers as the client takes them
    return response.status_code


def verbs() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))


def invitation(partner: Partner, email: str = ANA) -> str:
    _, text = members.invite(OPERATOR, partner, email, Role.DEVELOPER)
    return f"/invite/{text}"


def test_a_member_signs_in_with_the_address_and_lands_in_the_portal(
    client: Client, acme: Partner
) -> None:
    factories.member(acme, person())

    response = client.post("/account/login/", {"login": ANA, "password": PASSWORD})

    assert response.headers["Location"] == f"/portal/{acme.pk}/"
    assert verbs() == ["member.signed_in"]


def test_the_sixth_wrong_password_waits_although_the_next_is_right(client: Client) -> None:
    person()

    assert [sign_in(client, password="wrong") for _ in range(5)] == [200] * 5
    page = client.post("/account/login/", {"login": ANA, "password": PASSWORD})

    assert "Wait 1 minute, then try again" in page.content.decode()
    assert verbs() == ["member.sign_in_failed"] * 5


def test_nobody_locks_an_account_out_from_elsewhere(client: Client) -> None:
    person()
    for _ in range(5):
        sign_in(client, password="wrong", REMOTE_ADDR="203.0.113.9")

    assert sign_in(client) == 302


def test_each_failure_after_the_free_ones_waits_twice_as_long() -> None:
    begun = datetime(2026, 11, 23, tzinfo=UTC)
    failures = [begun + timedelta(minutes=each) for each in (0, 1, 2, 3, 4, 6, 9, 14)][::-1]

    waits = [(held_until(failures[-count:]) or begun) - failures[-count] for count in range(4, 9)]

    assert waits[0] < timedelta(0)  # four are free
    assert waits[1:] == [timedelta(minutes=each) for each in (1, 2, 4, 8)]
    assert held_until([begun] * 50) == begun + timedelta(hours=1)


def test_an_operator_without_a_second_factor_opens_nothing_but_enrolment(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    person("olga", is_operator=True)
    asked = config.load().model_copy(update={"operators_second_factor": True})
    monkeypatch.setattr(config, "load", lambda: asked)
    sign_in(client, "olga")

    for path in ("/admin/", "/admin/subscriptions/partner/", "/portal/ptn_x/"):
        assert client.get(path).headers["Location"] == "/account/second-factor/"
    assert client.get("/account/second-factor/app/").status_code == 200


def test_a_partner_asks_its_members_for_a_second_factor(client: Client, acme: Partner) -> None:
    Partner.objects.update(needs_second_factor=True)
    factories.member(acme, person())
    sign_in(client)

    assert client.get(f"/portal/{acme.pk}/").headers["Location"] == "/account/second-factor/"


def test_the_code_of_the_app_follows_the_password(client: Client) -> None:
    user = person()
    sign_in(client)
    page = client.get("/account/second-factor/app/").content.decode()
    seed = re.findall(r'value="([A-Z2-7]{32})"', page)[0]
    done = client.post("/account/second-factor/app/", {"code": code_of(seed)})
    assert done.status_code == 302
    client.post("/account/logout/")

    asked = client.post("/account/login/", {"login": ANA, "password": PASSWORD})
    assert asked.headers["Location"] == "/account/second-factor/code/"
    wrong = client.post("/account/second-factor/code/", {"code": "000000"})
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=60), tick=False):
        right = client.post("/account/second-factor/code/", {"code": code_of(seed)})

    assert wrong.status_code == 200
    assert right.status_code == 302
    assert "second_factor.failed" in verbs()
    assert seed not in str(list(Authenticator.objects.filter(user=user).values()))


def code_of(seed: str) -> str:
    value = totp.hotp_value(seed, next(iter(totp.yield_hotp_counters_from_time())))
    return str(totp.format_hotp_value(value))


def test_codes_are_throttled_like_passwords(client: Client) -> None:
    user = person()
    totp.TOTP.activate(user, totp.generate_totp_secret())
    sign_in(client)

    for _ in range(5):
        client.post("/account/second-factor/code/", {"code": "000000"})
    page = client.post("/account/second-factor/code/", {"code": "000000"})

    assert "too many failures" in page.content.decode()


@pytest.mark.parametrize(
    ("is_operator", "idle"), [(True, timedelta(minutes=31)), (False, timedelta(hours=8, minutes=1))]
)
def test_an_idle_session_ends(client: Client, is_operator: bool, idle: timedelta) -> None:
    client.force_login(person("olga", is_operator=is_operator))
    client.get("/account/")

    with time_machine.travel(datetime.now(UTC) + idle, tick=False):
        response = client.get("/account/")

    assert response.headers["Location"] == "/account/login/"


def test_a_session_in_use_ends_after_twelve_hours(client: Client) -> None:
    client.force_login(person())
    begun = datetime.now(UTC)

    statuses = []
    for hours in range(0, 14, 2):
        with time_machine.travel(begun + timedelta(hours=hours, minutes=1), tick=False):
            statuses.append(client.get("/account/").status_code)

    assert statuses == [200] * 7 or statuses == [200] * 6 + [302]


def test_what_a_page_asks_by_itself_keeps_nobody_signed_in(client: Client) -> None:
    client.force_login(person())
    begun = datetime.now(UTC)
    client.get("/account/")

    for hours in range(1, 8):
        with time_machine.travel(begun + timedelta(hours=hours), tick=False):
            client.get("/account/", headers={"X-Poll": "1"})
    with time_machine.travel(begun + timedelta(hours=8, minutes=1), tick=False):
        assert client.get("/account/").status_code == 302


def test_the_admin_opens_on_its_hosts_only(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    named = config.load().model_copy(update={"admin_hosts": ("ops.hub.example",)})
    monkeypatch.setattr(config, "load", lambda: named)

    assert client.get("/admin/").status_code == 404


def test_reading_an_invitation_uses_nothing_up_and_joining_does(
    client: Client, acme: Partner
) -> None:
    factories.grant(acme)
    link = invitation(acme)

    seen = [client.get(link) for _ in range(2)]
    joined = client.post(link, {"password": PASSWORD})
    again = Client().post(link, {"password": PASSWORD})

    assert all("orders" in page.content.decode() for page in seen)
    assert joined.headers["Location"] == f"/portal/{acme.pk}/"
    assert again.status_code == 410
    assert Member.objects.get().role == Role.DEVELOPER
    assert verbs() == ["member.invited", "member.joined", "member.signed_in"]


def test_an_invitation_ends_after_a_day(client: Client, acme: Partner) -> None:
    link = invitation(acme)

    with time_machine.travel(datetime.now(UTC) + timedelta(hours=24, seconds=1), tick=False):
        page = client.get(link)

    assert page.status_code == 410
    assert "used or is older than 24 hours" in page.content.decode()


def test_a_weak_password_makes_no_account(client: Client, acme: Partner) -> None:
    page = client.post(invitation(acme), {"password": "short"})

    assert "at least 12 characters" in page.content.decode()
    assert not User.objects.exists()


def test_who_has_an_account_signs_in_and_joins(client: Client, acme: Partner) -> None:
    person()
    link = invitation(acme)

    assert client.post(link, {"password": "another password"}).status_code == 200
    assert not Member.objects.exists()
    sign_in(client)
    client.post(link)

    assert Member.objects.get().user.username == ANA


def test_an_invitation_is_for_the_invited_alone(client: Client, acme: Partner) -> None:
    person("eve@evil.example")
    sign_in(client, "eve@evil.example")

    page = client.post(invitation(acme))

    assert "sign out, then open the link again" in page.content.decode()
    assert not Member.objects.exists()


def test_a_new_invitation_ends_the_one_before(client: Client, acme: Partner) -> None:
    first, second = invitation(acme), invitation(acme)

    assert client.get(first).status_code == 410
    assert client.get(second).status_code == 200


def test_only_the_hash_of_an_invitation_is_kept(acme: Partner) -> None:
    text = invitation(acme).rpartition("/")[2]

    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(i::text, '') FROM subscriptions_invitation i")
        assert text not in str(cursor.fetchone())
    assert bytes(Invitation.objects.get().secret_hash) == members.digest(text)


@pytest.mark.parametrize(
    "path", ["/account/sign-up/", "/account/email/", "/account/password/reset/", "/accounts/login/"]
)
def test_nobody_signs_up_or_resets_by_an_address_of_the_package(client: Client, path: str) -> None:
    assert client.post(path, {"login": ANA}).status_code in {302, 404}
    assert not User.objects.exists()
