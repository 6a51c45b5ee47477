"""How pages do what they do: by the control API, in process, as the member who is signed in.

So a page can see and change exactly what a key of the same rights could, by the same checks, with
the same audit rows and error texts; there is no second way.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import resolve

from subscriptions.api.base import MEMBER
from subscriptions.grants import Principal
from subscriptions.portal.support import mask

BASE = "/api/v1"
REFUSED, FORBIDDEN, NOT_FOUND, UNAVAILABLE = 400, 403, 404, 503
HANDED_ON = ("REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "kafkahub.request_id", "wsgi.url_scheme")


class Refused(Exception):
    """The API said no; carries its problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or status))
        self.status = status
        self.problem = problem

    @property
    def code(self) -> str:
        return str(self.problem.get("code", ""))

    @property
    def faults(self) -> list[Mapping[str, Any]]:
        """Return what is wrong, each with ``pointer`` and ``message``."""
        found: list[Mapping[str, Any]] = self.problem.get("errors", [])
        return found

    @property
    def is_about_input(self) -> bool:
        """Whether the page can show it beside what was typed."""
        return self.status not in {FORBIDDEN, NOT_FOUND, UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Door:
    """The control API for one member during one request."""

    request: HttpRequest
    principal: Principal

    def get(self, path: str, **query: object) -> Any:
        """Return the JSON of an answer; raise Refused. Members of ``query`` that are empty go."""
        return self.call("GET", path, query=query)

    def rows(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Return the first page of a list."""
        found: list[dict[str, Any]] = self.get(path, **query)["data"]
        return found

    def post(self, path: str, body: object = None) -> Any:
        return self.call("POST", path, body)

    def patch(self, path: str, body: object) -> Any:
        return self.call("PATCH", path, body)

    def delete(self, path: str, **query: object) -> None:
        self.call("DELETE", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the JSON of an answer, None for an empty one; raise Refused."""
        answer = self.answer(method, path, body, query)
        data = msgspec.json.decode(answer.content) if answer.content else None
        if answer.status_code >= REFUSED:
            raise Refused(answer.status_code, data or {})
        return mask(data) if self.principal.kind == "support" else data

    def answer(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
    ) -> HttpResponse:
        """Return the API's answer as it is."""
        content = b"" if body is None else msgspec.json.encode(body)
        asked = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        environ = {
            **{name: self.request.META[name] for name in HANDED_ON if name in self.request.META},
            "REQUEST_METHOD": method,
            "PATH_INFO": f"{BASE}{path}",
            "QUERY_STRING": urlencode(asked),
            "CONTENT_TYPE": "application/json" if content else "",
            "CONTENT_LENGTH": str(len(content)),
            "HTTP_ACCEPT": "application/json",
            "HTTP_HOST": self.request.get_host(),
            "wsgi.input": io.BytesIO(content),
            MEMBER: self.principal,
        }
        inner = WSGIRequest(environ)
        view, arguments, named = resolve(inner.path)
        answer: HttpResponse = view(inner, *arguments, **named)
        return answer
