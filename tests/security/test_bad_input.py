"""What bad input gets: a clear refusal, never 500, never HTML, and nothing half done."""

import json

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subscriptions.models import Endpoint, Subscription
from tests import factories
from tests.api import BASE, Caller, codes, json_of

URL = b'"url": "https://192.0.3.7/in"'


def post(alice: Caller, raw: bytes, **headers: str) -> tuple[int, str]:
    """Return status and code of the answer to this raw body."""
    answer = alice.post("/endpoints", raw, **headers)
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, json_of(answer)["code"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{} x", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": Infinity}', "invalid_json"),
        (b'{"a": 1e999}', None),
        (b'{"a": "\xff"}', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        ("{}".encode("utf-16"), "invalid_json"),
        (b'{"name": "a\\u0000b"}', None),
        (b'{"name": "\\ud800"}', None),
        (b'{"headers": {"a": "\\u0000"}}', None),
        (b'{"timeout_ms": 9223372036854775808}', None),
        (b'{"timeout_ms": ' + b"9" * 5_000 + b"}", None),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "too_deep"),
        (b'{"a": ' + b"[" * 100_000, "too_deep"),
        (b'{"name": "a", "name": "b"}', "duplicate_key"),
        (b"[]", "validation_failed"),
        (b"null", "validation_failed"),
        (b'"x"', "validation_failed"),
    ],
)
def test_json_that_is_not_strict_is_refused(alice: Caller, raw: bytes, code: str | None) -> None:
    status, found = post(alice, raw, content_type="application/json")

    assert status == 400
    assert code is None or found == code
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": ""},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "application/merge-patch+json"},
        {"content_type": "application/json; charset=utf-16"},
        {"content_encoding": "gzip"},
    ],
)
def test_a_body_of_another_kind_is_415_and_says_what_is_taken(
    alice: Caller, headers: dict[str, str]
) -> None:
    answer = alice.post("/endpoints", b"{" + URL + b"}", **headers)

    assert answer.status_code == 415
    assert "application/json" in json_of(answer)["detail"]


def test_a_body_over_the_limit_is_413(alice: Caller) -> None:
    raw = b'{"description": "' + b"x" * 1_100_000 + b'"}'

    assert post(alice, raw) == (413, "payload_too_large")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "application/json;q=0"])
def test_who_takes_no_json_gets_406(alice: Caller, accept: str) -> None:
    answer = alice.get("/endpoints", accept=accept)

    assert (answer.status_code, json_of(answer)["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, application/json;q=0.1"])
def test_who_takes_json_gets_it(alice: Caller, accept: str) -> None:
    assert alice.get("/endpoints", accept=accept).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "NONSENSE"])
def test_another_method_is_405_with_allow(alice: Caller, method: str) -> None:
    answer = alice.send(method, "/endpoints")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, POST"
    assert json_of(answer)["code"] == "method_not_allowed"


def test_head_is_answered_like_get_without_a_body(alice: Caller) -> None:
    answer = alice.send("HEAD", "/endpoints")

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/nothing", "/endpoints/", "/", "/endpoints/a/b/c/d"])
def test_an_unknown_path_is_404_in_json_with_or_without_a_credential(
    alice: Caller, path: str
) -> None:
    for answer in (alice.get(path), Client().get(f"{BASE}{path}")):
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "out_of_range"),
        ("limit=-1", "out_of_range"),
        ("limit=201", "out_of_range"),
        ("limit=1000000000", "out_of_range"),
        ("limit=abc", "out_of_range"),
        ("limit=", "out_of_range"),
        ("limit=%D9%A3", "out_of_range"),
        ("limt=1", "unknown_parameter"),
        ("limit=1&limit=1", "unknown_parameter"),
        ("format=json", "unknown_parameter"),
        ("dry_run=true", "unknown_parameter"),
        ("cursor=x", "invalid_cursor"),
        ("cursor=%00", None),
        ("status=nonsense", None),
        ("host=%00", None),
        ("&".join(f"a{number}=1" for number in range(1_001)), None),
    ],
)
def test_a_query_that_is_not_declared_or_out_of_range_is_refused(
    alice: Caller, query: str, code: str | None
) -> None:
    answer = alice.get(f"/endpoints?{query}")

    assert answer.status_code == 400
    assert code is None or json_of(answer)["code"] == code


def test_a_misspelt_parameter_is_told_the_nearest_name(alice: Caller) -> None:
    fault = json_of(alice.get("/endpoints?limt=1"))["errors"][0]

    assert (fault["parameter"], fault["nearest"]) == ("limt", "limit")


@pytest.mark.parametrize("value", [None, [], {}, True, 1, 1.5, "", " ", "x" * 3_000])
@pytest.mark.parametrize("member", ["name", "url", "timeout_ms", "headers", "description"])
def test_a_value_of_a_wrong_type_is_refused_at_its_place_or_taken(
    alice: Caller, member: str, value: object
) -> None:
    answer = alice.post("/endpoints", {"url": "https://192.0.3.7/in", member: value})

    assert answer.status_code in {201, 400}
    if answer.status_code == 400:
        assert all(place.startswith(f"/{member}") for place in codes(answer))


def test_a_body_of_a_hundred_thousand_strangers_gets_a_short_answer(alice: Caller) -> None:
    raw = json.dumps({f"member{number}": 1 for number in range(50_000)}).encode()

    answer = alice.post("/endpoints", raw)

    assert answer.status_code == 400
    assert len(answer.content) < 50_000


def test_an_action_takes_no_members(alice: Caller) -> None:
    subscription = factories.subscription(alice.partner)

    answer = alice.post(f"/subscriptions/{subscription.id}/pause", {"force": True})

    assert codes(answer) == {"/force": "unknown_field"}
    assert Subscription.objects.get().status == "active"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer x"}, 401),
        ({"authorization": "Bearer a,Bearer b"}, 400),
        ({"authorization": "Basic eA=="}, 401),
        ({"authorization": "Bearer " + "x" * 9_000}, 401),
    ],
)
def test_a_credential_that_is_none_or_two_is_refused(
    db: None, header: dict[str, str], status: int
) -> None:
    answer = Client().get(f"{BASE}/endpoints", headers=header)

    assert answer.status_code == status
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_a_credential_in_the_url_is_refused_with_a_hint(alice: Caller) -> None:
    answer = alice.get(f"/endpoints?api_key={alice.key}")

    assert answer.status_code == 401
    assert "Authorization" in json_of(answer)["detail"]
    assert alice.key not in answer.content.decode()


def test_every_answer_carries_the_fixed_headers(alice: Caller) -> None:
    for answer in (alice.get("/endpoints"), alice.get("/nothing"), alice.get("/endpoints/ep_x")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Content-Security-Policy"] == (
            "default-src 'none'; frame-ancestors 'none'"
        )
        assert answer.headers["X-Request-Id"].startswith("req_")


def test_a_problem_says_all_that_rfc_9457_and_support_need(alice: Caller) -> None:
    answer = alice.get("/endpoints?limit=0")

    body = json_of(answer)
    assert body["type"].endswith("/docs/errors/out_of_range")
    assert body["status"] == answer.status_code
    assert body["instance"] == f"{BASE}/endpoints"
    assert body["request_id"] == answer.headers["X-Request-Id"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
MEMBERS = st.sampled_from(
    [
        "endpoint",
        "topics",
        "types",
        "filter",
        "format",
        "include",
        "retry",
        "trace",
        "start",
        "name",
    ]
)


@pytest.fixture
def room(db: None) -> None:
    """Let no rate limit end the attack early."""
    factories.roomy_plan()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=st.dictionaries(MEMBERS, JSON) | JSON)
def test_no_body_makes_a_500(alice: Caller, room: None, body: object) -> None:
    answer = alice.post("/subscriptions", json.dumps(body).encode())

    assert answer.status_code in {400, 404}
    assert not Subscription.objects.exists()
