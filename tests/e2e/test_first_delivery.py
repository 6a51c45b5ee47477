"""From an invitation to a verified first delivery, by what is on the screen alone."""

import re

import pytest
from playwright.sync_api import Page, expect

from subscriptions.actions import members
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Role
from tests.e2e.receiver import Receiver
from tests.e2e.watched import Watched
from tests.e2e.whole import hub, receiver, watched, web
from tests.flows.conftest import Hub
from tests.streams.web import Web

pytestmark = [pytest.mark.browser, pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

ANA = "ana@acme.example"
PASSWORD = "correct horse battery"
__all__ = ["hub", "receiver", "watched", "web"]


def go(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()


def invite(hub: Hub) -> str:
    operator = Actor(ActorKind.OPERATOR, "olga")
    _, text = members.invite(operator, hub.partner, ANA, Role.DEVELOPER)
    return f"/invite/{text}"


def test_a_partner_comes_from_the_invitation_to_a_verified_delivery(
    hub: Hub, web: Web, receiver: Receiver, watched: Watched
) -> None:
    topic = hub.topic()
    hub.engine()
    link = invite(hub)
    assert [web.get(link)[0] for _ in range(2)] == [200, 200]  # as a mail scanner does

    page = watched.open(link)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account and join").click()
    expect(page.get_by_text("0 of 4 done.")).to_be_visible()

    see_a_record(page, hub, topic)
    key = make_a_key(page)
    assert web.get("/api/v1/topics", Authorization=f"Bearer {key}")[0] == 200
    expect(page.get_by_text(re.compile("^First request"))).to_be_visible(timeout=10_000)
    receive(page, topic, receiver)

    page.get_by_role("button", name="Check my receiver").click()
    expect(page.get_by_text("4 of 4.")).to_be_visible(timeout=20_000)
    go(page, "Start")
    expect(page.get_by_text("4 of 4 done.")).to_be_visible()
    assert receiver.taken
    assert watched.faults == []


def see_a_record(page: Page, hub: Hub, topic: str) -> None:
    page.get_by_role("link", name="Open the live console").click()
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_text("Connected. Nothing passed yet.")).to_be_visible(timeout=20_000)
    hub.produce(topic, [b'{"total":120}'])
    row = page.get_by_role("list", name="Records, newest first").get_by_role("listitem")
    expect(row).to_contain_text('{"total":120}', timeout=5_000)
    go(page, "Start")
    expect(page.get_by_text("1 of 4 done.")).to_be_visible()


def make_a_key(page: Page) -> str:
    page.get_by_role("link", name="Make a key").click()
    page.get_by_label("Name").fill("shop")
    page.get_by_role("button", name="Make the key").click()
    key = page.get_by_label("The key").inner_text()
    assert re.fullmatch(r"khk_live_\w{60}", key)
    return key


def receive(page: Page, topic: str, receiver: Receiver) -> None:
    go(page, "Endpoints")
    page.get_by_role("link", name="Add endpoint").click()
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_role("button", name="Check it").click()
    expect(page.get_by_text("HTTP: fine")).to_be_visible(timeout=15_000)
    page.get_by_role("button", name="Save endpoint").click()
    receiver.secret = page.get_by_label("The secret").inner_text()
    page.get_by_role("link", name="Subscribe it to a topic").click()
    page.get_by_label(topic).check()
    page.get_by_role("button", name="Save subscription").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.get_by_role("link", name="127.0.0.1").click()
    page.get_by_role("button", name="Send test record").click()
    expect(page.get_by_text("Your endpoint took it.")).to_be_visible(timeout=30_000)
