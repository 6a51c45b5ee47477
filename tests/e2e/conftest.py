"""A real browser that reports whatever a page should not do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Browser, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.e2e.watched import Watched

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture
def browser(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """Yield Debian's Chromium; it ends before the server and the database do."""
    # Playwright keeps an event loop in this thread, which Django takes for an async caller.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        settle(chromium)
        chromium.close()


def settle(browser: Browser) -> None:
    """Wait until no page asks for anything, and give back what this loop's tests connected to.

    A request that is cut keeps its database session, and so does a connection that was opened
    while Playwright's event loop ran: Django has another set of them for every loop.
    """
    for context in browser.contexts:
        for page in context.pages:
            page.wait_for_load_state("networkidle")
    connections.close_all()


@pytest.fixture
def watched(browser: Browser, live_server: LiveServer) -> Watched:
    """Return a fresh page that watches itself."""
    return Watched(browser.new_page(), live_server.url)
