"""Why was this not sent: a person names a record, and is told where its way ended."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from subscriptions.models import Subscription
from tests import factories
from tests.e2e.receiver import Receiver
from tests.e2e.watched import Watched
from tests.e2e.whole import hub, receiver, watched, web
from tests.flows.conftest import Hub, wait_for
from tests.streams.web import Web

__all__ = ["hub", "receiver", "watched", "web"]
pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

ANA = "ana@acme.example"
PASSWORD = "correct horse battery"
BEFORE_ALL = "2020-01-01T00:00"


def ask(page: Page, subscription: Subscription, key: str) -> None:
    """Ask for the first record with a key."""
    form = page.locator("form", has=page.get_by_role("button", name="Ask"))
    form.get_by_label("Subscription").select_option(str(subscription.pk))
    form.get_by_label("Or its key").fill(key)
    form.get_by_label("and about when (UTC)").fill(BEFORE_ALL)
    form.get_by_role("button", name="Ask").click()


def test_a_person_is_told_which_step_stopped_a_record(
    hub: Hub, web: Web, receiver: Receiver, watched: Watched
) -> None:
    factories.member(hub.partner, User.objects.create_user(ANA, ANA, PASSWORD))
    topic = hub.topic()
    endpoint, receiver.secret = hub.endpoint(receiver.url)
    wanted = {"value": {"total": {"$gte": 100}}}
    subscription = hub.subscribe(topic, endpoint, filter=wanted)
    hub.produce(topic, [b'{"total":50}', b'{"total":120}'], [b"small", b"large"])
    hub.engine()
    wait_for(lambda: len(receiver.taken) == 1, lambda: receiver.taken)
    assert b'"total":120' in receiver.taken[0]
    page = watched.open("/account/login/")
    page.get_by_label("E-mail or operator name").fill(ANA)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Deliveries").click()
    told = page.locator("#why")

    ask(page, subscription, "small")
    expect(told).to_contain_text("Filtered out.", timeout=20_000)
    expect(told).to_contain_text("the value is 50, it needs 100")
    ask(page, subscription, "large")
    expect(told).to_contain_text("Sent.", timeout=20_000)
    assert watched.faults == []
