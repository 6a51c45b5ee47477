"""The dispatcher: ids, access lines, whose address is believed, who sees numbers."""

import asyncio
import json
from ipaddress import ip_network
from typing import Any

import pytest
from structlog.testing import capture_logs

from kafkahub import dispatch, hosts
from kafkahub.observability import health, logs

PROXY = (ip_network("10.0.0.0/24"),)


class Django:
    """Stands where Django stands: remembers the scope and answers."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.scope: dict[str, Any] = {}
        self.request_id = ""
        self.fault = fault

    async def __call__(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:
        self.scope = scope
        self.request_id = logs.request_id()
        if self.fault:
            raise self.fault
        headers = [(b"Content-Length", b"4"), (b"X-Request-Id", b"django's")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"made"})


class Sent:
    """Collects an answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.names: list[bytes] = []
        self.body = b""

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
            self.names = [name.lower() for name, _ in message["headers"]]
        self.body += message.get("body", b"")


def ask(
    path: str = "/api/v1/topics",
    *,
    django: Django | None = None,
    client: str = "93.184.216.34",
    headers: dict[str, str] | None = None,
    query: bytes = b"",
) -> Sent:
    watch = health.Watch({"postgres": health.Probe(lambda: None, max_age_s=10)})
    watch.look("postgres")
    application = dispatch.Application(
        django or Django(), watch, trusted=PROXY, public_host="hub.example.com"
    )
    given = {"host": "hub.example.com"} | (headers or {})
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "client": (client, 4711),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    sent = Sent()
    asyncio.run(application(scope, _nothing, sent))
    return sent


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_every_answer_carries_the_request_id_that_django_and_the_log_see() -> None:
    django = Django()
    with capture_logs(processors=[]) as lines:
        sent = ask(django=django)

    request_id = sent.headers[b"x-request-id"].decode()
    assert request_id.startswith("req_")
    assert sent.names.count(b"x-request-id") == 1
    assert django.request_id == request_id
    assert dict(django.scope["headers"])[b"x-request-id"].decode() == request_id
    assert [line["event"] for line in lines] == ["request.answered"]


def test_a_callers_own_request_id_is_taken_over() -> None:
    assert ask(headers={"x-request-id": "theirs-1"}).headers[b"x-request-id"] == b"theirs-1"


def test_one_request_does_not_leave_its_id_to_the_next() -> None:
    ask()

    assert logs.request_id() == ""


def test_the_access_line_has_what_happened_and_no_query_string() -> None:
    with capture_logs() as lines:
        ask(query=b"token=sesame")

    (line,) = lines
    assert line["status"] == 201
    assert line["path"] == "/api/v1/topics"
    assert line["body_bytes"] == 4
    assert line["address"] == "93.184.216.34"
    assert "sesame" not in str(line)


def test_a_request_that_breaks_django_has_its_access_line_too() -> None:
    with capture_logs() as lines, pytest.raises(ZeroDivisionError):
        ask(django=Django(ZeroDivisionError()))

    assert lines[0]["status"] == 0


def test_a_url_that_is_too_long_never_reaches_django() -> None:
    django = Django()

    assert ask(django=django, query=b"x" * dispatch.MAX_URL_BYTES).status == 414
    assert django.scope == {}


def test_liveness_and_readiness_are_public_but_parts_are_not() -> None:
    assert ask("/livez").status == 200
    assert json.loads(ask("/readyz").body) == {"status": "ready"}


def test_a_caller_on_this_machine_sees_the_parts() -> None:
    assert "parts" in json.loads(ask("/readyz", client="127.0.0.1").body)


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("10.9.9.9", {"host": "10.1.2.3:8000"}, 200),
        ("10.9.9.9", {"host": "hub.example.com"}, 404),
        ("93.184.216.34", {"host": "10.1.2.3:8000"}, 404),
        ("10.0.0.1", {"host": "10.1.2.3", "x-forwarded-for": "93.184.216.34"}, 404),
        ("127.0.0.1", {"forwarded": "for=93.184.216.34"}, 404),
    ],
)
def test_numbers_are_for_callers_that_came_past_the_public_door(
    client: str, headers: dict[str, str], status: int
) -> None:
    assert ask("/metrics", client=client, headers=headers).status == status


@pytest.mark.parametrize(
    ("client", "forwarded", "believed"),
    [
        ("93.184.216.34", "203.0.113.9", "93.184.216.34"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "junk", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, junk", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_only_a_trusted_proxy_says_who_called(client: str, forwarded: str, believed: str) -> None:
    django = Django()
    ask(django=django, client=client, headers={"x-forwarded-for": forwarded})

    assert django.scope["client"][0] == believed


@pytest.mark.parametrize(("client", "kept"), [("10.0.0.1", True), ("93.184.216.34", False)])
def test_only_a_trusted_proxy_says_that_the_request_was_encrypted(client: str, kept: bool) -> None:
    django = Django()
    ask(django=django, client=client, headers={"x-forwarded-proto": "https"})

    assert (b"x-forwarded-proto" in dict(django.scope["headers"])) is kept


def test_the_watch_lives_as_long_as_the_process() -> None:
    watch = health.Watch({})
    application = dispatch.Application(Django(), watch, trusted=(), public_host="")
    told: list[str] = []

    async def send(message: Any) -> None:
        told.append(message["type"])

    asyncio.run(application({"type": "lifespan"}, _nothing, send))

    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert watch.is_draining


def test_a_websocket_is_refused() -> None:
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    application = dispatch.Application(Django(), health.Watch({}), trusted=(), public_host="")
    asyncio.run(application({"type": "websocket"}, _nothing, send))

    assert told == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize(
    ("named", "is_ours"),
    [
        ([b"hub.example.com"], True),
        ([b"HUB.example.com:8443"], True),
        ([b"rest.example.com"], True),
        ([b"evil.example"], False),
        ([b"hub.example.com@evil.example"], False),
        ([b"hub.example.com", b"hub.example.com"], False),
        ([b""], False),
        ([], False),
    ],
)
def test_a_request_names_one_host_of_ours(named: list[bytes], is_ours: bool) -> None:
    judge = hosts.ours(["hub.example.com", "rest.example.com"])
    headers = [(b"host", value) for value in named]

    assert hosts.is_addressed({"headers": headers, "http_version": "1.1"}, judge) is is_ours
    assert not hosts.is_addressed({"headers": headers, "http_version": "2.0"}, judge)


@pytest.mark.parametrize(
    ("target", "is_unclear"),
    [
        (b"/topics", False),
        (b"*", False),
        (b"http://hub.example.com/topics", False),
        (b"https://HUB.example.com?x=1", False),
        (b"http://evil.example/topics", True),
        (b"http://hub.example.com@evil.example/", True),
        (b"hub.example.com:443", True),
        (b"file:///etc/passwd", True),
    ],
)
def test_a_target_names_no_other_host(target: bytes, is_unclear: bool) -> None:
    assert hosts.is_unclear(target, [(b"host", b"hub.example.com")]) is is_unclear


@pytest.mark.parametrize(
    ("encoding", "is_unclear"), [(b"Chunked", False), (b"xchunked", True), (b"chunked, gzip", True)]
)
def test_a_body_tells_where_it_ends(encoding: bytes, is_unclear: bool) -> None:
    headers = [(b"host", b"hub.example.com"), (b"transfer-encoding", encoding)]

    assert hosts.is_unclear(b"/topics", headers) is is_unclear
