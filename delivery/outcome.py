"""What an answer means: its class decides what follows (pure)."""

from enum import StrEnum

RATE_LIMITED = 429
GONE = 410
REQUEST_TIMEOUT = 408
SERVICE_UNAVAILABLE = 503
OVERLOAD_STATUSES = frozenset({REQUEST_TIMEOUT, 502, SERVICE_UNAVAILABLE, 504})
FAILED_4XX = frozenset({401, 403, 404, 405, 407, 421, 425, 426, 428, 431, 451})
"""Answers that speak of the endpoint, its address or its rights, not of this one record."""


class OutcomeClass(StrEnum):
    """What came of an attempt, as far as the engine must act on it; also a metric label."""

    DELIVERED = "delivered"
    THROTTLED = "throttled"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    REJECTED = "rejected"
    GONE = "gone"
    BLOCKED = "blocked"
    OURS = "ours"

    @property
    def counts(self) -> bool:
        """Whether the attempt is one of those the retry schedule allows."""
        return self not in _FREE


_FREE = frozenset(
    {
        OutcomeClass.DELIVERED,
        OutcomeClass.THROTTLED,
        OutcomeClass.BLOCKED,
        OutcomeClass.OURS,
    }
)
OVERLOADED_OUTCOMES = frozenset({"tcp_timeout", "timeout_headers", "timeout_body"})
OUR_OUTCOMES = frozenset(
    {"proxy_failed", "decoder_unavailable", "local_resources", "secret_unreadable"}
)


UNWELL_PATTERN = (
    "^(dns|tcp|tls|timeout)_|^(redirect|bad_response|auth_failed)( |$)|^http_... (5[0-9]{2}|"
    + "|".join(str(status) for status in sorted(FAILED_4XX | {REQUEST_TIMEOUT}))
    + ")$"
)
"""What matches an outcome and its status, joined by a space, that speaks of the endpoint.

For PostgreSQL, which looks for rows of ``FAILED`` and ``OVERLOADED`` records. One that was
throttled has no status in its row.
"""


def name_of(status: int) -> str:
    """Return the outcome of a plain final status."""
    if 200 <= status < 300:  # noqa: PLR2004 - the class of success, RFC 9110 section 15.3
        return "delivered"
    if 300 <= status < 400:  # noqa: PLR2004 - redirection, never followed
        return "redirect"
    if status == RATE_LIMITED:
        return "rate_limited"
    if status == GONE:
        return "gone"
    return "http_4xx" if status < 500 else "http_5xx"  # noqa: PLR2004 - client or server error


def classify(outcome: str, status: int | None, *, asked_to_wait: bool) -> OutcomeClass:
    """Return the class of an outcome.

    outcome        a name of ours: of ``name_of``, or the transport's fault
    status         final HTTP status, None where no answer came
    asked_to_wait  whether a valid ``Retry-After`` was among the headers
    """
    if outcome == "delivered":
        return OutcomeClass.DELIVERED
    if outcome == "address_denied":
        return OutcomeClass.BLOCKED
    if outcome in OUR_OUTCOMES:
        return OutcomeClass.OURS
    if outcome in OVERLOADED_OUTCOMES:
        return OutcomeClass.OVERLOADED
    if status is None or outcome not in {"http_4xx", "http_5xx", "rate_limited", "gone"}:
        return OutcomeClass.FAILED
    return _of_status(status, asked_to_wait=asked_to_wait)


def _of_status(status: int, *, asked_to_wait: bool) -> OutcomeClass:
    if status == RATE_LIMITED or (status == SERVICE_UNAVAILABLE and asked_to_wait):
        return OutcomeClass.THROTTLED
    if status == GONE:
        return OutcomeClass.GONE
    if status in OVERLOAD_STATUSES:
        return OutcomeClass.OVERLOADED
    if status in FAILED_4XX or status >= 500:  # noqa: PLR2004 - server errors
        return OutcomeClass.FAILED
    return OutcomeClass.REJECTED
