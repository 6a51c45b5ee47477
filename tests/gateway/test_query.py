import pytest

from gateway.frames import Door, Ndjson, Sse
from gateway.http import Request, request_of
from gateway.hub.connections import ending
from gateway.query import check_names, door_of, filter_of, is_well_formed, topics_of, wanted_of
from gateway.refusals import is_soft, manner_of, reason_of, refusal, retry_after
from kafkahub.errors import (
    Fault,
    HubError,
    Invalid,
    NotAcceptable,
    NotFound,
    OriginNotAllowed,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from subscriptions.cursor import FINAL_TOKEN
from tests.gateway.stream_makers import TOKENS, place

TOKEN = place(5).token(TOKENS)


def request(query: str = "", **headers: str) -> Request:
    scope = {
        "method": "GET",
        "path": "/streams/orders",
        "query_string": query.encode(),
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "client": ("192.0.2.1", 1),
    }
    return request_of(scope)


@pytest.mark.parametrize(
    ("accept", "door"),
    [
        (None, Sse()),
        ("*/*", Sse()),
        ("text/*", Sse()),
        ("text/event-stream", Sse()),
        ("application/x-ndjson", Ndjson()),
        ("text/event-stream;q=0.5, application/x-ndjson", Ndjson()),
        ("application/x-ndjson, text/event-stream", Sse()),
        ("application/json, */*;q=0.1", Sse()),
    ],
)
def test_the_best_liked_form_is_given_and_sse_on_a_tie(accept: str | None, door: Door) -> None:
    assert door_of(request(**({"accept": accept} if accept else {}))) == door


@pytest.mark.parametrize("accept", ["text/html", "application/json", "text/event-stream;q=0"])
def test_who_likes_neither_form_is_told_both(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/event-stream or application/x-ndjson"):
        door_of(request(accept=accept))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/streams/", "invalid_parameter"),
        ("/streams/a,a", "invalid_parameter"),
        ("/streams/a,,b", "invalid_parameter"),
        ("/streams/" + ",".join(f"t{n}" for n in range(21)), "too_many_topics"),
    ],
)
def test_topics_that_cannot_be_are_refused(path: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        topics_of(path, "/streams/")

    assert refused.value.instance_code == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("form=raw", "unknown_parameter"),
        ("format=raw&format=raw", "invalid_parameter"),
        ("%ff=1", "invalid_parameter"),
    ],
)
def test_names_are_known_and_come_once(query: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_names(request(query))

    assert refused.value.instance_code == code


@pytest.mark.parametrize(
    "query",
    ["format=xml", "id=all", "on_gap=stop", "from=-0", "from=-1001", "from=now", "since=then"],
)
def test_a_wrong_value_is_refused(query: str) -> None:
    with pytest.raises(Invalid) as refused:
        wanted_of(request(query), ["orders"], Sse(), None, 0)

    assert refused.value.instance_code == "invalid_parameter"


def test_raw_is_for_server_sent_events() -> None:
    with pytest.raises(Invalid, match="raw"):
        wanted_of(request("format=raw"), ["orders"], Ndjson(), None, 0)


@pytest.mark.parametrize("text", ["{", '{"a":1,"a":2}', " " * 2_049])
def test_a_filter_that_cannot_be_read_is_invalid(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        filter_of(text)

    assert refused.value.instance_code == "invalid_filter"


def test_the_header_decides_before_the_url_and_an_empty_one_is_none() -> None:
    query = f"last_event_id={TOKEN}"

    assert wanted_of(request(query, last_event_id="Af"), ["o"], Sse(), None, 0).cursor == "Af"
    assert wanted_of(request(query, last_event_id=""), ["o"], Sse(), None, 0).cursor == TOKEN


@pytest.mark.parametrize(
    ("cursor", "is_ours"),
    [
        (TOKEN, True),
        ('[{"topic":"a","partition":0,"offset":1}]', True),
        ("", False),
        (None, False),
        ("7", False),
        (TOKEN[:-2], False),
        (FINAL_TOKEN, False),
        ("[]", False),
    ],
)
def test_only_what_could_be_ours_says_that_there_was_a_stream(
    cursor: str | None, is_ours: bool
) -> None:
    assert is_well_formed(cursor) is is_ours


INVALID = Invalid([Fault("", "invalid_parameter", "x")])
CURSOR = Invalid([Fault("", "invalid_cursor", "x")])
BROWSER = {"sec_fetch_mode": "cors"}
RETURNING = {"last_event_id": TOKEN}


@pytest.mark.parametrize(
    ("error", "hard", "browser", "returning"),
    [
        (INVALID, False, False, True),
        (Unauthenticated("x"), False, False, True),
        (NotFound(), False, False, True),
        (QuotaExceeded("x"), False, True, True),
        (RateLimited("x"), False, True, True),
        (Unavailable("x"), False, True, True),
        (Overloaded("x"), False, True, True),
        (OriginNotAllowed(), False, False, False),
        (NotAcceptable("x"), False, False, False),
    ],
)
def test_a_browser_is_never_refused_in_a_way_that_ends_it_for_ever(
    error: HubError, hard: bool, browser: bool, returning: bool
) -> None:
    ways = [
        is_soft(error, manner_of(request(**headers), Sse()))
        for headers in ({}, BROWSER, RETURNING | BROWSER)
    ]

    assert ways == [hard, browser, returning]


@pytest.mark.parametrize(("query", "door"), [("errors=http", Sse()), ("", Ndjson())])
def test_whoever_reads_statuses_gets_them(query: str, door: Door) -> None:
    asked = request(query, last_event_id=TOKEN, sec_fetch_mode="cors")

    assert not is_soft(Unavailable("x"), manner_of(asked, door))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (INVALID, "protocol_error"),
        (CURSOR, "invalid_cursor"),
        (Unauthenticated("x"), "revoked"),
        (NotFound(), "revoked"),
        (QuotaExceeded("x"), "quota_exceeded"),
        (RateLimited("x"), "rate_limited"),
        (Overloaded("x"), "overloaded"),
        (Unavailable("x"), "unavailable"),
    ],
)
def test_each_refusal_has_its_reason(error: HubError, reason: str) -> None:
    assert reason_of(error) == reason


def test_who_is_to_stop_gets_the_final_id_and_keeps_a_cursor() -> None:
    closing = refusal(ending("revoked"), NotFound(), TOKEN)

    assert (closing.token, closing.cursor, closing.status) == (FINAL_TOKEN, TOKEN, 404)


def test_who_is_not_known_gets_no_cursor() -> None:
    assert refusal(ending("revoked"), Unauthenticated("x"), TOKEN).cursor is None


def test_who_may_come_again_keeps_the_place() -> None:
    assert refusal(ending("overloaded"), Overloaded("x"), TOKEN).token == TOKEN


def test_returns_are_spread() -> None:
    waits = {retry_after(Unavailable("x"), chance)["Retry-After"] for chance in (0.0, 0.5, 1.0)}

    assert len(waits) == 3
    assert retry_after(Unavailable("x", retry_after_s=1), 1.0) == {"Retry-After": "1"}
