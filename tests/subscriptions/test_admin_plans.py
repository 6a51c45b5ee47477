"""Operators make plans, give them to partners and keys, and see what was used."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from subscriptions import usage
from subscriptions.models import ApiKey, AuditEvent, Partner, Plan
from tests import factories
from tests.api import Caller

pytestmark = pytest.mark.django_db
PLANS = "/admin/subscriptions/plan/"


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator with all rights, signed in."""
    client.force_login(User.objects.create_superuser("olga", password="correct horse"))
    return client


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_a_plan_is_made_with_the_rates_that_were_filled_in(olga: Client) -> None:
    olga.post(
        f"{PLANS}add/",
        {
            "name": "gold",
            "key_requests_per_s": "500",
            "key_requests_burst": "1000",
            "partner_bytes_out_per_s": "1048576",
            "partner_bytes_out_burst": "2097152",
            "key_open_streams": "250",
        },
    )

    gold = Plan.objects.get()
    event = AuditEvent.objects.order_by("-id")[0]
    assert gold.rules == {
        "key": {"requests": {"per_s": 500, "burst": 1000}, "open-streams": {"burst": 250}},
        "partner": {"bytes-out": {"per_s": 1048576, "burst": 2097152}},
    }
    assert (event.verb, event.object_id) == ("plan.created", gold.pk)


def test_an_edit_shows_what_holds_and_is_audited_with_what_held_before(olga: Client) -> None:
    olga.post(f"{PLANS}add/", {"name": "gold", "key_control_per_s": "1", "key_control_burst": "2"})
    gold = Plan.objects.get()
    form = page(olga, f"{PLANS}{gold.pk}/change/")

    olga.post(
        f"{PLANS}{gold.pk}/change/",
        {"name": "gold", "key_control_per_s": "1", "key_control_burst": "3"},
    )

    event = AuditEvent.objects.order_by("-id")[0]
    before, after = ({"key": {"control": {"per_s": 1, "burst": burst}}} for burst in (2, 3))
    assert re.search(r'name="key_control_burst" value="2"', form)
    assert (event.verb, event.changes) == ("plan.updated", {"rules": [before, after]})
    assert Plan.objects.get().version == 2


def test_half_a_rate_is_refused_at_its_field(olga: Client) -> None:
    response = olga.post(f"{PLANS}add/", {"name": "gold", "key_requests_per_s": "500"})

    assert "Both numbers are needed, or none." in response.content.decode()
    assert not Plan.objects.exists()


def test_there_is_one_default_plan(olga: Client) -> None:
    for name in ("first", "second"):
        response = olga.post(f"{PLANS}add/", {"name": name, "is_default": "on"})

    assert "There is a default plan already." in response.content.decode()
    assert Plan.objects.count() == 1


def test_a_plan_that_is_in_use_is_not_deleted(olga: Client) -> None:
    used, free = (Plan.objects.create(name=name) for name in ("used", "free"))
    Partner.objects.create(name="Acme", plan=used)

    for plan in (used, free):
        olga.post(f"{PLANS}{plan.pk}/delete/", {"post": "yes"})

    assert [plan.name for plan in Plan.objects.all()] == ["used"]


def test_a_partner_gets_a_plan_and_the_audit_log_says_so(olga: Client) -> None:
    acme = factories.partner("Acme")
    gold = Plan.objects.create(name="gold")

    olga.post(f"/admin/subscriptions/partner/{acme.pk}/change/", {"name": "Acme", "plan": gold.pk})

    assert Partner.objects.get().plan == gold
    assert AuditEvent.objects.order_by("-id")[0].changes == {"plan": [None, "gold"]}


def test_keys_get_a_plan_which_their_successors_keep(olga: Client, alice: Caller) -> None:
    gold = Plan.objects.create(name="gold")
    keys = "/admin/subscriptions/apikey/"
    chosen = {"action": "set_plan", "_selected_action": alice.row.pk}

    question = olga.post(keys, chosen).content.decode()
    olga.post(keys, {**chosen, "confirmed": "yes", "plan": gold.pk})
    rotated = alice.post(f"/api-keys/{alice.row.pk}/rotate")

    assert "the partner&#x27;s plan" in question or "the partner's plan" in question
    assert rotated.status_code == 201
    assert {key.plan for key in ApiKey.objects.all()} == {gold}


def test_what_partners_used_is_shown(olga: Client, alice: Caller) -> None:
    usage.process_usage().note(alice.partner.id, "sse", usage.Used(records_out=4711), "orders")
    usage.process_usage().flush()

    shown = page(olga, f"/admin/subscriptions/usagehour/?partner__id__exact={alice.partner.pk}")

    assert "4711" in shown.replace(",", "").replace("\u202f", "")
    assert olga.get("/admin/subscriptions/usagehour/add/").status_code == 403
