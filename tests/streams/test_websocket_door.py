"""``/ws`` of the web process as operators start it: who comes in, and how it ends for them."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from kafkahub import ids
from subscriptions.actions.keys import revoke_key
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import ApiKey, Grant
from tests import factories
from tests.streams.raw_websocket import Raw
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

DEADLINE_S = 15.0
OURS = Subprotocol("kafkahub.v1.json")
SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")


@pytest.fixture
def play(stage: Stage) -> Stage:
    """Return the stage; alice may write as well."""
    Grant.objects.create(
        partner=stage.alice.partner, topic=factories.topic(stage.topic), action="write"
    )
    stage.web.settle()
    return stage


@contextlib.contextmanager
def opened(play: Stage, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    """Give a connection of alice, greeted."""
    headers = {"Authorization": f"Bearer {options.pop('key', None) or record_key(play)[1]}"}
    with knocking(
        f"ws://127.0.0.1:{play.web.port}/ws{query}",
        subprotocols=[OURS],
        additional_headers=headers,
        **options,
    ) as line:
        assert hear(line)["type"] == "hello"
        yield line


@contextlib.contextmanager
def knocking(url: str, **options: Any) -> Iterator[ClientConnection]:
    """Give a connection; a process that has just started may need a moment to know rights."""
    with contextlib.ExitStack() as stack:
        until = time.monotonic() + DEADLINE_S
        line: ClientConnection | None = None
        while line is None:
            try:
                line = stack.enter_context(
                    connect(url, compression=None, close_timeout=1, **options)
                )
            except InvalidStatus as refused:
                if refused.response.status_code != 503 or time.monotonic() > until:
                    raise
                threading.Event().wait(0.1)
        yield line


def record_key(play: Stage) -> tuple[ApiKey, str]:
    """Return a key of alice's partner that reads and writes records, and its text."""
    scopes = frozenset({"topic:*:read", "topic:*:write"})
    return factories.api_key(play.alice.partner, ids.new("key"), scopes=scopes)


def hear(line: ClientConnection) -> dict[str, Any]:
    heard: dict[str, Any] = json.loads(line.recv(DEADLINE_S))
    return heard


def numbers(line: ClientConnection, count: int) -> list[int]:
    """Return the numbers in so many records."""
    found: list[int] = []
    while len(found) < count:
        heard = hear(line)
        if heard["type"] == "events":
            found += [event["value"]["n"] for event in heard["events"]]
    return found


def rest(line: ClientConnection) -> list[dict[str, Any]]:
    """Return everything until the server closes."""
    heard = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            heard.append(hear(line))
    return heard


def refusal(port: int, path: str = "/ws", **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and problem of a handshake that is refused."""
    with Raw(port, path, **headers) as client:
        assert client.headers["content-type"] == "application/problem+json", client.headers
        return client.status, json.loads(client.body())


def test_the_url_alone_is_enough_for_a_subscription(play: Stage) -> None:
    play.write(3)

    with opened(play, f"?topics={play.topic}&from=earliest") as line:
        told = hear(line)

        assert (told["type"], told["sub"], told["credit"]) == ("subscribed", "0", None)
        assert numbers(line, 3) == [0, 1, 2]


def test_our_subprotocol_is_selected_and_none_where_none_is_offered(play: Stage) -> None:
    authorization = f"Bearer {record_key(play)[1]}"
    with Raw(play.web.port, "/ws", Authorization=authorization) as plain:
        assert plain.status == 101
        assert "sec-websocket-protocol" not in plain.headers
        assert plain.headers["kafkahub-stream-id"].startswith("str_")
    with opened(play) as line:
        assert line.subprotocol == OURS


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/ws", {"Authorization": ""}, 401, "unauthenticated"),
        ("/ws", {"Authorization": "Bearer wrong"}, 401, "unauthenticated"),
        ("/ws", {"Sec_WebSocket_Protocol": "other.v1"}, 400, "invalid_parameter"),
        ("/ws?color=red", {}, 400, "unknown_parameter"),
        ("/ws?topics=a,a", {}, 400, "invalid_parameter"),
        ("/ws?ticket=kht_x", {}, 400, "two_credentials"),
        ("/ws", {"Origin": "https://evil.example"}, 403, "origin_not_allowed"),
        ("/ws", {"Origin": "null"}, 403, "origin_not_allowed"),
        ("/ws/echo", {}, 404, "not_found"),
    ],
)
def test_a_handshake_is_refused_before_the_upgrade(
    play: Stage, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    given = {"Authorization": f"Bearer {record_key(play)[1]}"} | headers

    told, problem = refusal(play.web.port, path, **given)

    assert (told, problem["code"]) == (status, code)


def test_a_request_without_an_upgrade_is_told_to_upgrade(play: Stage) -> None:
    with Raw(play.web.port, "/ws", Upgrade="", Connection="close") as client:
        assert client.status == 426
        assert client.headers["upgrade"] == "websocket"


def test_an_allowed_page_comes_in(play: Stage) -> None:
    play.alice.partner.allowed_origins = ["https://shop.example"]
    play.alice.partner.save(update_fields=["allowed_origins"])

    def try_once() -> bool:
        try:
            with opened(play, origin=Origin("https://shop.example")):
                return True
        except InvalidStatus:
            return False

    waiting = threading.Event()
    assert any(try_once() or waiting.wait(0.5) for _ in range(10))


def test_a_ticket_opens_its_topics_and_no_others(play: Stage) -> None:
    play.write(1)
    _, text = factories.ticket(play.alice, topics=(play.topic,), transports=["ws"])
    url = f"ws://127.0.0.1:{play.web.port}/ws?ticket={text}&topics={play.topic}&from=earliest"

    with connect(url, compression=None, close_timeout=1) as line:
        assert hear(line)["type"] == "hello"
        assert numbers(line, 1) == [0]
        line.send(json.dumps({"type": "produce", "id": "p", "topic": play.topic, "records": [{}]}))
        refused = hear(line)

    assert refused["code"] in {"insufficient_scope", "topic_not_found"}


def test_a_revoked_key_ends_its_connection_for_good(play: Stage) -> None:
    row, key = record_key(play)
    with opened(play, f"?topics={play.topic}", key=key) as line:
        assert hear(line)["type"] == "subscribed"

        revoke_key(SYSTEM, ApiKey.objects.get(pk=row.pk))
        last = rest(line)[-1]

        assert (last["reason"], last["action"], line.protocol.close_code) == (
            "revoked",
            "stop",
            4001,
        )


def test_a_grant_that_is_gone_ends_the_connection_for_good(play: Stage) -> None:
    with opened(play, f"?topics={play.topic}") as line:
        assert hear(line)["type"] == "subscribed"

        Grant.objects.filter(partner=play.alice.partner, action="read").delete()
        last = rest(line)[-1]

        assert (last["reason"], line.protocol.close_code) == ("revoked", 4001)


def test_the_control_api_ends_it_and_says_how_it_stands(play: Stage) -> None:
    with opened(play, f"?topics={play.topic}") as line:
        hear(line)
        stream = line.response.headers["KafkaHub-Stream-Id"] if line.response else ""

        play.close(stream, action="reconnect")
        last = rest(line)[-1]

    assert (last["reason"], last["code"]) == ("moved", 4203)


def test_a_deployment_loses_and_doubles_nothing(play: Stage) -> None:
    seen: list[int] = []
    cursor = ""
    with opened(play, f"?topics={play.topic}&from=earliest") as line:
        hear(line)
        play.write(300)
        stopping = threading.Thread(target=play.web.stop)
        stopping.start()
        for heard in rest(line):
            if heard["type"] == "events":
                seen += [event["value"]["n"] for event in heard["events"]]
            if heard["type"] == "closing":
                cursor, reason = heard["cursors"]["0"], heard["reason"]
        assert (reason, line.protocol.close_code) == ("drain", 4200)
        stopping.join()
    play.write(300)
    play.web.start()

    with opened(play, f"?topics={play.topic}&last_event_id={cursor}") as line:
        seen += numbers(line, 600 - len(seen))

    assert seen == list(range(600))


def test_settings_rotate_connections_and_open_the_echo(play: Stage) -> None:
    with play.web.changed(stream_max_age="2", ws_echo="true"):
        with knocking(f"ws://127.0.0.1:{play.web.port}/ws/echo") as echo:
            echo.send("hello")
            assert echo.recv(DEADLINE_S) == "hello"
        with opened(play, f"?topics={play.topic}") as line:
            last = rest(line)[-1]

    assert (last["reason"], line.protocol.close_code) == ("rotation", 4201)


def test_a_cut_connection_is_noticed(play: Stage) -> None:
    with opened(play, f"?topics={play.topic}") as line:
        hear(line)
        line.socket.shutdown(socket.SHUT_RDWR)

    waiting = threading.Event()
    assert any(
        not json.loads(play.alice.get("/streams").content)["data"] or waiting.wait(0.5)
        for _ in range(40)
    )
