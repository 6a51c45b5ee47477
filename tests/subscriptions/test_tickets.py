"""A ticket opens what it was made for, in time, and nothing after its end."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from kafkahub import clock
from kafkahub.errors import Forbidden, HubError, Invalid, KeyExpired, OriginNotAllowed
from kafkahub.errors import Unauthenticated as NotKnown
from subscriptions.actions.keys import revoke_key, update_key
from subscriptions.actions.partners import suspend_partner
from subscriptions.actions.tickets import revoke_ticket
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import ticket_cookie, tickets
from subscriptions.authentication.tickets import Ticket, Use
from subscriptions.grants import Principal
from subscriptions.models import Grant, StreamTicket
from tests import factories
from tests.api import Caller

SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")
SHOP = "https://shop.example.com"
NOW_MS = 1_767_225_600_000
TICKET = Ticket(
    id="tkt_1",
    principal=Principal(
        partner="ptn_1",
        kind="key",
        id="key_1",
        name="key",
        mode="live",
        scopes=frozenset({"topic:orders:read"}),
        topics=frozenset({"orders"}),
        expires_at_ms=NOW_MS + 3_600_000,
    ),
    topics=("orders", "stock"),
    filter=None,
    format="",
    transports=frozenset({"sse"}),
    origin="",
    produce=False,
    max_connections=2,
    open_before_ms=NOW_MS + 60_000,
    opened=False,
)
USE = Use(topics=("stock", "orders"), transport="sse")


def look_up(text: str) -> Ticket:
    digest = tickets.digest(text)
    return tickets.look_up([digest])[digest]


@pytest.mark.parametrize(
    ("members", "use"),
    [
        ({}, {}),
        ({"origin": SHOP}, {"origin": SHOP}),
        ({"origin": SHOP}, {"fetch_site": "same-origin"}),
        ({}, {"origin": "https://elsewhere.example"}),
        ({}, {"in_cookie": True, "fetch_site": "same-origin"}),
        ({}, {"in_cookie": True, "fetch_site": "same-site", "origin": "https://a.example"}),
        ({"origin": SHOP}, {"in_cookie": True, "fetch_site": "cross-site", "origin": SHOP}),
        ({"transports": frozenset({"ws"})}, {"transport": "ws", "topics": None}),
        ({"opened": True}, {}),
    ],
)
def test_a_ticket_opens_what_it_was_made_for(members: dict[str, Any], use: dict[str, Any]) -> None:
    tickets.check(replace(TICKET, **members), replace(USE, **use), NOW_MS)


@pytest.mark.parametrize(
    ("members", "use", "refusal"),
    [
        ({}, {"topics": ("orders",)}, NotKnown),
        ({}, {"topics": ("orders", "stock", "bills")}, NotKnown),
        ({}, {"transport": "ws"}, NotKnown),
        ({"refusal": "The stream ticket was revoked."}, {}, KeyExpired),
        ({"opened": False, "open_before_ms": NOW_MS}, {}, KeyExpired),
        ({"origin": SHOP}, {}, OriginNotAllowed),
        ({"origin": SHOP}, {"origin": "https://evil.example"}, OriginNotAllowed),
        ({"origin": SHOP}, {"origin": "null"}, OriginNotAllowed),
        ({"origin": SHOP}, {"fetch_site": "cross-site"}, OriginNotAllowed),
        (
            {"origin": SHOP},
            {"origin": "https://evil.example", "fetch_site": "same-origin"},
            OriginNotAllowed,
        ),
        ({}, {"in_cookie": True}, OriginNotAllowed),
        ({}, {"in_cookie": True, "fetch_site": "cross-site", "origin": SHOP}, OriginNotAllowed),
        ({"transports": frozenset({"ws"})}, {"transport": "ws", "in_cookie": True}, Forbidden),
        ({"filter": {}}, {"parameters": ("filter",)}, Invalid),
        ({"format": "raw"}, {"parameters": ("format",)}, Invalid),
    ],
)
def test_a_ticket_opens_nothing_else(
    members: dict[str, Any], use: dict[str, Any], refusal: type[HubError]
) -> None:
    with pytest.raises(refusal) as refused:
        tickets.check(replace(TICKET, **members), replace(USE, **use), NOW_MS)

    assert type(refused.value) is refusal


def test_an_opened_ticket_opens_again_until_its_end_and_not_after() -> None:
    opened = replace(TICKET, opened=True)

    tickets.check(opened, USE, opened.expires_at_ms - 1)
    with pytest.raises(KeyExpired):
        tickets.check(opened, USE, opened.expires_at_ms)


@pytest.mark.parametrize("text", ["", "kht_", "kht_" + "a" * 42, "kht_" + "é" * 43, "khk_live_x"])
def test_what_has_not_the_form_of_a_ticket_is_refused_without_a_query(text: str) -> None:
    with pytest.raises(NotKnown):
        tickets.digest(text)


def test_many_tickets_are_one_query_and_one_of_plans(alice: Caller) -> None:
    texts = [factories.ticket(alice)[1] for _ in range(5)]

    with CaptureQueriesContext(connection) as queries:
        found = tickets.look_up([tickets.digest(text) for text in [*texts, tickets.new_text()]])

    assert len(found) == 5
    assert len(queries) == 2


def test_only_the_hash_of_a_ticket_is_stored(alice: Caller) -> None:
    row, text = factories.ticket(alice)

    columns = StreamTicket.objects.filter(pk=row.pk).values_list().get()

    assert not any(text[4:] in str(column) for column in columns)
    assert look_up(text).id == row.pk


def test_a_first_open_in_time_is_written_down_once_and_a_late_one_refused(alice: Caller) -> None:
    row, text = factories.ticket(alice)
    late, _ = factories.ticket(alice, open_within=timedelta(seconds=-1))

    tickets.mark_opened(row.pk)
    first = StreamTicket.objects.get(pk=row.pk).opened_at
    tickets.mark_opened(row.pk)

    assert look_up(text).opened
    assert StreamTicket.objects.get(pk=row.pk).opened_at == first
    with pytest.raises(KeyExpired):
        tickets.mark_opened(late.pk)


def test_a_ticket_opens_for_its_issuer_less_all_but_its_topics(alice: Caller) -> None:
    _, text = factories.ticket(alice)

    principal = look_up(text).principal

    assert principal.partner == alice.partner.id
    assert principal.id == alice.row.id
    assert principal.scopes == {"topic:orders:read"}
    assert principal.topics == frozenset({"orders"})


def test_a_ticket_loses_what_its_issuer_loses(alice: Caller) -> None:
    _, text = factories.ticket(alice)

    update_key(SYSTEM, alice.row, {"scopes": ["webhooks:read"]})

    assert look_up(text).principal.scopes == frozenset()


def revoke(caller: Caller, row: StreamTicket) -> None:
    revoke_ticket(SYSTEM, row)


def revoke_issuer(caller: Caller, row: StreamTicket) -> None:
    revoke_key(SYSTEM, caller.row)


def suspend(caller: Caller, row: StreamTicket) -> None:
    suspend_partner(SYSTEM, caller.partner)


def expire(caller: Caller, row: StreamTicket) -> None:
    StreamTicket.objects.filter(pk=row.pk).update(expires_at=clock.now())


@pytest.mark.parametrize("end", [revoke, revoke_issuer, suspend, expire])
def test_a_ticket_ends_with_its_issuer_or_by_hand_or_by_time(alice: Caller, end: Any) -> None:
    row, text = factories.ticket(alice)
    other, _ = factories.ticket(factories.caller(factory_partner(), "other"))
    before = tickets.ended([row.pk, other.pk])

    end(alice, row)

    assert before == set()
    assert look_up(text).refusal
    assert tickets.ended([row.pk, other.pk]) == {row.pk}


def factory_partner() -> Any:
    owner = factories.partner()
    factories.grant(owner)
    return owner


def test_a_ticket_that_is_gone_counts_as_ended(db: None) -> None:
    assert tickets.ended(["tkt_gone"]) == {"tkt_gone"}


def test_a_cookie_goes_with_its_topic_set_only_and_is_read_again() -> None:
    far = ticket_cookie.written(
        "kht_x", ("orders", "stock"), left_s=60, is_secure=True, is_far=True
    )
    near = ticket_cookie.written("kht_x", ("orders",), left_s=60, is_secure=True, is_far=False)
    plain = ticket_cookie.written("kht_x", ("orders",), left_s=-1, is_secure=False, is_far=True)

    assert far == (
        "__Secure-kh_stream=kht_x; Path=/streams/orders,stock; Max-Age=60; Secure; HttpOnly; "
        "SameSite=None; Partitioned"
    )
    assert near.endswith("Path=/streams/orders; Max-Age=60; Secure; HttpOnly; SameSite=Lax")
    assert plain == "kh_stream=kht_x; Path=/streams/orders; Max-Age=0; HttpOnly; SameSite=Lax"
    assert ticket_cookie.read(far.partition(";")[0], is_secure=True) == "kht_x"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("", None),
        ("a=b; __Secure-kh_stream=kht_1; __Secure-kh_stream=kht_2", "kht_1"),
        ("kh_stream=kht_1", None),
        ("__Secure-kh_stream", None),
        ('__Secure-kh_stream="kht_1"', "kht_1"),
    ],
)
def test_the_first_ticket_cookie_counts(header: str | None, found: str | None) -> None:
    assert ticket_cookie.read(header, is_secure=True) == found


def test_a_grant_that_ends_is_not_the_tickets_matter(alice: Caller) -> None:
    """Each open is authorised by the grants anew, so the ticket itself stays what it is."""
    _, text = factories.ticket(alice)

    Grant.objects.filter(partner=alice.partner).delete()

    assert look_up(text).refusal == ""
