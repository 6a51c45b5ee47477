"""Each answer has one class."""

import re

import pytest

from delivery.outcome import UNWELL_PATTERN, OutcomeClass, classify, name_of


@pytest.mark.parametrize("status", range(200, 300))
def test_every_2xx_is_delivered(status: int) -> None:
    assert classify(name_of(status), status, asked_to_wait=False) is OutcomeClass.DELIVERED


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 399])
def test_redirects_fail_and_are_never_followed(status: int) -> None:
    assert name_of(status) == "redirect"
    assert classify("redirect", status, asked_to_wait=False) is OutcomeClass.FAILED


@pytest.mark.parametrize(
    ("status", "asked", "expected"),
    [
        (429, False, "throttled"),
        (503, True, "throttled"),
        (503, False, "overloaded"),
        (502, True, "overloaded"),
        (504, False, "overloaded"),
        (408, False, "overloaded"),
        (410, False, "gone"),
        (500, False, "failed"),
        (501, True, "failed"),
        (599, False, "failed"),
        (401, False, "failed"),
        (404, False, "failed"),
        (451, False, "failed"),
        (400, False, "rejected"),
        (409, False, "rejected"),
        (413, False, "rejected"),
        (415, False, "rejected"),
        (422, False, "rejected"),
    ],
)
def test_statuses(status: int, asked: bool, expected: str) -> None:
    assert classify(name_of(status), status, asked_to_wait=asked) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("dns_not_found", "failed"),
        ("tcp_refused", "failed"),
        ("tls_expired", "failed"),
        ("bad_response", "failed"),
        ("tcp_timeout", "overloaded"),
        ("timeout_headers", "overloaded"),
        ("timeout_body", "overloaded"),
        ("address_denied", "blocked"),
        ("local_resources", "ours"),
        ("secret_unreadable", "ours"),
    ],
)
def test_faults_of_the_way(outcome: str, expected: str) -> None:
    assert classify(outcome, None, asked_to_wait=False) == expected


FAULTS = [
    *("dns_not_found", "tcp_refused", "tls_expired", "timeout_headers", "timeout_body"),
    *("redirect", "bad_response", "auth_failed", "address_denied", "local_resources"),
    *("proxy_failed", "secret_unreadable", "grant_changed", ""),
]


def test_the_database_finds_what_failed_with_its_endpoint_by_the_same_rule() -> None:
    seen = [(name_of(status), status) for status in range(100, 600)]
    unwell = {OutcomeClass.FAILED, OutcomeClass.OVERLOADED}

    for outcome, status in seen:
        is_unwell = classify(outcome, status, asked_to_wait=False) in unwell
        assert bool(re.search(UNWELL_PATTERN, f"{outcome} {status}")) is is_unwell, status


@pytest.mark.parametrize("outcome", FAULTS)
def test_the_database_knows_a_fault_of_the_way_without_a_status(outcome: str) -> None:
    ours = {"address_denied", "local_resources", "proxy_failed", "secret_unreadable"}

    found = bool(re.search(UNWELL_PATTERN, outcome))

    assert found is (outcome not in ours | {"grant_changed", ""})


@pytest.mark.parametrize("name", ["throttled", "blocked", "ours", "delivered"])
def test_what_is_not_the_records_fault_costs_no_attempt(name: str) -> None:
    assert not OutcomeClass(name).counts


@pytest.mark.parametrize("name", ["failed", "overloaded", "rejected", "gone"])
def test_what_failed_costs_an_attempt(name: str) -> None:
    assert OutcomeClass(name).counts
