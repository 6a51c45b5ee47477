"""API keys, secrets, topics and lists by the control API."""

from datetime import timedelta

import pytest

from kafkahub import clock
from subscriptions.models import ApiKey, AuditEvent, Grant, SigningSecret, Topic
from tests import factories
from tests.api import Caller, codes, json_of

SCOPES = ["webhooks:read"]


def test_a_key_is_shown_once_and_works(alice: Caller) -> None:
    made = alice.post("/api-keys", {"name": "ci", "scopes": SCOPES})

    assert made.status_code == 201
    shown = json_of(made)
    assert "key" not in json_of(alice.get(f"/api-keys/{shown['id']}"))
    assert shown["created_by"] == alice.row.id
    row = ApiKey.objects.get(pk=shown["id"])
    assert Caller(alice.partner, row, shown["key"]).get("/endpoints").status_code == 200


@pytest.mark.parametrize(
    ("narrow", "asked", "word"),
    [
        ({"scopes": frozenset({"keys:manage"})}, {}, "scope"),
        ({"topics": frozenset({"orders"})}, {"topics": None}, "topics"),
        ({"topics": frozenset({"orders"})}, {"topics": ["orders", "stock"]}, "topics"),
        ({"cidrs": frozenset({"127.0.0.0/8"})}, {"allowed_cidrs": []}, "addresses"),
        ({"cidrs": frozenset({"127.0.0.0/8"})}, {"allowed_cidrs": ["0.0.0.0/0"]}, "addresses"),
        ({}, {"mode": "test"}, "mode"),
    ],
)
def test_no_key_makes_a_wider_one(
    alice: Caller, narrow: dict[str, object], asked: dict[str, object], word: str
) -> None:
    maker = factories.caller(alice.partner, "maker", **narrow)

    refused = maker.post("/api-keys", {"name": "wide", "scopes": SCOPES, **asked})

    assert refused.status_code == 403
    assert word in json_of(refused)["detail"]


def test_rights_that_are_not_named_are_those_of_the_maker(alice: Caller) -> None:
    maker = factories.caller(
        alice.partner, "maker", topics=frozenset({"orders"}), cidrs=frozenset({"127.0.0.0/8"})
    )

    made = json_of(maker.post("/api-keys", {"name": "child", "scopes": SCOPES}))

    assert (made["topics"], made["allowed_cidrs"], made["mode"]) == (
        ["orders"],
        ["127.0.0.0/8"],
        "live",
    )


def test_rotating_makes_a_second_key_and_a_third_is_refused(alice: Caller) -> None:
    made = json_of(alice.post("/api-keys", {"name": "ci", "scopes": SCOPES}))

    second = json_of(alice.post(f"/api-keys/{made['id']}/rotate", {"overlap_s": 600}))

    assert second["scopes"] == made["scopes"]
    assert second["id"] != made["id"]
    old = json_of(alice.get(f"/api-keys/{made['id']}"))
    assert old["status"] == "active"
    assert old["expires_at"] < clock.rfc3339(clock.now() + timedelta(seconds=601))
    assert alice.post(f"/api-keys/{second['id']}/rotate").status_code == 409


def test_nobody_gets_more_rights_by_rotating_a_wider_key(alice: Caller) -> None:
    narrow = factories.caller(alice.partner, "narrow", scopes=frozenset({"keys:manage"}))

    assert narrow.post(f"/api-keys/{alice.row.id}/rotate").status_code == 403
    assert narrow.patch(f"/api-keys/{alice.row.id}", {"name": "x"}).status_code == 403


def test_a_revoked_key_stays_listed_and_cannot_be_changed(alice: Caller, bob: Caller) -> None:
    assert alice.delete(f"/api-keys/{bob.row.id}").status_code == 204
    assert alice.delete(f"/api-keys/{bob.row.id}").status_code == 204

    revoked = json_of(alice.get("/api-keys?status=revoked"))["data"]
    assert [each["id"] for each in revoked] == [bob.row.id]
    assert alice.patch(f"/api-keys/{bob.row.id}", {"name": "x"}).status_code == 409
    assert AuditEvent.objects.filter(verb="key.revoked", object_id=bob.row.id).count() == 1


@pytest.mark.parametrize("days", [-1, 366])
def test_a_key_ends_in_the_future_and_within_a_year(alice: Caller, days: int) -> None:
    end = clock.rfc3339(clock.now() + timedelta(days=days))

    refused = alice.post("/api-keys", {"name": "x", "scopes": SCOPES, "expires_at": end})

    assert codes(refused) == {"/expires_at": "out_of_range"}


def test_a_scope_that_is_missing_is_named(alice: Caller) -> None:
    reader = factories.caller(alice.partner, "reader", scopes=frozenset({"webhooks:read"}))

    refused = reader.post("/endpoints", {"url": "https://192.0.3.7/"})

    assert refused.status_code == 403
    assert json_of(refused)["code"] == "insufficient_scope"
    assert "webhooks:write" in json_of(refused)["detail"]


def test_rotating_a_secret_keeps_the_old_one_for_the_overlap(alice: Caller) -> None:
    first = json_of(alice.post("/endpoints", {"url": "https://192.0.3.7/in"}))
    path = f"/endpoints/{first['id']}/secrets"

    second = alice.post(path)

    assert second.status_code == 201
    assert json_of(second)["secret"].startswith("whsec_")
    assert json_of(second)["secret"] != first["secret"]
    listed = json_of(alice.get(path))["data"]
    assert [each["status"] for each in listed] == ["active", "retiring"]
    assert all("secret" not in each for each in listed)


def test_a_secret_can_be_brought_along_if_it_is_sound(alice: Caller) -> None:
    path = f"/endpoints/{factories.endpoint(alice.partner).id}/secrets"
    own = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

    assert json_of(alice.post(path, {"secret": own}))["secret"] == own
    refused = alice.post(path, {"secret": "whsec_AAEC"})
    assert json_of(refused)["code"] == "invalid_secret"
    pair = alice.post(path, {"kind": "ed25519", "secret": own})
    assert json_of(pair)["code"] == "bad_combination"


def test_of_an_ed25519_pair_only_the_public_half_leaves(alice: Caller) -> None:
    path = f"/endpoints/{factories.endpoint(alice.partner).id}/secrets"

    made = json_of(alice.post(path, {"kind": "ed25519"}))

    assert made["public_key"].startswith("whpk_")
    assert made["secret"] is None


def test_the_only_active_hmac_secret_cannot_be_retired(alice: Caller) -> None:
    endpoint = json_of(alice.post("/endpoints", {"url": "https://192.0.3.7/in"}))["id"]
    path = f"/endpoints/{endpoint}/secrets"
    active = json_of(alice.get(path))["data"][0]["id"]

    assert json_of(alice.delete(f"{path}/{active}"))["code"] == "in_use"

    alice.post(path)
    assert alice.delete(f"{path}/{active}").status_code == 204
    assert SigningSecret.objects.get(pk=active).status == "retired"


def test_a_partner_sees_its_profile_and_the_topics_it_is_granted(alice: Caller) -> None:
    factories.topic("ungranted")
    Topic.objects.filter(name="orders").update(description="Orders", type_value="order.changed")
    Grant.objects.create(partner=alice.partner, topic_id="orders", action="write")

    assert json_of(alice.get("/partner"))["id"] == alice.partner.id
    topics = json_of(alice.get("/topics"))["data"]
    assert [(each["name"], each["actions"]) for each in topics] == [("orders", ["read", "write"])]
    assert json_of(alice.get("/topics/orders"))["types"] == ["order.changed"]
    assert alice.get("/topics/ungranted").status_code == 404
    types = json_of(alice.get("/event-types"))["data"]
    assert [(each["type"], each["topics"]) for each in types] == [("order.changed", ["orders"])]
    assert json_of(alice.get("/event-types/order.changed"))["description"] == "Orders"
    assert alice.get("/event-types/other").status_code == 404


def test_test_keys_see_sandbox_topics_only(alice: Caller) -> None:
    factories.topic("sandbox", is_sandbox=True)
    factories.grant(alice.partner, "sandbox")
    tester = factories.caller(alice.partner, "tester", mode="test")

    def names(caller: Caller) -> list[str]:
        return [each["name"] for each in json_of(caller.get("/topics"))["data"]]

    assert names(alice) == ["orders"]
    assert names(tester) == ["sandbox"]


def test_paging_misses_nothing_while_new_objects_are_made(alice: Caller) -> None:
    old = {factories.endpoint(alice.partner).id for _ in range(7)}
    seen: list[str] = []
    query = "limit=3"

    while True:
        answer = alice.get(f"/endpoints?{query}")
        seen += [each["id"] for each in json_of(answer)["data"]]
        factories.endpoint(alice.partner)
        cursor = json_of(answer)["next_cursor"]
        if cursor is None:
            break
        assert f"cursor={cursor}" in answer.headers["Link"].replace("%3A", ":")
        query = f"limit=3&cursor={cursor}"

    assert old <= set(seen)
    assert len(seen) == len(set(seen))


def test_a_page_cursor_is_good_for_its_own_list_only(alice: Caller, charlie: Caller) -> None:
    for _ in range(2):
        factories.endpoint(alice.partner)
        factories.subscription(alice.partner)
    cursor = json_of(alice.get("/endpoints?limit=1"))["next_cursor"]

    for caller, path in (
        (alice, f"/endpoints?status=active&cursor={cursor}"),
        (alice, f"/subscriptions?cursor={cursor}"),
        (charlie, f"/endpoints?cursor={cursor}"),
        (alice, f"/endpoints?cursor={cursor}x"),
        (alice, "/endpoints?cursor=nonsense"),
    ):
        refused = caller.get(path)
        assert (refused.status_code, json_of(refused)["code"]) == (400, "invalid_cursor")


def test_a_filter_can_be_tried_on_a_sample(alice: Caller) -> None:
    body = {
        "filter": {"value": {"total": {"$gte": 100}}},
        "topic": "orders",
        "sample": {"total": 80},
    }

    explained = json_of(alice.post("/filters/explain", body))

    assert (explained["tested"], explained["matched"]) == (1, 0)
    assert explained["records"][0]["first_false"]["pointer"] == "/value/total/$gte"
    assert alice.post("/filters/explain", {**body, "topic": "other"}).status_code == 404
    broken = alice.post("/filters/explain", {**body, "filter": {"valeu": 1}})
    assert json_of(broken)["code"] == "invalid_filter"
