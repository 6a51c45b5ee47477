"""Partners see what was done to their objects, and nothing of others or of our people."""

import pytest

from subscriptions import audit
from subscriptions.audit import Actor, ActorKind, Subject
from tests import factories
from tests.api import json_of

pytestmark = pytest.mark.django_db

OPERATOR = Actor(ActorKind.OPERATOR, "olga", address="10.0.0.7")


def test_a_partner_sees_its_own_rows_only() -> None:
    mine, other = factories.caller(factories.partner()), factories.caller(factories.partner())
    for caller in (mine, other):
        caller.post("/endpoints", {"name": "hook", "url": "https://hooks.example.com/in"})

    rows = json_of(mine.get("/audit"))["data"]

    assert {row["verb"] for row in rows} == {"endpoint.created", "key.created"}
    assert all(other.partner.id not in str(row) for row in rows)
    made = next(row for row in rows if row["verb"] == "endpoint.created")
    assert (made["actor_kind"], made["actor"]) == ("key", mine.row.id)


def test_which_of_our_people_acted_is_not_told() -> None:
    mine = factories.caller(factories.partner())
    subject = Subject("endpoint", "ep_1", mine.partner.id)
    audit.record(
        OPERATOR, "endpoint.disabled", subject, {"status": ("active", "disabled")}, "abuse"
    )

    [row] = json_of(mine.get("/audit?verb=endpoint.disabled"))["data"]

    assert (row["actor_kind"], row["actor"], row["address"]) == ("operator", "", None)
    assert row["reason"] == "abuse"
    assert "olga" not in str(row)


def test_rows_are_found_by_object_and_page() -> None:
    mine = factories.caller(factories.partner())
    for number in range(5):
        subject = Subject("endpoint", f"ep_{number % 2}", mine.partner.id)
        audit.record(OPERATOR, "endpoint.updated", subject, {})

    first = json_of(mine.get("/audit?object_id=ep_0&limit=2"))
    rest = json_of(mine.get(f"/audit?object_id=ep_0&limit=2&cursor={first['next_cursor']}"))

    assert [len(first["data"]), len(rest["data"])] == [2, 1]
    assert rest["next_cursor"] is None


def test_it_needs_the_right_to_manage_keys() -> None:
    reader = factories.caller(factories.partner(), scopes=frozenset({"webhooks:read"}))

    assert reader.get("/audit").status_code == 403
