"""The whole product with a browser before it: fixtures for tests that need more than pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import sync_playwright

from tests.e2e.conftest import ARGUMENTS, CHROMIUM
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.watched import Watched
from tests.flows import conftest as flows
from tests.flows.conftest import Hub
from tests.streams.web import Web, running

hub = flows.hub


@pytest.fixture
def web(hub: Hub, tmp_path: Path) -> Iterator[Web]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def watched(web: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    # Playwright keeps an event loop in this thread, which Django takes for an async caller.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield Watched(chromium.new_page(), web.url)
        chromium.close()
        connections.close_all()  # made while Playwright's event loop ran
