"""The partners' pages: who sees them, what they can do, and what they say when it fails."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from kafkahub import ids
from subscriptions import audit
from subscriptions.models import (
    ApiKey,
    AuditEvent,
    Endpoint,
    Invitation,
    Member,
    Partner,
    Role,
    Subscription,
)
from subscriptions.portal.base import SECTIONS
from tests import factories

pytestmark = pytest.mark.django_db

PARAMETER = re.compile(r"<str:(\w+)>")


def pages(patterns: list[URLPattern | URLResolver] | None = None, front: str = "") -> Iterator[str]:
    """Yield every path of the portal, as the code declares them."""
    for each in patterns if patterns is not None else get_resolver().url_patterns:
        path = f"{front}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from pages(each.url_patterns, path)
        elif path.startswith("portal/<str:partner>/"):
            yield path.removeprefix("portal/<str:partner>/")


PAGES = sorted(set(pages()))


class Person:
    """Somebody who is signed in, at the portal of one partner."""

    def __init__(self, partner: Partner, name: str, role: Role = Role.OWNER) -> None:
        self.user = User.objects.create_user(name, name)
        self.member = factories.member(partner, self.user, role)
        self.root = f"/portal/{partner.pk}/"
        self.client = Client()
        self.client.force_login(self.user)

    def get(self, path: str, **query: str) -> HttpResponse:
        response: HttpResponse = self.client.get(self.root + path, query)  # type: ignore[assignment]  # the client's own class
        return response

    def post(self, path: str, **values: object) -> HttpResponse:
        response: HttpResponse = self.client.post(self.root + path, values)  # type: ignore[assignment]  # as above
        return response


def text_of(response: HttpResponse) -> str:
    return response.content.decode()


@pytest.fixture
def acme() -> Partner:
    acme = factories.partner("Acme")
    factories.grant(acme)
    return acme


@pytest.fixture
def ana(acme: Partner) -> Person:
    return Person(acme, "ana@acme.example")


@pytest.fixture
def eve(acme: Partner) -> Person:
    """A member of another partner."""
    other = factories.partner("Evil")
    factories.grant(other)
    return Person(other, "eve@evil.example")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_gets_the_404_of_nothing(
    path: str, method: str, acme: Partner, eve: Person
) -> None:
    place = PARAMETER.sub("x", path)

    ask = getattr(eve.client, method)
    foreign = ask(f"/portal/{acme.pk}/{place}")
    none = ask(f"/portal/{ids.new('ptn')}/{place}")

    assert foreign.status_code == none.status_code == 404
    assert foreign.content == none.content


@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_sent_to_sign_in(path: str, acme: Partner) -> None:
    place = f"/portal/{acme.pk}/{PARAMETER.sub('x', path)}"

    response = Client().get(place)

    assert response.headers["Location"] == f"/account/login/?next={place}"


def test_ids_of_another_partner_are_the_404_of_nothing(acme: Partner, eve: Person) -> None:
    hook = factories.endpoint(acme)
    sub = factories.subscription(acme, hook)
    parked = factories.parked(sub)
    key, _ = factories.api_key(acme)
    member = Person(acme, "ana@acme.example").member
    targets = {
        "replay": factories.replay(sub).pk,
        "endpoint": hook.pk,
        "subscription": sub.pk,
        "delivery": parked.pk,
        "key": key.pk,
        "who": member.pk,
    }

    named = {found[1] for path in PAGES if (found := PARAMETER.search(path))}
    assert named <= targets.keys() | {"operation"}, "a page that nobody tries here"
    for path in PAGES:
        if (found := PARAMETER.search(path)) and found[1] in targets:
            place = PARAMETER.sub(targets[found[1]], path)
            wrong = {"do": "revoke", "role": "viewer"}
            answers = [eve.get(place), eve.post(place, **wrong)]
            assert {one.status_code for one in answers} <= {404, 405}, path
            assert 404 in {one.status_code for one in answers}, path
    assert Member.objects.get(pk=member.pk).role == Role.OWNER


def test_a_suspended_partner_has_no_portal(acme: Partner, ana: Person) -> None:
    Partner.objects.filter(pk=acme.pk).update(status=Partner.Status.SUSPENDED)

    assert ana.get("start").status_code == 404


def test_steps_tick_by_facts(acme: Partner, ana: Person) -> None:
    assert "0 of 4 done." in text_of(ana.get("start"))

    row, _ = factories.api_key(acme)
    ApiKey.objects.filter(pk=row.pk).update(last_used_at=row.created_at, last_used_ip="192.0.2.1")
    parked = factories.parked(factories.subscription(acme))
    factories.attempt(parked, outcome="delivered", outcome_class="delivered", http_status=204)

    assert "2 of 4 done." in text_of(ana.get("start"))


def test_a_key_is_shown_once_and_is_its_makers(ana: Person) -> None:
    made = ana.post("keys", name="shop", mode="live", scopes=["webhooks:read"], days="90")

    key = re.findall(r"khk_live_\w{60}", text_of(made))[0]
    assert key not in text_of(ana.get("keys"))
    row = ApiKey.objects.get()
    assert (row.created_by, row.scopes) == ("ana@acme.example", ["webhooks:read"])
    event = AuditEvent.objects.get(verb="key.created")
    assert (event.actor_kind, event.actor) == ("member", "ana@acme.example")


def test_a_form_keeps_what_was_typed_and_says_what_is_wrong(ana: Person) -> None:
    page = text_of(ana.post("keys", name="", mode="live", days="90", allowed_cidrs="nowhere"))

    assert "Not saved." in page
    assert "nowhere" in page
    assert "A network such as" in page


def test_an_endpoint_is_saved_and_its_secret_shown_once(ana: Person) -> None:
    made = text_of(ana.post("endpoints/new", url="http://127.0.0.1:8999/hook", timeout_ms="5000"))

    row = Endpoint.objects.get()
    assert "whsec_" in made
    assert row.timeout_ms == 5_000
    assert "whsec_" not in text_of(ana.get(f"endpoints/{row.pk}"))


def test_a_wrong_address_is_told_in_words(ana: Person) -> None:
    page = text_of(ana.post("endpoints/new", url="ftp://x"))

    assert not Endpoint.objects.exists()
    assert "Not saved." in page


@pytest.mark.parametrize(
    ("wanted", "status"), [("disable", "disabled"), ("enable", "active"), ("rotate", "active")]
)
def test_buttons_of_an_endpoint(acme: Partner, ana: Person, wanted: str, status: str) -> None:
    row = factories.endpoint(acme)

    ana.post(f"endpoints/{row.pk}", do=wanted)

    assert Endpoint.objects.get().status == status


def test_an_endpoint_in_use_is_not_deleted_and_the_page_says_why(
    acme: Partner, ana: Person
) -> None:
    sub = factories.subscription(acme)

    page = text_of(ana.post(f"endpoints/{sub.endpoint_id}", do="delete"))

    assert "These subscriptions send to it" in page


@pytest.mark.parametrize(("wanted", "status"), [("pause", "paused"), ("resume", "active")])
def test_buttons_of_a_subscription(acme: Partner, ana: Person, wanted: str, status: str) -> None:
    row = factories.subscription(acme)

    ana.post(f"subscriptions/{row.pk}", do=wanted)

    assert Subscription.objects.get().status == status


def test_a_filter_that_is_wrong_is_refused_in_words(acme: Partner, ana: Person) -> None:
    row = factories.subscription(acme)

    page = text_of(
        ana.post(f"subscriptions/{row.pk}", do="filter", filter='{"value":{"a":{"$gtt":1}}}')
    )

    assert "$gte" in page
    assert Subscription.objects.get().filter == {}


def test_a_viewer_looks_and_changes_nothing(acme: Partner) -> None:
    vic = Person(acme, "vic@acme.example", Role.VIEWER)
    row = factories.endpoint(acme)

    assert "New key" not in text_of(vic.get("endpoints"))
    refused = vic.post(f"endpoints/{row.pk}", do="disable")

    assert "Your role is viewer" in text_of(refused)
    assert Endpoint.objects.get().status == "active"


def test_an_owner_invites_changes_and_removes(acme: Partner, ana: Person) -> None:
    page = text_of(ana.post("members", email="Bob@acme.example", role="viewer"))
    bob = Person(acme, "bob@acme.example", Role.VIEWER)

    assert "/invite/" in page
    assert Invitation.objects.get().email == "bob@acme.example"
    ana.post(f"members/{bob.member.pk}", role="developer")
    assert Member.objects.get(pk=bob.member.pk).role == Role.DEVELOPER
    ana.post(f"members/{bob.member.pk}", do="remove")
    assert not Member.objects.filter(pk=bob.member.pk).exists()
    assert bob.get("start").status_code == 404


def test_the_last_owner_stays(ana: Person) -> None:
    page = text_of(ana.post(f"members/{ana.member.pk}", do="remove"))

    assert "This is the only owner" in page
    assert Member.objects.exists()


def test_a_developer_invites_nobody(acme: Partner) -> None:
    dev = Person(acme, "dev@acme.example", Role.DEVELOPER)

    dev.post("members", email="bob@acme.example", role="owner")

    assert not Invitation.objects.exists()


def test_the_consoles_ticket_opens_for_its_member(acme: Partner, ana: Person) -> None:
    made = ana.post("console/ticket", topic="orders", filter='{"value":{"a":1}}').json()  # type: ignore[attr-defined]  # the client's own
    wrong = ana.post("console/ticket", topic="orders", filter="{").json()  # type: ignore[attr-defined]  # as above
    foreign = ana.post("console/ticket", topic="secrets").json()  # type: ignore[attr-defined]  # as above

    assert made["ticket"].startswith("kht_")
    assert "error" in wrong
    assert "error" in foreign


def test_a_view_is_told_in_other_tongues(ana: Person) -> None:
    page = text_of(ana.post("console/snippets", topic="orders", filter='{"value":{"a":1}}'))

    for word in ("curl -N", "openStream", "websocat", "grpcurl", "api/v1/topics/orders/records"):
        assert word in page


def test_why_a_record_was_not_sent(acme: Partner, ana: Person) -> None:
    row = factories.parked(factories.subscription(acme), state="dead")

    page = text_of(ana.post("why", why_subscription=row.subscription_id, why_record=row.pk))
    none = ana.post("why", why_subscription=row.subscription_id, why_record="msg_" + "0" * 22)
    hidden = ana.post("why", why_subscription=ids.new("sub"), why_record=row.pk)

    assert "Parked." in page
    assert "No record you may see" in text_of(none)
    assert none.content == hidden.content


def test_a_replay_is_counted_before_it_is_sent(acme: Partner, ana: Person) -> None:
    row = factories.subscription(acme)

    made = ana.post("replays", subscription=row.pk, source="dead")
    page = text_of(ana.client.get(made.headers["Location"]))  # type: ignore[arg-type]  # the client's own class

    assert "Counting; nothing is sent." in page
    assert "Cancel" in page


@pytest.mark.parametrize("page", ["start", "alerts"])
def test_a_notice_is_told_in_its_words(acme: Partner, ana: Person, page: str) -> None:
    factories.notice(acme)

    assert "The endpoint is disabled." in text_of(ana.get(page))


@pytest.mark.parametrize(
    ("page", "said", "way"),
    [
        ("start", "0 of 4 done.", "console"),
        ("endpoints", "No endpoint yet.", "endpoints/new"),
        ("subscriptions", "No subscription yet.", "console"),
        ("deliveries", "Nothing was due in this time.", "why"),
        ("replays", "No replay yet.", "subscriptions/new"),
        ("doctor", "No endpoint yet.", "endpoints/new"),
    ],
)
def test_an_empty_page_says_so_and_has_a_way_forward(
    acme: Partner, ana: Person, page: str, said: str, way: str
) -> None:
    shown = text_of(ana.get(page)).partition("<main")[2]  # behind the side bar's links

    assert said in shown
    assert f'"/portal/{acme.pk}/{way}"' in shown


def test_every_page_has_a_key_of_its_own() -> None:
    keys = [key for _, _, key in SECTIONS]

    assert "g" not in keys
    assert len(set(keys)) == len(keys)


def test_operators_are_not_named_to_partners(acme: Partner, ana: Person) -> None:
    actor = audit.Actor("operator", "olga", address="192.0.2.7")
    audit.record(actor, "partner.updated", acme, {})

    page = text_of(ana.get("alerts"))

    assert "partner.updated" in page
    assert "olga" not in page
    assert "192.0.2.7" not in page
