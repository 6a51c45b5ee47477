"""The helper for pages, in Node: its parser at every cut; how it waits, resumes and gives up."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

NODE = Path(__file__).parent / "node"
DEADLINE_S = 60

pytestmark = pytest.mark.node


def parse(text: bytes) -> dict[str, Any]:
    """Return what the parser makes of a text, and the cuts at which it makes something else."""
    done = subprocess.run(
        ["node", NODE / "parser.mjs"],
        input=text,
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_a_stream_is_read_the_same_wherever_it_is_cut(line_end: str) -> None:
    lines = [
        "\ufeffretry: 2713",
        "id: AfK3",
        "event: heartbeat",
        'data: {"a":1}',
        "",
        "data: ü€😀\u2028",
        "data:second",
        "data",
        "",
        ": a comment",
        "id",
        "data:  two spaces",
        "",
        "event: cut",
        "",
        "data: never ended",
    ]

    found = parse(line_end.join(lines).encode())

    assert found["cuts"] == []
    assert found["events"] == [
        {"event": "heartbeat", "data": '{"a":1}', "id": "AfK3"},
        {"event": "message", "data": "ü€😀\u2028\nsecond\n", "id": None},
        {"event": "message", "data": " two spaces", "id": ""},
    ]


def frame(data: object, *, event: str = "", token: str = "") -> bytes:
    lines = [f"id: {token}"] * bool(token) + [f"event: {event}"] * bool(event)
    return "\n".join([*lines, f"data: {json.dumps(data)}", "", ""]).encode()


HELLO = frame({"state": "live", "heartbeat_ms": 15_000}, event="heartbeat", token="C0")

Answer = Callable[[BaseHTTPRequestHandler], None]


def stream(*frames: bytes) -> Answer:
    """Return an answer of these frames, after which the connection ends."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.end_headers()
        request.wfile.write(b"".join(frames))

    return answer


def refusal(status: int, code: str = "", **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"code": code, "detail": "no"}).encode() if status != 204 else b""
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


@dataclass
class Hub:
    """A server that plays a hub: gives its answers one after the other, keeps what it was asked."""

    answers: list[Answer]
    asked: list[tuple[dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def hub(*answers: Answer) -> Iterator[Hub]:
    playing = Hub(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            playing.asked.append((parse_qs(urlsplit(self.path).query), dict(self.headers)))
            playing.answers.pop(0)(self)

        def log_message(self, *_: object) -> None:
            """Say nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        playing.url = f"http://127.0.0.1:{server.server_port}"
        yield playing
        server.shutdown()
        thread.join()


def run(playing: Hub, **options: object) -> dict[str, list[Any]]:
    """Return what the helper told, by kind."""
    asked = {"url": playing.url, "topics": ["orders"], **options}
    done = subprocess.run(
        ["node", NODE / "helper.mjs", json.dumps(asked)],
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    told: dict[str, list[Any]] = {}
    for line in done.stdout.splitlines():
        said = json.loads(line)
        told.setdefault(said["kind"], []).append(said["value"])
    return told


@pytest.mark.parametrize("loop", [False, True])
def test_it_resumes_behind_the_last_batch_whose_handlers_ran(*, loop: bool) -> None:
    first = stream(HELLO, frame({"n": 1}), frame({"n": 2}, token="C2"), frame({"n": 3}))
    with hub(first, stream(HELLO, frame({"n": 3}), frame({"n": 4}, token="C4"))) as playing:
        told = run(playing, ticket="kht_x", enough=5, loop=loop)
        # The last frame of the first connection had no id, so it comes again and only it.
        assert [record["n"] for record in told["record"]][:5] == [1, 2, 3, 3, 4]

    assert playing.asked[1][0]["last_event_id"] == ["C2"]
    assert playing.asked[1][0]["ticket"] == ["kht_x"]
    assert playing.asked[0][0]["errors"] == ["http"]


def test_a_token_and_its_cursor_travel_in_headers() -> None:
    closing = frame({"reason": "drain", "action": "reconnect", "retry_ms": 1}, event="closing")
    stop = frame({"reason": "kicked", "action": "stop", "cursor": "C9"}, event="closing")
    with hub(stream(HELLO, closing), stream(stop)) as playing:
        told = run(playing, token="khk_x", storage={})

    query, headers = playing.asked[1]
    assert "last_event_id" not in query
    assert (headers["Authorization"], headers["Last-Event-ID"]) == ("Bearer khk_x", "C0")
    assert told["closed"] == [{"code": "kicked", "status": None, "cursor": "C9"}]
    assert told["kept"][0]["saved"] == ["C9"]


def test_a_ticket_that_is_over_is_asked_for_anew_once() -> None:
    with hub(refusal(401, "key_expired"), stream(HELLO, frame({"n": 1}, token="C1"))) as playing:
        told = run(playing, tickets=["kht_old", "kht_new"], enough=1)

    assert [query["ticket"] for query, _ in playing.asked] == [["kht_old"], ["kht_new"]]
    assert told["kept"][0]["asked"] == 2


def test_a_second_401_in_a_row_ends_it() -> None:
    with hub(refusal(401), refusal(401, "unauthenticated")) as playing:
        told = run(playing, tickets=["kht_a", "kht_b"])

    assert told["closed"] == [{"code": "unauthenticated", "status": 401, "cursor": None}]


@pytest.mark.parametrize("status", [204, 400, 403, 404])
def test_what_will_not_change_ends_it(status: int) -> None:
    with hub(refusal(status, "some_code")) as playing:
        told = run(playing, ticket="kht_x")

    code = "stopped" if status == 204 else "some_code"
    assert told["closed"] == [{"code": code, "status": status, "cursor": None}]
    assert told["state"][-1] == "closed"
    assert len(playing.asked) == 1


def test_what_may_change_is_waited_for() -> None:
    busy = refusal(503, "unavailable", Retry_After="1")
    with hub(busy, busy, stream(HELLO, frame({"n": 1}, token="C1"))) as playing:
        told = run(playing, ticket="kht_x", enough=1)

    assert len(playing.asked) == 3
    assert told["state"] == ["connecting", "waiting", "live", "closed"]


def test_a_gap_is_told_and_the_stream_goes_on_behind_it() -> None:
    gap = frame({"reason": "retention", "lost": 7}, event="gap", token="C7")
    with hub(stream(HELLO, gap, frame({"n": 8}, token="C8"))) as playing:
        told = run(playing, ticket="kht_x", enough=1)

    assert told["gap"][0]["lost"] == 7
    assert told["record"] == [{"n": 8}]


def test_it_goes_on_where_the_last_visit_ended() -> None:
    with hub(stream(HELLO, frame({"n": 1}, token="C1"))) as playing:
        run(playing, ticket="kht_x", enough=1, storageKey="mine", storage={"mine": "C-before"})

    assert playing.asked[0][0]["last_event_id"] == ["C-before"]
