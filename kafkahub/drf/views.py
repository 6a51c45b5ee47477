"""The base of every API view: what an operation takes and gives is declared, once."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from kafkahub.drf import answers, body, faults, pages, parameters
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.drf.parameters import Arguments
from kafkahub.drf.schema import HubSchema
from kafkahub.errors import (
    Conflict,
    Fault,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    StaleVersion,
)

JSON_RANGES = frozenset({"", "*/*", "application/*", body.JSON})
REFUSED = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})
MAX_ACCEPT = 1_000
"""Characters of an ``Accept`` header that is looked at."""


class HubView(APIView):
    """One route. Subclasses say who is let in; here nobody is.

    Errors of every kind leave as problem documents, and no answer without its fixed headers.
    """

    tag: ClassVar[str] = ""
    operations: ClassVar[Mapping[str, Operation]] = {}
    schema = HubSchema()
    renderer_classes = [JSONRenderer]
    parser_classes = [JSONParser]
    authentication_classes: Sequence[Any] = []
    permission_classes: Sequence[Any] = []
    arguments: Arguments

    def enter(self, operation: Operation) -> None:
        """Let the caller in, or raise Unauthenticated or Forbidden."""
        raise NotImplementedError("a view says who may enter")

    @property
    def django_request(self) -> HttpRequest:
        request: HttpRequest = self.request._request  # noqa: SLF001 - DRF's documented wrapper
        return request

    @property
    def method(self) -> str:
        """Return the method asked for; HEAD is answered as the GET that it is."""
        name = self.django_request.method or ""
        return "GET" if name == "HEAD" else name

    @property
    def operation(self) -> Operation:
        operation = self.operations.get(self.method)
        if operation is None:
            raise MethodNotAllowed(f"{', '.join(self.operations)} may be used here.")
        return operation

    @functools.cached_property
    def raw_body(self) -> bytes:
        return body.read(self.django_request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        return {}

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:  # noqa: ARG002 - DRF's signature
        operation = self.operation
        _check_accept(self.django_request)
        self.enter(operation)
        self.arguments = parameters.read(self.django_request.GET, operation.parameters(self.method))

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]  # DRF's stub wants its own Response
        return answers.failed(exc, self.django_request)

    def finalize_response(  # type: ignore[override]  # DRF's stub knows only its own Response
        self,
        request: Request,  # noqa: ARG002 - DRF's signature
        response: HttpResponseBase,
        *args: object,  # noqa: ARG002 - DRF's signature
        **kwargs: object,  # noqa: ARG002 - DRF's signature
    ) -> HttpResponse:
        if not isinstance(response, HttpResponse):
            raise TypeError("an API view answers with a whole body")
        if response.status_code == MethodNotAllowed.status:
            response.headers["Allow"] = ", ".join(self.operations)
        return answers.seal(response, self.django_request)

    def values(self, merged: Mapping[str, object] | None = None) -> Values:
        """Return the validated body.

        merged  of a PATCH: what members that are objects hold now, to be merged into

        Raises Invalid with everything that is wrong.
        """
        operation = self.operation
        if operation.body is None:
            self.expect_no_body()
            return {}
        given = body.parse_object(
            self.django_request, self.raw_body, is_optional=operation.is_body_optional
        )
        for name, current in (merged or {}).items():
            if isinstance(given.get(name), dict):
                given[name] = body.merge_patch(current, given[name])
        form = operation.body(partial=self.method == "PATCH")
        try:
            values: Values = form.run_validation(given)
        except Invalid as error:
            raise body.with_places(error, self.raw_body) from None
        return values

    def expect_no_body(self) -> None:
        """Refuse members nobody will read; an empty object is as good as nothing."""
        given = body.parse_object(self.django_request, self.raw_body, is_optional=True)
        faults.refuse(
            [
                faults.unknown("unknown_field", name, [], place=faults.pointer(name))
                for name in given
            ]
        )

    def page(self, owner: str) -> pages.Page:
        """Return the page that is asked for of a list that belongs to ``owner``."""
        filters = {
            name: value
            for name, value in self.arguments.values.items()
            if name not in {"cursor", "limit"}
        }
        bound_to = pages.binding(owner, self.django_request.path, filters)
        limit = self.arguments.whole("limit") or parameters.DEFAULT_LIMIT
        return pages.open_page(self.arguments.text("cursor"), limit, bound_to)

    def listed(self, rows: Sequence[object], next_cursor: str | None) -> HttpResponse:
        """Return the answer to a list: the page and how to get the next one."""
        headers = {}
        if next_cursor is not None:
            query = self.django_request.GET.copy()
            query["cursor"] = next_cursor
            headers["Link"] = f'<{self.django_request.path}?{query.urlencode()}>; rel="next"'
        return answers.json({"data": rows, "next_cursor": next_cursor}, headers=headers)

    def single(
        self,
        data: object,
        version: int,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Return one object with its entity tag, or 304 when the client has this version."""
        tag = f'"{version}"'
        if self.method == "GET" and _names(self.request.headers.get("If-None-Match"), tag):
            return HttpResponse(status=304, headers={"ETag": tag})
        return answers.json(data, status, {"ETag": tag, **(headers or {})})

    def require_match(self, version: int) -> None:
        """Raise StaleVersion when ``If-Match`` was sent and names no such version.

        Called with the row locked, or another request could change it in between.
        """
        wanted = self.request.headers.get("If-Match")
        if wanted is not None and not _names(wanted, f'"{version}"'):
            raise StaleVersion(version)

    def require_same(self, seen: int, locked: int) -> None:
        """Raise when the object changed between being read and being locked."""
        self.require_match(locked)
        if seen != locked:
            raise Conflict("The object was changed by another request just now; repeat this one.")


def _names(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or tag in {part.strip() for part in header.split(",")}


def _check_accept(request: HttpRequest) -> None:
    """Raise NotAcceptable when JSON is not among what the client takes."""
    accept = request.headers.get("Accept", "*/*")
    if len(accept) > MAX_ACCEPT:
        raise Invalid([Fault("", "validation_failed", "The Accept header is too long.")])
    for part in accept.split(","):
        essence, _, options = part.partition(";")
        if essence.strip().lower() in JSON_RANGES and options.replace(" ", "") not in REFUSED:
            return
    raise NotAcceptable(f"Answers are {body.JSON}.")
