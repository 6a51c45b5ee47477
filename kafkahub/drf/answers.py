"""Answers: JSON, problem documents, and the headers every API answer carries."""

import sys
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template import loader
from django.views import defaults

from kafkahub import config, ids, problems
from kafkahub.errors import (
    Fault,
    HubError,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
)
from kafkahub.observability import logs

API_PREFIX = "/api/"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
"""On every API answer, errors too: it is data, not a page."""


def _malformed() -> HubError:
    return Invalid([Fault("", "validation_failed", "The request is malformed.")])


FOREIGN: Sequence[tuple[tuple[type[Exception], ...], Callable[[], HubError]]] = (
    ((Http404,), NotFound),
    ((RequestDataTooBig,), lambda: TooLarge("The body is too large.")),
    ((SuspiciousOperation,), _malformed),
    (
        (OperationalError, InterfaceError),
        lambda: Unavailable("The database is not available; nothing was done."),
    ),
)
"""Exceptions of Django that are no fault of ours, and what they are to a user; first one wins."""

log = structlog.get_logger()
encode = msgspec.json.Encoder().encode


def json(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return an answer of JSON values."""
    return HttpResponse(
        encode(data), status=status, headers=headers, content_type="application/json"
    )


def problem(error: HubError, request: HttpRequest) -> HttpResponse:
    """Return ``error`` as problem document."""
    told = problems.describe(
        error,
        base_url=config.load().base_url,
        instance=request.path,
        request_id=request_id(request),
    )
    return HttpResponse(
        encode(told.body),
        status=told.status,
        headers=dict(told.headers),
        content_type=problems.MEDIA_TYPE,
    )


def seal(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """Return ``response`` with the headers that every API answer carries."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers["X-Request-Id"] = request_id(request)
    return response


def request_id(request: HttpRequest) -> str:
    """Return the id of this request: the server's, or a fresh one that it keeps."""
    known = request.META.get("kafkahub.request_id") or logs.request_id() or ids.new("req")
    request.META["kafkahub.request_id"] = known
    return str(known)


def as_hub_error(error: BaseException) -> HubError | None:
    """Return what a user is told of ``error``, or None when it is a fault of ours."""
    if isinstance(error, HubError):
        return error
    return next((make() for kinds, make in FOREIGN if isinstance(error, kinds)), None)


def failed(error: BaseException, request: HttpRequest) -> HttpResponse:
    """Return the answer to an exception; what nobody foresaw is logged with its stack."""
    told = as_hub_error(error)
    if told is None:
        log.error("request.failed", path=request.path, method=request.method, exc_info=error)
        told = HubError("Something went wrong on our side; the request id helps to find it.")
    elif isinstance(told, Unavailable):
        log.warning("request.refused_unavailable", path=request.path, error=type(error).__name__)
    return problem(told, request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an unknown path: JSON below ``/api/``, Django's page elsewhere (``handler404``)."""
    if not request.path.startswith(API_PREFIX):
        return _page(defaults.page_not_found(request, exception))
    return seal(problem(NotFound(), request), request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django itself refused, such as a bad ``Host`` (``handler400``)."""
    if not request.path.startswith(API_PREFIX):
        return _page(defaults.bad_request(request, exception))
    error = as_hub_error(exception) or _malformed()
    return seal(problem(error, request), request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an exception outside of our views, which Django has logged (``handler500``)."""
    is_away = isinstance(sys.exception(), OperationalError | InterfaceError)
    if not request.path.startswith(API_PREFIX):
        return _away() if is_away else _page(defaults.server_error(request))
    told = HubError("Something went wrong on our side; the request id helps to find it.")
    return seal(problem(told, request), request)


def _away() -> HttpResponse:
    """Answer while PostgreSQL does not; made without the request, whose user is asked of it."""
    page = loader.render_to_string("hub/away.html")
    headers = {"Retry-After": "10", "Cache-Control": "no-store"}
    return HttpResponse(page, status=Unavailable.status, headers=headers)


def _page(response: object) -> HttpResponse:
    if not isinstance(response, HttpResponse):
        raise TypeError("Django's error views answer with a page")
    return response
