"""The live console: records within a second, by the filter of a webhook, and none missed."""

import json

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, expect

from tests import factories
from tests.e2e.watched import Watched
from tests.e2e.whole import hub, watched, web
from tests.flows.conftest import Hub
from tests.streams.web import Web

__all__ = ["hub", "watched", "web"]
pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

ANA = "ana@acme.example"
PASSWORD = "correct horse battery"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil" + "w" * 10_000
AT_ONCE_MS = 1_500
"""A record is to be seen within 1 s; the rest is for a machine that does other things too."""


def opened(hub: Hub, watched: Watched) -> Page:
    """Sign in, and go to the console."""
    factories.member(hub.partner, User.objects.create_user(ANA, ANA, PASSWORD))
    page = watched.open("/account/login/")
    page.get_by_label("E-mail or operator name").fill(ANA)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Live console").click()
    return page


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Records, newest first").get_by_role("listitem")


def totals(*numbers: int) -> list[bytes]:
    return [json.dumps({"total": number}).encode() for number in numbers]


def test_a_filter_shows_what_it_shows_a_webhook_and_a_pause_misses_nothing(
    hub: Hub, web: Web, watched: Watched
) -> None:
    topic = hub.topic()
    page = opened(hub, watched)
    page.get_by_label("Filter").fill('{"value":{"total":{"$gte":100}}}')
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_text("Connected. Nothing passed yet.")).to_be_visible(timeout=20_000)

    hub.produce(topic, totals(50, 120))
    expect(rows(page)).to_contain_text(['{"total":120}'], timeout=AT_ONCE_MS)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused.")).to_be_visible()
    hub.produce(topic, totals(130, 60, 140))
    page.get_by_role("button", name="Go on").click()

    expect(rows(page)).to_have_count(3, timeout=20_000)
    expect(rows(page)).to_contain_text(['{"total":140}', '{"total":130}', '{"total":120}'])
    assert watched.faults == []


def test_a_wrong_filter_is_told_where_it_was_typed(hub: Hub, web: Web, watched: Watched) -> None:
    hub.topic()
    page = opened(hub, watched)
    page.get_by_label("Filter").fill('{"value":{"total":{"$gtt":100}}}')

    page.get_by_role("button", name="Open", exact=True).click()

    expect(page.get_by_role("status")).to_contain_text("$gtt", timeout=10_000)


def test_a_record_is_text_whatever_it_holds(hub: Hub, web: Web, watched: Watched) -> None:
    topic = hub.topic()
    hub.produce(topic, [json.dumps({HOSTILE: HOSTILE}).encode()])
    page = opened(hub, watched)
    page.set_viewport_size({"width": 320, "height": 900})
    page.get_by_label("Start").select_option("the last 20")
    page.get_by_role("button", name="Open", exact=True).click()

    rows(page).first.get_by_text("alert(1)").first.click()
    expect(page.get_by_label("Record", exact=True)).to_contain_text("onerror=alert(2)")

    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert watched.faults == []
