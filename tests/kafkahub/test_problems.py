"""Problem documents."""

import pytest

from kafkahub import problems
from kafkahub.errors import (
    Fault,
    HubError,
    Invalid,
    NotFound,
    RateLimited,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)


def describe(error: HubError) -> problems.Problem:
    return problems.describe(
        error, base_url="https://hub.example", instance="/api/v1/x", request_id="req_1"
    )


def test_a_problem_has_every_member_of_the_contract() -> None:
    told = describe(NotFound())

    assert told.status == 404
    assert told.body == {
        "type": "https://hub.example/docs/errors/not_found",
        "title": "Not found",
        "status": 404,
        "code": "not_found",
        "detail": NotFound().detail,
        "instance": "/api/v1/x",
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (Unauthenticated("no"), "WWW-Authenticate", 'Bearer realm="kafkahub"'),
        (StaleVersion(7), "ETag", '"7"'),
        (RateLimited("slow", retry_after_s=9), "Retry-After", "9"),
        (Unavailable("away"), "Retry-After", "5"),
    ],
)
def test_an_error_brings_the_headers_that_belong_to_it(
    error: HubError, name: str, value: str
) -> None:
    assert describe(error).headers[name] == value


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid([Fault("/a", "unknown_field", "x")]), "unknown_field"),
        (Invalid([Fault("/a", "required", "x")]), "validation_failed"),
        (Invalid([Fault("/a", "x", "x"), Fault("/b", "y", "y")]), "validation_failed"),
        (Invalid([Fault("/filter", "too_deep", "x")], code="invalid_filter"), "invalid_filter"),
    ],
)
def test_the_code_is_that_of_the_subject_or_of_all_faults(error: Invalid, code: str) -> None:
    assert describe(error).body["code"] == code


def test_a_fault_carries_its_further_members() -> None:
    fault = Fault("/a", "unknown_field", "x", {"nearest": "b", "line": 1})

    assert describe(Invalid([fault])).body["errors"] == [
        {"pointer": "/a", "code": "unknown_field", "message": "x", "nearest": "b", "line": 1}
    ]


def test_every_promised_code_has_a_title_and_a_status() -> None:
    for code, status in problems.statuses().items():
        assert problems.title_of(code)
        assert 400 <= status < 600
