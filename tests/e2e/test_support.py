"""An operator looks at a partner's portal in a real browser; nothing can be changed there."""

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from subscriptions.models import SupportVisit
from tests import factories
from tests.e2e.axe import findings
from tests.e2e.watched import Watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "correct horse battery"
REASON = "ticket 4711: orders do not arrive"
VALUE = "card-4111111111111111"
SHOTS = os.environ.get("SCREENSHOTS")


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def sign_in(watched: Watched) -> Page:
    page = watched.open("/admin/")
    page.get_by_label("E-mail or operator name").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="Overview").wait_for()
    return page


def test_an_operator_looks_and_the_partner_is_told(watched: Watched) -> None:
    User.objects.create_superuser("olga", "olga@hub.example", PASSWORD)
    acme = factories.partner("Acme Logistics")
    sub = factories.subscription(acme)
    dead = factories.parked(sub, key=VALUE.encode(), state="dead", last_outcome="http_5xx")
    page = sign_in(watched)

    watched.open(f"/admin/subscriptions/partner/{acme.pk}/change/")
    page.get_by_role("button", name="View as partner").click()
    page.get_by_label("Reason").fill(REASON)
    shoot(page, "support-asked")
    page.get_by_role("button", name="View as partner").click()

    banner = page.get_by_role("region", name="Support view")
    for name in ("Deliveries", "Keys", "Endpoints", "Alerts"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        expect(banner).to_be_visible()
        shoot(page, f"support-{name}")
        assert findings(page) == [], name
    expect(page.get_by_role("table", name="Visits of support")).to_contain_text(REASON)

    watched.open(f"/portal/{acme.pk}/deliveries/{dead.pk}")
    expect(page.get_by_role("main")).to_contain_text("masked")
    assert VALUE not in page.content()
    assert watched.faults == []
    page.set_viewport_size({"width": 320, "height": 900})
    shoot(page, "support-delivery-320")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320

    watched.open(f"/portal/{acme.pk}/console")
    refused = page.request.post(
        f"{watched.base_url}/portal/{acme.pk}/keys",
        form={"name": "mine", "csrfmiddlewaretoken": token(page)},
        headers={"Referer": page.url},
    )
    assert refused.status == 403
    assert "read_only_view" in refused.text()

    banner.get_by_role("button", name="End").click()
    page.get_by_role("heading", name="Overview").wait_for()
    assert not SupportVisit.objects.open().exists()
    assert watched.page.goto(f"{watched.base_url}/portal/{acme.pk}/keys").status == 404  # type: ignore[union-attr]  # only a fragment has none


def token(page: Page) -> str:
    return page.locator("input[name=csrfmiddlewaretoken]").first.input_value()
