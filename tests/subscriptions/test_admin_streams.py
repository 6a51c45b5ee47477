"""Operators see what is open on all processes, and end it; tickets are seen, never shown."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from subscriptions.models import AuditEvent, Partner, StreamTicket
from tests import factories
from tests.api import Caller

OPEN = "/admin/subscriptions/streamticket/open/"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def olga(client: Client, db: None) -> Client:
    """Return an operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="x"))
    return client


@pytest.fixture
def vera(db: None) -> Client:
    """Return somebody of support, who may look and nothing else."""
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def test_streams_of_all_partners_are_listed_the_furthest_behind_first(
    olga: Client, alice: Caller, charlie: Caller
) -> None:
    near = factories.open_stream(alice, lag_records=1)
    far = factories.open_stream(charlie, lag_records=90_000)

    page = text(olga, OPEN)

    assert page.index(far.id) < page.index(near.id)
    assert alice.partner.name in page
    assert "90000" in page


def test_what_a_client_sent_is_shown_as_text(olga: Client, alice: Caller) -> None:
    stream = factories.open_stream(alice, user_agent=HOSTILE, origin=HOSTILE, filter=HOSTILE)

    page = text(olga, f"{OPEN}{stream.id}/")

    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_a_stream_is_closed_with_a_reason_that_is_kept(olga: Client, alice: Caller) -> None:
    stream = factories.open_stream(alice)

    answer = olga.post(
        f"{OPEN}{stream.id}/", {"action": "stop", "reason": "ticket 4711"}, follow=True
    )

    assert "is closed within" in answer.content.decode()
    event = AuditEvent.objects.get(verb="stream.closed")
    assert (event.actor, event.object_id, event.reason) == ("olga", stream.id, "ticket 4711")
    assert event.partner == alice.partner.id


def test_who_may_only_look_closes_nothing(vera: Client, alice: Caller) -> None:
    stream = factories.open_stream(alice)

    page = text(vera, f"{OPEN}{stream.id}/")
    answer = vera.post(f"{OPEN}{stream.id}/", {"action": "stop"})

    assert "Close stream" not in page
    assert answer.status_code == 403
    assert not AuditEvent.objects.filter(verb="stream.closed").exists()


def test_who_may_not_look_sees_no_streams(db: None, alice: Caller) -> None:
    factories.open_stream(alice)
    client = Client()
    client.force_login(User.objects.create_user("nina", is_staff=True))

    assert client.get(OPEN).status_code == 403


def test_a_stream_that_is_gone_is_404(olga: Client) -> None:
    assert olga.get(f"{OPEN}str_gone/").status_code == 404


def test_a_ticket_is_listed_without_its_hash_and_revoked(olga: Client, alice: Caller) -> None:
    row, _ = factories.ticket(alice)
    path = "/admin/subscriptions/streamticket/"

    pages = text(olga, path) + text(olga, f"{path}{row.pk}/change/")
    olga.post(path, {"action": "revoke", "_selected_action": [row.pk], "confirmed": "yes"})

    assert row.pk in pages
    assert bytes(StreamTicket.objects.get().secret_hash).hex() not in pages
    assert StreamTicket.objects.get().revoked_at is not None
    assert AuditEvent.objects.get(verb="ticket.revoked").actor == "olga"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Shop.example.com:443, https://b.example", ["https://b.example"]),
        ("", []),
    ],
)
def test_an_operator_names_a_partners_origins(
    olga: Client, alice: Caller, given: str, kept: list[str]
) -> None:
    path = f"/admin/subscriptions/partner/{alice.partner.pk}/change/"

    olga.post(path, {"name": "Acme", "contact": "", "allowed_origins": given})

    found = Partner.objects.get(pk=alice.partner.pk).allowed_origins
    assert found == (["https://shop.example.com", *kept] if given else [])


def test_a_wildcard_is_refused_in_words(olga: Client, alice: Caller) -> None:
    path = f"/admin/subscriptions/partner/{alice.partner.pk}/change/"

    answer = olga.post(path, {"name": "Acme", "allowed_origins": "https://*.example.com"})

    assert "no wildcard" in answer.content.decode()
    assert Partner.objects.get(pk=alice.partner.pk).allowed_origins == []
