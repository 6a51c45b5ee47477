"""``/stream-tickets``: made for what the issuer may read, shown once, ended at once."""

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from subscriptions.actions import tickets as actions
from subscriptions.models import AuditEvent, Grant, Partner, StreamTicket
from tests import factories
from tests.api import BASE, Caller, codes, json_of, without_request_id

SHOP = "https://shop.example.com"
PREFLIGHT = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}


def make(caller: Caller, **members: object) -> HttpResponse:
    return caller.post("/stream-tickets", {"topics": ["orders"], **members})


def allow(caller: Caller, *origins: str) -> None:
    Partner.objects.filter(pk=caller.partner.pk).update(allowed_origins=list(origins))


def exchange(text: str, **headers: str) -> HttpResponse:
    response: Any = Client().generic(
        "POST",
        f"{BASE}/stream-tickets/cookie",
        headers={"Authorization": f"Bearer {text}", **headers},
    )
    answer: HttpResponse = response
    return answer


def test_a_ticket_is_shown_once_with_the_address_it_opens(alice: Caller) -> None:
    answer = make(alice)

    made = json_of(answer)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert made["url"].endswith(f"/streams/orders?ticket={made['ticket']}")
    assert made["ws_url"] is None
    assert len(made["ticket"]) == len("kht_") + 43
    assert made["status"] == "waiting"
    listed = alice.get("/stream-tickets")
    assert [row["id"] for row in json_of(listed)["data"]] == [made["id"]]
    assert made["ticket"] not in listed.content.decode()


def test_a_repeat_with_the_same_idempotency_key_is_the_same_ticket(alice: Caller) -> None:
    body = {"topics": ["orders"]}

    first = alice.post("/stream-tickets", body, idempotency_key="visit-1")
    second = alice.post("/stream-tickets", body, idempotency_key="visit-1")

    assert json_of(first)["ticket"] == json_of(second)["ticket"]
    assert StreamTicket.objects.count() == 1


def test_a_ticket_for_both_doors_names_both_addresses(alice: Caller) -> None:
    made = json_of(make(alice, transports=["sse", "ws"]))

    assert made["ws_url"].startswith("ws")
    assert made["ws_url"].endswith(f"/ws?ticket={made['ticket']}")


@pytest.mark.parametrize("topic", ["bills", "no-such-topic"])
def test_a_topic_that_the_issuer_cannot_read_is_the_404_of_nothing(
    alice: Caller, topic: str
) -> None:
    factories.topic("bills")

    answer = make(alice, topics=["orders", topic])

    assert answer.status_code == 404
    assert json_of(answer)["code"] == "not_found"


def test_a_key_without_the_scope_of_the_topic_is_told_its_name(alice: Caller) -> None:
    bare = factories.caller(alice.partner, "bare", scopes=frozenset({"webhooks:read"}))

    answer = make(bare)

    assert answer.status_code == 403
    assert "topic:orders:read" in json_of(answer)["detail"]


def test_to_produce_needs_the_other_door_and_the_other_grant(alice: Caller) -> None:
    writer = factories.caller(
        alice.partner, "writer", scopes=frozenset({"topic:*:read", "topic:*:write"})
    )

    without_door = make(writer, produce=True)
    without_grant = make(writer, produce=True, transports=["ws"])
    Grant.objects.create(partner=alice.partner, topic_id="orders", action="write")
    granted = make(writer, produce=True, transports=["ws"])

    assert codes(without_door) == {"/produce": "bad_combination"}
    assert json_of(without_grant)["code"] == "action_not_granted"
    assert granted.status_code == 201


def test_an_origin_is_one_of_the_partners_own(alice: Caller) -> None:
    refused = make(alice, origin=SHOP)
    allow(alice, SHOP)
    taken = make(alice, origin="https://SHOP.example.com:443")

    assert codes(refused) == {"/origin": "origin_not_allowed"}
    assert json_of(taken)["origin"] == SHOP


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("topics", []),
        ("topics", [f"t{number}" for number in range(21)]),
        ("topics", ["orders", "orders"]),
        ("transports", []),
        ("transports", ["grpc"]),
        ("filter", {"value": {"$nonsense": 1}}),
        ("format", "xml"),
        ("origin", "null"),
        ("origin", "*"),
        ("produce", "yes"),
        ("open_within_s", 9),
        ("open_within_s", 301),
        ("expires_in_s", 59),
        ("expires_in_s", 43_201),
        ("max_connections", 0),
        ("max_connections", 6),
        ("form", "header"),
        ("nonsense", 1),
    ],
)
def test_a_value_out_of_its_range_is_refused_at_its_place(
    alice: Caller, member: str, value: object
) -> None:
    answer = make(alice, **{member: value})

    assert answer.status_code == 400
    assert all(place.startswith(f"/{member}") for place in codes(answer))
    assert not StreamTicket.objects.exists()


def test_a_partner_with_too_many_live_tickets_is_slowed_down(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAX_LIVE", 1)
    make(alice)

    answer = make(alice)

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_a_key_that_makes_tickets_too_fast_is_slowed_down(
    alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(actions.RATE.burst):
        actions.process_throttle.take(alice.row.id)

    answers = [make(alice).status_code for _ in range(60)]

    assert 429 in answers
    assert make(bob).status_code == 201


def test_revoked_is_gone_from_the_list_and_audited(alice: Caller) -> None:
    made = json_of(make(alice))

    answer = alice.delete(f"/stream-tickets/{made['id']}")

    assert answer.status_code == 204
    assert json_of(alice.get("/stream-tickets"))["data"] == []
    event = AuditEvent.objects.get(verb="ticket.revoked")
    assert (event.object_id, event.partner) == (made["id"], alice.partner.id)


def test_a_key_sees_and_revokes_its_own_tickets_only_unless_it_manages_keys(alice: Caller) -> None:
    page = factories.caller(alice.partner, "page", scopes=frozenset({"topic:*:read"}))
    of_alice, of_page = json_of(make(alice))["id"], json_of(make(page))["id"]

    foreign = page.delete(f"/stream-tickets/{of_alice}")

    assert foreign.status_code == 404
    assert [row["id"] for row in json_of(page.get("/stream-tickets"))["data"]] == [of_page]
    assert len(json_of(alice.get("/stream-tickets"))["data"]) == 2


def test_a_cookie_is_set_for_a_page_of_this_host_and_its_text_is_not_shown(alice: Caller) -> None:
    refused = make(alice, form="cookie")
    body = {"topics": ["orders"], "form": "cookie"}
    taken = alice.post("/stream-tickets", body, sec_fetch_site="same-origin")

    assert codes(refused) == {"/form": "bad_combination"}
    assert json_of(taken)["ticket"] is None
    assert "kht_" not in taken.content.decode()
    assert "Path=/streams/orders; " in taken.headers["Set-Cookie"]
    assert "HttpOnly" in taken.headers["Set-Cookie"]


def test_a_ticket_is_exchanged_for_a_cookie_by_a_page_of_its_origin(alice: Caller) -> None:
    allow(alice, SHOP)
    _, text = factories.ticket(alice, origin=SHOP)

    answer = exchange(text, Origin=SHOP, **{"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 204
    assert answer.headers["Set-Cookie"].startswith(f"kh_stream={text}; Path=/streams/orders; ")
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{SHOP}.evil.example"])
def test_a_page_of_another_origin_gets_403_and_cannot_read_it(alice: Caller, origin: str) -> None:
    allow(alice, SHOP)
    _, text = factories.ticket(alice, origin=SHOP)

    answers = [
        exchange(text, Origin=origin, **{"Sec-Fetch-Site": "cross-site"}),
        Client().options(f"{BASE}/stream-tickets/cookie", headers={**PREFLIGHT, "Origin": origin}),
    ]

    for answer in answers:
        assert answer.status_code == 403
        assert json_of(answer)["code"] == "origin_not_allowed"  # type: ignore[arg-type]  # Django's test response
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_another_partners_origin_does_not_open_this_ones_ticket(
    alice: Caller, charlie: Caller
) -> None:
    allow(alice, SHOP)
    allow(charlie, "https://other.example")
    _, text = factories.ticket(alice, origin=SHOP)

    answer = exchange(text, Origin="https://other.example")

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_a_preflight_of_any_partners_origin_is_answered(alice: Caller) -> None:
    allow(alice, SHOP)

    answer = Client().options(f"{BASE}/stream-tickets/cookie", headers=PREFLIGHT)

    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Max-Age"] == "600"


def test_what_is_no_ticket_or_an_ended_one_gets_no_cookie(alice: Caller) -> None:
    row, text = factories.ticket(alice)
    alice.delete(f"/stream-tickets/{row.pk}")
    near = {"Sec-Fetch-Site": "same-origin"}

    revoked = exchange(text, **near)
    unknown = exchange("kht_" + "a" * 43, **near)
    malformed = exchange(alice.key, **near)

    assert [each.status_code for each in (revoked, unknown, malformed)] == [401, 401, 401]
    assert json_of(revoked)["code"] == "key_expired"
    assert without_request_id(unknown) == without_request_id(malformed)


def test_a_partner_names_its_origins_in_canonical_form(alice: Caller) -> None:
    answer = alice.patch("/partner", {"allowed_origins": ["https://Shop.example.com:443"]})

    assert answer.status_code == 200
    assert json_of(answer)["allowed_origins"] == [SHOP]
    assert AuditEvent.objects.get(verb="partner.updated").changes == {
        "allowed_origins": [[], [SHOP]]
    }


@pytest.mark.parametrize("origin", ["*", "null", "https://*.example.com", "https://a.example/x", 7])
def test_what_is_no_origin_is_not_taken(alice: Caller, origin: object) -> None:
    answer = alice.patch("/partner", {"allowed_origins": [origin]})

    assert answer.status_code == 400
    assert list(codes(answer)) == ["/allowed_origins/0"]


def test_a_partner_changes_nothing_else_of_its_profile(alice: Caller) -> None:
    answer = alice.patch("/partner", {"name": "Other", "status": "active"})

    assert codes(answer) == {"/name": "unknown_field", "/status": "unknown_field"}
