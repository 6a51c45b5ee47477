"""Errors of ours as RFC 9457 problem documents: status, headers and body (pure)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kafkahub.errors import (
    Fault,
    HubError,
    Invalid,
    RateLimited,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
DOCS_PATH = "/docs/errors/"
RETRY_AFTER_S = 5
"""``Retry-After`` in seconds where the error itself names no time: one poll of the snapshot."""

TITLES: Mapping[str, str] = {
    "bad_combination": "Two fields do not go together",
    "duplicate_key": "The JSON names a member twice",
    "fixed_by_ticket": "The ticket fixes this parameter",
    "header_not_allowed": "The header is not allowed",
    "invalid_cursor": "The cursor cannot be used",
    "invalid_filter": "The filter is not valid",
    "invalid_json": "The body is not valid JSON",
    "invalid_parameter": "A query parameter cannot be used",
    "invalid_secret": "The secret cannot be used",
    "invalid_tls_material": "The certificates or the key cannot be used",
    "not_allowed_by_grant": "The grant does not allow this",
    "out_of_range": "A value is out of range",
    "start_not_available": "The start position cannot be had",
    "too_deep": "The JSON is nested too deeply",
    "too_many_partitions": "The topics have too many partitions together",
    "too_many_topics": "There are too many topics",
    "two_credentials": "There are two credentials",
    "unknown_field": "A field is not known",
    "unknown_parameter": "A query parameter is not known",
    "url_not_allowed": "The URL is not allowed",
}
"""Codes of refused input that have a title and a page; other faults make ``validation_failed``."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it goes out; ``body`` holds JSON values only."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, object]


def describe(error: HubError, *, base_url: str, instance: str, request_id: str) -> Problem:
    """Return the problem document of ``error``.

    base_url    where the installation's docs are, without a slash at the end
    instance    path of the request, without its query, which may hold what is nobody's business
    request_id  as the ``X-Request-Id`` of the same answer
    """
    code, title = code_and_title(error)
    body: dict[str, object] = {
        "type": f"{base_url}{DOCS_PATH}{code}",
        "title": title,
        "status": error.status,
        "code": code,
        "detail": error.detail,
        "instance": instance,
        "request_id": request_id,
    }
    if error.faults:
        body["errors"] = [fault_body(fault) for fault in error.faults]
    if isinstance(error, RateLimited) and error.violated:
        body["violated-policies"] = list(error.violated)
    return Problem(error.status, _headers(error), body)


def code_and_title(error: HubError) -> tuple[str, str]:
    """Return the promised code and the title of ``error``."""
    if isinstance(error, Invalid):
        own = error.instance_code
        return (own, TITLES[own]) if own in TITLES else (error.code, error.title)
    return error.code, error.title


def statuses() -> Mapping[str, int]:
    """Return every promised error code with its HTTP status; the reference is made from it."""
    found = dict.fromkeys(TITLES, Invalid.status)
    for kind in _tree(HubError):
        found[kind.code] = kind.status
    return found


def status_of(code: str) -> int:
    """Return the HTTP status of a promised error code; KeyError for a code nobody promised."""
    return statuses()[code]


def title_of(code: str) -> str:
    """Return the title of a promised error code."""
    if code in TITLES:
        return TITLES[code]
    return next(kind.title for kind in _tree(HubError) if kind.code == code)


def _tree(root: type[HubError]) -> Iterator[type[HubError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


def fault_body(fault: Fault) -> dict[str, object]:
    """Return one entry of ``errors``."""
    return {
        "pointer": fault.pointer,
        "code": fault.code,
        "message": fault.message,
        **fault.more,
    }


def _headers(error: HubError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="kafkahub"'
    if isinstance(error, StaleVersion):
        headers["ETag"] = f'"{error.version}"'
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    elif isinstance(error, RateLimited | Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return headers
