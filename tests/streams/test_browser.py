"""Pages in Debian's Chromium, with its own EventSource and with the helper, on the real product."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from kafkahub import clock
from subscriptions.models import Partner, StreamTicket
from tests import factories
from tests.e2e.conftest import ARGUMENTS, CHROMIUM
from tests.e2e.watched import Watched
from tests.streams.pages import WATCH, shop
from tests.streams.web import Stage

pytestmark = [
    pytest.mark.browser,
    pytest.mark.kafka,
    pytest.mark.django_db(transaction=True),
]

SECONDS = 1_000  # of Playwright's deadlines, in ms
ALL = 1_000
"""Records of a run that is restarted in its middle."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, which Django takes for an async caller.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop_port() -> Iterator[int]:
    with shop() as port:
        yield port


@pytest.fixture
def tabs(chromium: Browser) -> Iterator[BrowserContext]:
    """Yield a browser window without a past; its pages are closed with the test."""
    with chromium.new_context() as window:
        yield window


@pytest.fixture
def page(tabs: BrowserContext, stage: Stage, shop_port: int) -> Page:
    """Return an empty page of an origin that the partner allows."""
    origin = f"http://127.0.0.1:{shop_port}"
    Partner.objects.filter(pk=stage.alice.partner.pk).update(allowed_origins=[origin])
    opened = tabs.new_page()
    opened.goto(f"{origin}/")
    return opened


def watch(page: Page, url: str, **options: object) -> None:
    """Open a stream with the page's own EventSource, and wait for its opening frame."""
    page.evaluate(f"([url, options]) => ({WATCH})(url, options)", [url, options])
    page.wait_for_function("seen.beats.length > 0", timeout=20 * SECONDS)


def seen(page: Page, name: str) -> list[Any]:
    found: list[Any] = page.evaluate(f"seen.{name}")
    return found


def wait_for_records(page: Page, count: int, name: str = "seen") -> None:
    page.wait_for_function(
        f"new Set({name}.records).size >= {count}", timeout=60 * SECONDS, polling=100
    )


def keep_writing(stage: Stage, until: int) -> threading.Thread:
    """Write on in the background, some records at a time."""

    def write() -> None:
        while stage.written < until:
            stage.write(10)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_records_arrive_live_in_a_page_of_an_allowed_origin_without_a_preflight(
    stage: Stage, page: Page
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))

    watch(page, stage.web.url + stage.path())
    stage.write(3)
    wait_for_records(page, 3)

    assert seen(page, "records") == [0, 1, 2]
    assert seen(page, "beats")[0]["state"] == "live"
    assert asked == ["GET"]


def test_a_deployment_mid_stream_loses_and_doubles_nothing(stage: Stage, page: Page) -> None:
    watch(page, stage.web.url + stage.path())
    stage.write(300)
    wait_for_records(page, 300)
    writing = keep_writing(stage, until=ALL)

    stage.web.stop()
    stage.web.start()
    writing.join()
    wait_for_records(page, ALL)

    assert seen(page, "records") == list(range(ALL))
    assert seen(page, "closings")[0]["reason"] == "drain"
    assert "closed" not in seen(page, "states")


def test_a_lost_machine_loses_no_record(stage: Stage, page: Page) -> None:
    watch(page, stage.web.url + stage.path())
    stage.write(300)
    wait_for_records(page, 300)
    writing = keep_writing(stage, until=ALL)

    stage.web.kill()
    writing.join()
    stage.web.start()
    wait_for_records(page, ALL)

    # Records of a batch whose end was cut off come again; the order of the first ones is right.
    records = seen(page, "records")
    assert list(dict.fromkeys(records)) == list(range(ALL))
    assert "closed" not in seen(page, "states")


def test_an_idle_stream_moves_its_id_by_heartbeats(stage: Stage, page: Page) -> None:
    query = urlencode({"filter": '{"value":{"n":-1}}'})
    watch(page, f"{stage.web.url}{stage.path()}&{query}")

    stage.write(20)
    page.wait_for_function("seen.beats.length > 1", timeout=20 * SECONDS)

    first, second = seen(page, "ids")[:2]
    assert first != second
    assert seen(page, "records") == []


def test_kafka_away_keeps_a_browsers_stream_alive_where_a_plain_503_would_kill_it(
    stage: Stage, page: Page, shop_port: int
) -> None:
    url = stage.web.url + stage.path()

    with stage.web.changed(kafka_bootstrap="127.0.0.1:1"):
        page.evaluate(f"(url) => ({WATCH})(url)", url)
        page.wait_for_function("seen.closings.length > 0", timeout=30 * SECONDS)
        page.wait_for_function("seen.states.at(-1) === 'connecting'", timeout=30 * SECONDS)
        told = seen(page, "closings")[0]
        hard = page.evaluate("async (url) => (await fetch(url)).status", f"{url}&errors=http")
    page.evaluate(f"(url) => ({WATCH})(url)", f"http://127.0.0.1:{shop_port}/busy")
    page.wait_for_function("seen.states.includes('closed')", timeout=30 * SECONDS)

    assert (told["reason"], told["action"]) == ("unavailable", "backoff")
    assert hard == 503


def test_a_page_that_comes_while_nobody_is_known_yet_comes_again(stage: Stage, page: Page) -> None:
    with stage.web.changed(database_url="postgresql://nobody@127.0.0.1:1/none"):
        page.evaluate(f"(url) => ({WATCH})(url)", stage.web.url + stage.path())
        page.wait_for_function("seen.closings.length > 0", timeout=30 * SECONDS)

        assert seen(page, "closings")[0]["reason"] == "unavailable"
        assert "closed" not in seen(page, "states")


def test_a_stream_that_opens_while_the_server_drains_lives_on(
    stage: Stage, page: Page, tabs: BrowserContext
) -> None:
    other = tabs.new_page()
    other.goto(page.url)
    with stage.web.changed(stream_drain="8"):
        watch(page, stage.web.url + stage.path())
        stopping = threading.Thread(target=stage.web.stop)

        stopping.start()
        page.wait_for_function("seen.closings.length > 0", timeout=30 * SECONDS)
        other.evaluate(f"(url) => ({WATCH})(url)", stage.web.url + stage.path())
        other.wait_for_function("seen.states.length > 0", timeout=30 * SECONDS)
        stopping.join()
    other.wait_for_function("seen.beats.length > 0", timeout=60 * SECONDS)
    stage.write(1)
    wait_for_records(other, 1)

    assert "closed" not in seen(other, "states")


def test_204_stops_a_browser(stage: Stage, page: Page) -> None:
    watch(page, stage.web.url + stage.path())
    stream = seen(page, "beats")[0]["stream"]

    stage.close(stream)
    page.wait_for_function("seen.closings.length > 0", timeout=10 * SECONDS)
    final_id = seen(page, "ids")[-1]
    # The browser would ask in 60 s; the same request now gets the same answer.
    again = f"{stage.web.url}{stage.path()}&{urlencode({'last_event_id': final_id})}"
    page.evaluate(f"(url) => ({WATCH})(url)", again)
    page.wait_for_function("seen.states.includes('closed')", timeout=30 * SECONDS)

    assert final_id == "Aw"
    assert seen(page, "beats") == []


def test_a_revoked_ticket_ends_its_stream_within_seconds(stage: Stage, page: Page) -> None:
    row, text = factories.ticket(stage.alice, topics=(stage.topic,))
    watch(page, f"{stage.web.url}/streams/{stage.topic}?ticket={text}")

    assert stage.alice.delete(f"/stream-tickets/{row.pk}").status_code == 204
    page.wait_for_function("seen.closings.length > 0", timeout=5 * SECONDS)
    stage.write(1)

    told = seen(page, "closings")[0]
    assert (told["reason"], told["action"]) == ("revoked", "stop")
    assert seen(page, "records") == []


def test_one_ticket_opens_again_and_again_once_it_was_opened_in_time(
    stage: Stage, page: Page
) -> None:
    row, text = factories.ticket(stage.alice, topics=(stage.topic,))
    watch(page, f"{stage.web.url}/streams/{stage.topic}?ticket={text}")
    late = clock.now() - timedelta(seconds=1)
    StreamTicket.objects.filter(pk=row.pk).update(open_before=late)

    for round_number in range(3):
        opened = [beat["stream"] for beat in seen(page, "beats") if "stream" in beat]
        stage.close(opened[-1], "reconnect")
        page.wait_for_function(
            f"seen.beats.filter((beat) => beat.stream).length > {len(opened)}",
            timeout=20 * SECONDS,
        )
        stage.write(2)
        wait_for_records(page, 2 * (round_number + 1))

    assert seen(page, "records") == list(range(6))


def test_one_stream_too_many_takes_the_place_of_the_oldest(
    stage: Stage, page: Page, tabs: BrowserContext
) -> None:
    _, text = factories.ticket(stage.alice, topics=(stage.topic,), max_connections=1)
    url = f"{stage.web.url}/streams/{stage.topic}?ticket={text}"
    watch(page, url)
    newer = tabs.new_page()
    newer.goto(page.url)

    watch(newer, url)
    page.wait_for_function("seen.closings.length > 0", timeout=10 * SECONDS)
    stage.write(1)
    wait_for_records(newer, 1)

    assert seen(page, "closings")[0]["reason"] == "taken_over"
    assert seen(page, "records") == []


def exchange(page: Page, stage: Stage, text: str) -> int | str:
    """Exchange a ticket for a cookie from within the page; return the status, or the failure."""
    status: int | str = page.evaluate(
        """async ([url, ticket]) => {
          const headers = { Authorization: `Bearer ${ticket}` };
          const options = { method: "POST", headers, credentials: "include" };
          return fetch(url, options).then((answer) => answer.status, (error) => error.name);
        }""",
        [f"{stage.web.url}/api/v1/stream-tickets/cookie", text],
    )
    return status


def test_a_cookie_opens_its_own_topic_set_and_nothing_else(stage: Stage, page: Page) -> None:
    origin = page.url.rstrip("/")
    factories.grant(stage.alice.partner, "other")
    _, text = factories.ticket(stage.alice, topics=(stage.topic,), origin=origin)

    status = exchange(page, stage, text)
    watch(page, f"{stage.web.url}/streams/{stage.topic}", withCredentials=True)
    stage.write(1)
    wait_for_records(page, 1)
    page.evaluate(
        f"(url) => ({WATCH})(url, {{ withCredentials: true }})", f"{stage.web.url}/streams/other"
    )
    page.wait_for_function("seen.states.includes('closed')", timeout=30 * SECONDS)

    assert status == 204
    assert page.evaluate("document.cookie") == ""


@pytest.mark.usefixtures("page")
def test_pages_of_other_origins_get_nothing_and_cannot_read_why(
    stage: Stage, tabs: BrowserContext, shop_port: int
) -> None:
    foreign = tabs.new_page()
    foreign.goto(f"http://localhost:{shop_port}/")
    url = stage.web.url + stage.path()

    fetched = foreign.evaluate("(url) => fetch(url).then(() => 'read', (e) => e.name)", url)
    foreign.evaluate(f"(url) => ({WATCH})(url)", url)
    foreign.wait_for_function("seen.states.includes('closed')", timeout=30 * SECONDS)
    _, text = factories.ticket(stage.alice, topics=(stage.topic,))

    assert fetched == "TypeError"
    assert seen(foreign, "beats") == []
    assert exchange(foreign, stage, text) == "TypeError"


HELPER = """
async ([base, topic, tickets, options]) => {
  const { openStream } = await import(`${base}/static/kafkahub-stream.js`);
  const told = { records: [], states: [], asked: 0, error: null };
  const stream = openStream({
    url: base,
    topics: [topic],
    ticket: async () => tickets[Math.min(told.asked++, tickets.length - 1)],
    onMessage: (record) => { told.records.push(record.value.n); },
    onState: (state) => { told.states.push(state); },
    ...options,
  });
  stream.closed.then((error) => { told.error = error?.code ?? "none"; });
  window.told = told;
}
"""


def help_open(page: Page, stage: Stage, tickets: list[str], **options: object) -> None:
    page.evaluate(HELPER, [stage.web.url, stage.topic, tickets, options])


def test_the_helper_fetches_a_new_ticket_and_goes_on_without_a_hole(
    stage: Stage, page: Page
) -> None:
    row, first = factories.ticket(stage.alice, topics=(stage.topic,))
    _, second = factories.ticket(stage.alice, topics=(stage.topic,))
    help_open(page, stage, [first, second])
    page.wait_for_function("told.states.includes('live')", timeout=20 * SECONDS)
    stage.write(5)
    wait_for_records(page, 5, "told")

    stage.web.stop()
    StreamTicket.objects.filter(pk=row.pk).update(expires_at=clock.now())
    stage.write(5)
    stage.web.start()
    wait_for_records(page, 10, "told")

    assert page.evaluate("told.records") == list(range(10))
    assert page.evaluate("told.asked") == 2


def test_tabs_share_one_connection_which_moves_when_its_tab_is_closed(
    stage: Stage, tabs: BrowserContext, page: Page
) -> None:
    texts = [factories.ticket(stage.alice, topics=(stage.topic,))[1] for _ in range(2)]
    follower = tabs.new_page()
    follower.goto(page.url)
    help_open(page, stage, [texts[0]], share=True)
    page.wait_for_function("told.states.includes('live')", timeout=20 * SECONDS)
    help_open(follower, stage, [texts[1]], share=True)
    stage.write(5)
    wait_for_records(page, 5, "told")
    wait_for_records(follower, 5, "told")
    shared = follower.evaluate("told.asked")

    page.close()
    stage.write(5)
    wait_for_records(follower, 10, "told")

    assert shared == 0
    assert follower.evaluate("told.records") == list(range(10))


def test_the_live_page_shows_records_and_breaks_no_rule_of_ours(
    stage: Stage, tabs: BrowserContext
) -> None:
    watched = Watched(tabs.new_page(), stage.web.url)
    page = watched.open("/docs/streams/live")

    page.get_by_label("Stream address").fill(stage.web.url + stage.path())
    page.get_by_role("button", name="Open").click()
    page.get_by_text("State: live").wait_for(timeout=20 * SECONDS)
    stage.write(2)
    page.get_by_text("2 records").wait_for(timeout=20 * SECONDS)
    page.get_by_role("button", name="Close").click()
    page.get_by_text("State: closed").wait_for()

    assert page.locator("#records li").count() == 2
    assert watched.faults == []
