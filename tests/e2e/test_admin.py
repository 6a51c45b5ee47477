"""The operators' pages in a real browser."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from delivery.models import ParkedDelivery, PartitionPosition
from kafkahub import clock
from subscriptions import audit
from subscriptions.models import Endpoint, Grant, Issue, LanePosition, Partner, Subscription, Topic
from tests import attempt_log
from tests.e2e import axe
from tests.e2e.watched import Watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "correct horse battery"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil"
SHOTS = os.environ.get("SCREENSHOTS")
"""Folder for screenshots; without it none are taken."""


@pytest.fixture
def product() -> Iterator[None]:
    """A product in use: good and bad states, and text that tries to run."""
    User.objects.create_superuser("olga", "olga@hub.example", PASSWORD)
    acme = Partner.objects.create(name="Acme Logistics", contact="ops@acme.example")
    evil = Partner.objects.create(name=HOSTILE[:100], status="suspended")
    orders = Topic.objects.create(name="orders", description=HOSTILE, example={"a": HOSTILE})
    Topic.objects.create(name="payments.settled", is_sensitive=True, is_enabled=False)
    Grant.objects.create(partner=acme, topic=orders)
    hook = Endpoint.objects.create(partner=acme, name="shop", url="https://hook.acme.example/in")
    Endpoint.objects.create(
        partner=evil, name=HOSTILE[:100], url="https://x.example/", status="disabled"
    )
    sub = Subscription.objects.create(
        partner=acme, endpoint=hook, name="orders to shop", topics=["orders"], filter={"a": HOSTILE}
    )
    for partition in range(3):
        LanePosition.objects.create(
            subscription=sub, topic="orders", partition=partition, next_offset=40 + partition
        )
    for number, state in enumerate(("scheduled", "dead")):
        ParkedDelivery.objects.create(
            id=f"msg_{number:022}",
            subscription=sub,
            topic="orders",
            partition=0,
            offset=number,
            body=HOSTILE.encode(),
            state=state,
            next_attempt_at=clock.now() if state == "scheduled" else None,
            last_outcome="http_5xx",
        )
    PartitionPosition.objects.create(topic="orders", partition=0, next_offset=40)
    for outcome in ("delivered", "failed", "rejected"):
        attempt_log.write(sub, outcome_class=outcome, response_excerpt=HOSTILE)
    Issue.objects.create(
        kind="lane_behind", subject=sub.pk, partner=acme.pk, severity="warning", text=HOSTILE
    )
    actor = audit.Actor("operator", HOSTILE[:100], address="192.0.2.7", request_id="req_1")
    audit.record(actor, "topic.updated", orders, {"description": ("", HOSTILE)}, reason=HOSTILE)
    yield
    attempt_log.clear()


def sign_in(watched: Watched) -> Page:
    page = watched.open("/admin/")
    page.get_by_label("E-mail or operator name").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="Overview").wait_for()
    return page


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def links_in(page: Page) -> list[str]:
    """Return the paths that this page links to, below /admin/, each once."""
    found = page.eval_on_selector_all(
        "a[href]", "all => all.map(each => new URL(each.href).pathname)"
    )
    return sorted({path for path in found if path.startswith("/admin/")})


def test_no_page_breaks_the_content_policy_or_asks_another_host(
    product: None, watched: Watched
) -> None:
    page = sign_in(watched)

    seen = {"/admin/"}
    todo = links_in(page)
    while todo:
        path = todo.pop()
        if path in seen or "/logout/" in path:
            continue
        seen.add(path)
        watched.open(path)
        todo += [link for link in links_in(page) if link not in seen]

    assert len(seen) > 45
    assert watched.faults == []


PAGES = {
    "overview": "/admin/",
    "runbook": "/admin/subscriptions/issue/runbook/gap/",
    "partners": "/admin/subscriptions/partner/",
    "grants": "/admin/subscriptions/grant/",
    "endpoints": "/admin/subscriptions/endpoint/",
    "subscriptions": "/admin/subscriptions/subscription/",
    "attempts": "/admin/delivery/deliveryattempt/",
    "parked": "/admin/delivery/parkeddelivery/",
    "new key": "/admin/subscriptions/apikey/add/",
    "audit": "/admin/subscriptions/auditevent/",
    "operators": "/admin/auth/user/",
    "new grant": "/admin/subscriptions/grant/add/",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_no_page_scrolls_sideways(
    product: None, watched: Watched, width: int, scheme: Literal["light", "dark"]
) -> None:
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.page.emulate_media(color_scheme=scheme)
    shoot(watched.open("/admin/"), f"sign-in-{width}-{scheme}")
    page = sign_in(watched)

    for name, path in PAGES.items():
        watched.open(path)
        shoot(page, f"{name}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name

    open_first(page, PAGES["partners"], watched)
    shoot(page, f"partner-{width}-{scheme}")
    open_first(page, PAGES["subscriptions"], watched)
    shoot(page, f"subscription-{width}-{scheme}")
    open_first(page, PAGES["attempts"], watched)
    shoot(page, f"attempt-{width}-{scheme}")
    open_first(page, PAGES["parked"], watched)
    shoot(page, f"parked row-{width}-{scheme}")
    open_first(page, PAGES["audit"], watched)
    shoot(page, f"audit row-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert watched.faults == []


def open_first(page: Page, path: str, watched: Watched) -> None:
    watched.open(path)
    page.locator("#result_list tbody th a").first.click()
    page.get_by_role("link", name="History").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_issue_on_the_overview_leads_to_what_to_do(
    product: None, watched: Watched, scheme: Literal["light", "dark"]
) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    page = sign_in(watched)
    needs = page.get_by_role("region", name="Needs attention")

    assert "Affects Acme Logistics" in needs.inner_text()
    assert axe.findings(page) == []
    needs.get_by_role("link", name="What to do").click()
    page.get_by_role("heading", name="If it comes back").wait_for()
    assert axe.findings(page) == []

    watched.open("/admin/")
    needs.get_by_role("button", name="Acknowledge").click()
    page.get_by_label("Reason").fill("seen")
    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_text("acknowledged").first.wait_for()

    assert watched.faults == []


def test_an_operator_makes_a_key_and_rotates_a_secret_by_the_page(
    product: None, watched: Watched
) -> None:
    page = sign_in(watched)

    watched.open("/admin/subscriptions/apikey/add/")
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name="Acme Logistics").click()
    page.get_by_label("Name:").fill("shop")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text(re.compile(r"khk_live_\w{60}")).wait_for()
    shoot(page, "shown once")

    watched.open(PAGES["endpoints"])
    page.get_by_role("link", name="shop").click()
    page.get_by_role("button", name="Rotate secret").click()
    shoot(page, "question")
    page.get_by_role("button", name="Rotate secrets").click()
    page.get_by_text(re.compile("whsec_")).wait_for()

    assert watched.faults == []


def test_an_operator_sees_a_payload_as_text(product: None, watched: Watched) -> None:
    page = sign_in(watched)

    watched.open(PAGES["parked"])
    page.get_by_role("link", name="msg_").first.click()
    page.get_by_role("button", name="See payload").click()
    page.get_by_label("Reason").fill("ticket 4711")
    page.get_by_role("button", name="See payload").click()
    page.get_by_text("onerror=alert(2)").wait_for()
    shoot(page, "payload")

    assert watched.faults == []
