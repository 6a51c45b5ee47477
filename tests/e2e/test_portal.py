"""The partners' pages in a real browser: policy, other hosts, accessibility, widths, schemes."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from kafkahub import clock
from subscriptions.models import Partner, Topic, UsageHour
from tests import attempt_log, factories
from tests.e2e.axe import findings
from tests.e2e.watched import Watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "correct horse battery"
ANA = "ana@acme.example"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil"

SHOTS = os.environ.get("SCREENSHOTS")
"""Folder for screenshots; without it none are taken."""


@pytest.fixture
def acme() -> Iterator[Partner]:
    """A partner in the midst of it: good and bad states, and text that tries to run."""
    acme = factories.partner("Acme Logistics")
    factories.member(acme, User.objects.create_user(ANA, ANA, PASSWORD))
    Topic.objects.create(name="orders", description="Orders as they come.", example={"a": 1})
    factories.grant(acme)
    factories.caller(acme, HOSTILE[:100])
    hook = factories.endpoint(acme)
    sub = factories.subscription(acme, hook)
    for hours in range(0, 60, 3):
        UsageHour.objects.create(
            partner=acme,
            hour=clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours),
            door="sse",
            topic="orders",
            requests=3 + hours,
            records_out=1_000 + 37 * hours,
            records_in=200,
            bytes_out=400_000,
        )
    dead = factories.parked(sub, 7, state="dead", last_outcome="http_5xx", last_status=503)
    factories.attempt(dead, http_status=503, response_excerpt=HOSTILE)
    for outcome in ("delivered", "failed"):
        attempt_log.write(sub, outcome_class=outcome, response_excerpt=HOSTILE)
    yield acme
    attempt_log.clear()


def sign_in(watched: Watched) -> Page:
    page = watched.open("/account/login/")
    page.get_by_label("E-mail or operator name").fill(ANA)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="Welcome, Acme Logistics").wait_for()
    return page


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def sections(page: Page) -> list[str]:
    """Return the names in the side bar."""
    return page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (320, "light"), (320, "dark")]
)
def test_every_page_keeps_to_the_rules(
    acme: Partner, watched: Watched, width: int, scheme: Literal["light", "dark"]
) -> None:
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.page.emulate_media(color_scheme=scheme)
    page = sign_in(watched)

    for name in sections(page):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        page.get_by_role("heading", level=1).wait_for()
        shoot(page, f"{name}-{width}-{scheme}")
        assert findings(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        walk(page, name, width, scheme)
    assert watched.faults == []


EXAMINED = {(1280, "light"), (320, "dark")}
"""Width and scheme at which axe looks too: it takes longer than the page."""


def check(page: Page, name: str, width: int, scheme: str) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert "500" not in page.title()
    if (width, scheme) in EXAMINED:
        assert findings(page) == [], name


INSIDE = {
    "Endpoints": ["hook", "Add endpoint"],
    "Subscriptions": ["orders", "Add subscription"],
    "Deliveries": ["msg_0000000000000000000000"],
}
"""Links that lead from the page of a section further in."""


def walk(page: Page, section: str, width: int, scheme: str) -> None:
    """Go where a section's links lead, and hold those pages to the same rules."""
    for name in INSIDE.get(section, []):
        page.get_by_role("main").get_by_role("link", name=name, exact=True).first.click()
        page.get_by_role("heading", level=1).wait_for()
        shoot(page, f"{section} {name}-{width}-{scheme}")
        check(page, f"{section}: {name}", width, scheme)
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=section).click()


def test_keys_list_themselves_search_and_lead_to_pages(acme: Partner, watched: Watched) -> None:
    page = sign_in(watched)
    listed = page.get_by_role("dialog", name="Shortcuts")

    page.keyboard.press("?")
    expect(listed).to_be_visible()
    shoot(page, "Shortcuts")
    assert findings(page) == []
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()

    page.keyboard.type("gd")
    page.wait_for_url("**/deliveries")
    page.keyboard.press("/")
    expect(page.get_by_role("search").get_by_label("Delivery")).to_be_focused()
    page.keyboard.type("?/")
    expect(page.get_by_role("search").get_by_label("Delivery")).to_have_value("?/")
    assert watched.faults == []


def test_keys_can_be_switched_off_and_on_again(acme: Partner, watched: Watched) -> None:
    page = sign_in(watched)
    listed = page.get_by_role("dialog", name="Shortcuts")
    for is_on in (False, True):
        page.get_by_role("button", name="Shortcuts").click()
        listed.get_by_label("Use these keys").set_checked(is_on)
        listed.get_by_role("button", name="Close").click()

        page.keyboard.press("?")
        expect(listed).to_be_visible(visible=is_on)
