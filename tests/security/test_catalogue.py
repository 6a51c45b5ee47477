"""The catalogue of bad input at the HTTP doors: one table, its rows by door, asked of one process.

Each row says what is sent and what it gets. What every answer must be beside that is asserted of
all: the door's own form, never HTML, never a fault of ours, and nothing secret.
"""

import gzip
import json
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from subscriptions.models import Grant
from tests import factories
from tests.conformance.client import V2_BINARY, V2_JSON, Answer, Client
from tests.conftest import MakeTopic
from tests.streams.web import Web, running, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

JSON = "application/json"
STREAM = {"Accept": "text/event-stream"}
READ, WRITE = "/api/v1/topics/{t}/records", "/api/v1/topics/{t}/records"
V2_WRITE, V3_WRITE = "/topics/{t}", "/v3/clusters/kafkahub/topics/{t}/records"
ENDPOINTS, LISTEN = "/api/v1/endpoints", "/streams/{t}"
NUL = b'{"name": "a\\u0000b", "url": "https://192.0.3.7/in"}'
DOUBLE = b'{"records":[{"value":1}],"records":[{"value":2}]}'
DEEP = b"[" * 65 + b"]" * 65
ABYSS = b"[" * 100_000
Expected = int | tuple[int, str | int]


@dataclass(frozen=True)
class Row:
    """What is sent, by its door, and what it gets: a status, or that and the code.

    path  ``{t}`` is a topic that may be read and written, ``{r}`` one that may be read,
          ``{f}`` another partner's, ``{k}`` the caller's key
    """

    about: str
    method: str
    path: str
    expected: Expected
    body: bytes | None = None
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_bare: bool = False

    @property
    def name(self) -> str:
        return f"{self.about}: {self.method} {self.path[:60]}"


def post(about: str, path: str, body: bytes, expected: Expected, kind: str = JSON) -> Row:
    return Row(about, "POST", path, expected, body, kind)


def get(about: str, path: str, expected: Expected, **headers: str) -> Row:
    return Row(about, "GET", path, expected, headers=headers)


def v2(value: bytes) -> bytes:
    return b'{"records":[{"value":%s}]}' % value


def v3(value: bytes) -> bytes:
    return b'{"value":{"type":"JSON","data":%s}}' % value


def strict_json() -> Iterator[Row]:
    """JSON that is not: at every door that takes it, in its own form."""
    broken = {
        "malformed": b"{",
        "empty": b"",
        "text after the end": b"{} x",
        "NaN": b"NaN",
        "not UTF-8": b'{"name": "\xff"}',
        "UTF-16": '{"name": 1}'.encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf{}",
        "an abyss": ABYSS,
    }
    for about, body in broken.items():
        code = "too_deep" if body is ABYSS else "invalid_json"
        yield post(about, ENDPOINTS, body, (400, code))
        yield post(about, WRITE, body, (400, code))
        yield post(about, f"{WRITE}:batch", body, (400, "invalid_json"))
        yield post(about, V2_WRITE, body, (400, 400), V2_JSON)
    # v3 answers one record after the other in a stream that has begun: the code is in its body.
    yield post("malformed", V3_WRITE, b"{", (400, 400))
    yield post("not UTF-8", V3_WRITE, v3(b'"\xff"'), (200, 400))
    yield post("too deep", V3_WRITE, v3(DEEP), (200, 42206))
    yield post("an abyss", V3_WRITE, ABYSS, (400, 400))
    yield post("NUL", ENDPOINTS, NUL, 400)
    yield post("half a surrogate", ENDPOINTS, b'{"name": "\\ud800"}', 400)
    yield post("int beyond 64 bit", ENDPOINTS, b'{"timeout_ms": 9223372036854775808}', 400)
    yield post("5,000 digits", ENDPOINTS, b'{"timeout_ms": ' + b"9" * 5_000 + b"}", 400)
    yield post("too deep", ENDPOINTS, b'{"headers": %s}' % DEEP, (400, "too_deep"))
    yield post("too deep", WRITE, DEEP, (400, "too_deep"))
    yield post("too deep", V2_WRITE, v2(DEEP), (400, 400), V2_JSON)
    yield post("double key", ENDPOINTS, b'{"url": "a", "url": "b"}', (400, "duplicate_key"))
    yield post("double key", V2_WRITE, DOUBLE, (400, 400), V2_JSON)
    yield post("double key", f"{WRITE}:batch", b'{"a":1,"a":2}', (400, "duplicate_key"))
    yield post("unknown member", ENDPOINTS, b'{"nonsense": 1}', 400)
    yield post("unknown member", V2_WRITE, b'{"records":[{"valur":1}]}', (422, 422), V2_JSON)
    yield post("unknown member", V3_WRITE, b'{"nonsense": 1}', (200, 422))
    yield post("read-only member", ENDPOINTS, b'{"id": "ep_x"}', 400)
    yield post("array for object", ENDPOINTS, b"[]", (400, "validation_failed"))
    yield post("array for object", V2_WRITE, b"[]", (400, 400), V2_JSON)
    yield post("array for object", V3_WRITE, b"[]", (400, 400))


def http() -> Iterator[Row]:
    """What is wrong with a request before anything of it is read."""
    for path in (ENDPOINTS, WRITE, f"{WRITE}:batch"):
        yield post("wrong type", path, b"a=b", 415, "application/x-www-form-urlencoded")
        yield post("charset", path, b"{}", 415, "application/json; charset=utf-16")
        yield post("body over the limit", path, b'"' + b"x" * 11_000_000 + b'"', 413)
    yield post("wrong type", V2_WRITE, b"{}", (415, 415), "text/html")
    yield post("wrong type", V3_WRITE, b"a=b", (415, 415), "application/x-www-form-urlencoded")
    bomb = gzip.compress(b'{"records":[{"value":"' + b"x" * 20_000_000 + b'"}]}')
    for path, kind in ((V2_WRITE, V2_JSON), (WRITE, JSON), (V3_WRITE, JSON)):
        squeezed = {"Content-Encoding": "gzip"}
        yield Row("gzip bomb", "POST", path, 413, bomb, kind, squeezed)
        yield Row("encoding", "POST", path, 415, b"x", kind, {"Content-Encoding": "br"})
    for path in (ENDPOINTS, READ, LISTEN, "/topics/{t}", "/v3/clusters"):
        yield get("impossible Accept", path, 406, Accept="application/xml")
    yield get("unknown path", "/api/v1/nothing", (404, "not_found"))
    yield get("unknown path", "/topics/{t}/nothing", (404, 404))
    yield get("unknown path", "/v3/nothing", (404, 404))
    yield get("unknown path", "/streams/{t}/nothing", (404, "topic_not_found"))
    for path in (ENDPOINTS, READ, V2_WRITE, V3_WRITE, LISTEN):
        yield Row("method", "PUT", path, 405)
    yield get("bad Host", "/api/v1/endpoints", 400, Host="evil.example:1")
    yield get("long URL", f"{READ}?cursor={'x' * 9_000}", 414)
    yield get("large head", READ, 431, X_Large="x" * 20_000)


TOPICS = ("%2E%2E", "a%20b", "a" * 250, "__consumer_offsets", "%00", "a%2Fb", "9" * 40, "{f}")


def names() -> Iterator[Row]:
    """Ids and lists that are wrong, foreign, or nowhere."""
    for topic in TOPICS:
        for front in ("/api/v1/topics/{}/records", "/topics/{}", "/streams/{}"):
            yield get(f"topic {topic[:20]}", front.format(topic), 404)
    for wrong in ("ep_nothing", "sub_x", "9" * 40, "-"):
        yield get(f"id {wrong[:9]}", f"{ENDPOINTS}/{wrong}", (404, "not_found"))
    for limit in ("0", "-1", "1000000000", "abc"):
        yield get(f"limit {limit}", f"{ENDPOINTS}?limit={limit}", (400, "out_of_range"))
        yield get(f"limit {limit}", f"{READ}?limit={limit}", (400, "invalid_parameter"))
    for path in (ENDPOINTS, READ, LISTEN):
        yield get("unknown parameter", f"{path}?nothing=1", (400, "unknown_parameter"))
        name = "last_event_id" if path == LISTEN else "cursor"
        yield get("bad cursor", f"{path}?{name}=nonsense", (400, "invalid_cursor"))
    yield get("doubled parameter", f"{READ}?limit=1&limit=1", 400)
    yield get("doubled parameter", f"{ENDPOINTS}?limit=1&limit=1", 400)
    deep = b64encode(b"x").decode() + "x" * 7_000
    for path in (READ, LISTEN):
        yield get("filter syntax", f"{path}?filter=%7B", (400, "invalid_filter"))
        yield get("filter operator", f"{path}?filter=%7B%22value%22:%7B%22$x%22:1%7D%7D", 400)
        yield get("filter too long", f"{path}?filter=%22{deep}%22", 400)
    yield get("21 topics", "/streams/" + ",".join(f"t{one}" for one in range(21)), 400)


def produced() -> Iterator[Row]:
    """Writes that cannot be."""
    yield post("no records", V2_WRITE, b'{"records":[]}', (422, 422), V2_JSON)
    yield post("no records", f"{WRITE}:batch", b'{"records":[]}', (400, "invalid_parameter"))
    many = b'{"records":[' + b",".join([b'{"value":1}'] * 10_001) + b"]}"
    yield post("10,001 records", V2_WRITE, many, (422, 422), V2_JSON)
    yield post("10,001 records", f"{WRITE}:batch", many, (400, "invalid_parameter"))
    yield post("bad base64", V2_WRITE, v2(b'"?"'), (400, 400), V2_BINARY)
    yield post("bad base64", V3_WRITE, b'{"value":{"type":"BINARY","data":"?"}}', (200, 42206))
    yield post("partition", f"{WRITE}?partition=9", b"1", (404, "partition_not_found"))
    yield post("record over the limit", WRITE, b'"' + b"x" * 1_100_000 + b'"', 413)
    yield post("not granted", WRITE.replace("{t}", "{r}"), b"1", (403, "action_not_granted"))
    yield post("not granted", V2_WRITE.replace("{t}", "{r}"), v2(b"1"), (403, 40301), V2_JSON)
    for key in ("x" * 256, "a b", ""):
        headers = {"Idempotency-Key": key}
        yield Row(f"key {key[:4]!r}", "POST", WRITE, 400, b"1", JSON, headers)


def credentials() -> Iterator[Row]:
    """Whoever shows nothing, something wrong, or too much."""
    given = {
        "none": ("", 401),
        "malformed": ("Bearer x", 401),
        "of no kind": ("Digest x", 401),
        "Basic without colon": ("Basic eA==", 401),
        "over 8 KiB": ("Bearer " + "x" * 9_000, 401),
        "two at once": ("Bearer a, Bearer b", 400),
        "an unknown key": ("Bearer khk_live_" + "a" * 12 + "_" + "b" * 40 + "_000000", 401),
    }
    for about, (text, status) in given.items():
        headers = {"Authorization": text} if text else {}
        for path in (ENDPOINTS, READ, "/topics/{t}", "/v3/clusters", LISTEN):
            yield Row(about, "GET", path, status, headers=headers, is_bare=True)
    for path in (ENDPOINTS, READ, "/topics/{t}", "/v3/clusters", LISTEN):
        yield Row("in the URL", "GET", f"{path}?api_key={{k}}", 401, is_bare=True)


def tokens() -> Iterator[Row]:
    """The token endpoint, all in RFC 6749 JSON."""
    form = "application/x-www-form-urlencoded"
    at = "/oauth/token/"
    yield get("token by GET", at, 405)
    yield Row("token by JSON", "POST", at, 400, b"{}", JSON, is_bare=True)
    yield Row("bad client", "POST", at, 401, b"grant_type=client_credentials", form, is_bare=True)
    yield Row("large form", "POST", at, 413, b"a=" + b"x" * 9_000, form, is_bare=True)


ROWS = [
    *strict_json(),
    *http(),
    *names(),
    *produced(),
    *credentials(),
    *tokens(),
]


@dataclass(frozen=True)
class Target:
    """A partner at the process, and what its paths are filled with."""

    client: Client
    web: Web
    names: Mapping[str, str]

    def answer(self, row: Row) -> Answer:
        client = Client(self.web.url, None) if row.is_bare else self.client
        path = row.path
        for short, name in self.names.items():
            path = path.replace(f"{{{short}}}", name)
        headers = {name.replace("_", "-"): text for name, text in row.headers.items()}
        return client.send(row.method, path, row.body, row.kind, **headers)


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with running(tmp_path_factory.mktemp("web")) as process:
        yield process


@pytest.fixture
def target(web: Web, topic: MakeTopic) -> Target:
    owner, other = factories.partner(), factories.partner()
    factories.roomy_plan()
    both, read, foreign = (topic(1) for _ in range(3))
    for name, holder, actions in (
        (both, owner, Grant.Action.values),
        (read, owner, ["read"]),
        (foreign, other, ["read"]),
    ):
        for action in actions:
            Grant.objects.create(partner=holder, topic=factories.topic(name), action=action)
    scopes = frozenset({*factories.ALL_SCOPES, "topic:*:read", "topic:*:write"})
    key = factories.caller(owner, scopes=scopes).key
    client = Client(web.url, key)
    wait_for(lambda: read in client.get("/topics").json, lambda: read)
    return Target(client, web, {"t": both, "r": read, "f": foreign, "k": key})


def found(answer: Answer, expected: Expected) -> Expected:
    """Return of an answer what a row tells of it."""
    if isinstance(expected, int):
        return answer.status
    name = "error_code" if isinstance(expected[1], int) else "code"
    try:
        told = answer.json.get(name)
    except json.JSONDecodeError:
        told = answer.body[:200].decode()
    return answer.status, told


def fault(row: Row, answer: Answer, secret: str) -> str:
    """Return what is wrong with an answer, or nothing."""
    if (got := found(answer, row.expected)) != row.expected:
        return f"{row.name}: {got} instead of {row.expected}: {answer.body[:200]!r}"
    if answer.status >= 400 and "json" not in answer.headers["content-type"]:
        return f"{row.name}: not JSON but {answer.headers['content-type']}"
    if secret.encode() in answer.body or b"Traceback" in answer.body:
        return f"{row.name}: tells too much: {answer.body[:200]!r}"
    if answer.status == 401 and "www-authenticate" not in answer.headers:
        return f"{row.name}: asks for no credential"
    return ""


def test_every_row_gets_what_the_catalogue_says(target: Target) -> None:
    faults = [fault(row, target.answer(row), target.names["k"]) for row in ROWS]

    assert [one for one in faults if one] == []
    assert [
        one for one in target.web.log.read_text().splitlines() if '"level":"error"' in one
    ] == []


@pytest.mark.parametrize("front", ["/api/v1/topics/{}/records", "/topics/{}", "/streams/{}"])
def test_topics_that_are_not_there_are_all_the_same(target: Target, front: str) -> None:
    names = ("nothing", target.names["f"], "__consumer_offsets", "a%20b")

    answers = [target.client.get(front.format(name)) for name in names]

    bodies = [_less_own(answer) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert [answer.status for answer in answers] == [404] * len(names)


def _less_own(answer: Answer) -> object:
    return {name: text for name, text in answer.json.items() if name not in OWN}


OWN = {"request_id", "instance"}
HEAD = b"GET /api/v1/endpoints HTTP/1.1\r\n"
LATER = b"GET /streams/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""A second request, hidden where a first one's body would be."""
RAW = {
    "two hosts": HEAD + b"Host: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    "no host": HEAD + b"\r\n",
    "HTTP/0.9": b"GET /api/v1/endpoints\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n",
    "another host in the target": b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "two lengths": HEAD
    + b"Host: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
    + LATER,
    "length and chunks": HEAD
    + b"Host: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + LATER,
    "odd chunks": HEAD + b"Host: 127.0.0.1\r\nTransfer-Encoding: xchunked\r\n\r\n" + LATER,
    "space before the colon": HEAD + b"Host : 127.0.0.1\r\n\r\n",
    "folded line": HEAD + b"Host: 127.0.0.1\r\nX-A: 1\r\n 2\r\n\r\n",
    "NUL in a header": HEAD + b"Host: 127.0.0.1\r\nX-A: a\x00b\r\n\r\n",
    "no method": b"\x16\x03\x01\x00\xa5\x01\r\n\r\n",
    "negative length": HEAD + b"Host: 127.0.0.1\r\nContent-Length: -1\r\n\r\n" + LATER,
}


@pytest.mark.parametrize("about", RAW)
def test_what_could_be_read_in_two_ways_is_refused_and_closed(web: Web, about: str) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as line:
        line.sendall(RAW[about])
        told = b""
        while piece := line.recv(65_536):
            told += piece

    assert told.startswith(b"HTTP/1.1 4"), told[:200]
    assert told.count(b"HTTP/1.1 ") == 1
    assert b"<" not in told.partition(b"\r\n\r\n")[2][:1]
