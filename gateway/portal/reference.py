"""The API reference, made from our OpenAPI document, with every operation to be tried."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from django.http import Http404, HttpRequest, HttpResponse

from subscriptions.portal.base import PortalPage

METHODS = ("get", "post", "put", "patch", "delete")
FRONT = "/api/v1"
PARAMETER = re.compile(r"{(\w+)}")
MAX_SHOWN = 20_000
"""Characters of an answer that are shown."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One operation as the page shows it.

    names    of the parameters in its path
    queries  parameters of its query: name and what it does
    body     an example of what is sent, or ""
    answer   an example of what comes back, or ""
    """

    id: str
    method: str
    path: str
    summary: str
    names: list[str]
    queries: list[tuple[str, str]]
    body: str
    answer: str


class Reference(PortalPage):
    """All operations by what they are about."""

    section = "api"
    template = "api.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        found = listed(self.door.get("/openapi.json"))
        by_tag: dict[str, list[Listed]] = defaultdict(list)
        for tag, operation in found:
            by_tag[tag].append(operation)
        return self.show(tags=sorted(by_tag.items()))


class TryIt(PortalPage):
    """Asks the API as the member who is signed in; a fragment."""

    template = "parts/answer.html"

    def post(self, request: HttpRequest, operation: str) -> HttpResponse:
        known = {one.id: one for _, one in listed(self.door.get("/openapi.json"))}
        wanted = known.get(operation)
        if wanted is None:
            raise Http404
        path = PARAMETER.sub(lambda name: _segment(request, name[1]), wanted.path)
        text = request.POST.get("body", "").strip()
        try:
            body = json.loads(text) if text else None
        except ValueError as error:
            return self.show(text=f"The body is not JSON: {error}.")
        query = dict(parse_qsl(request.POST.get("query", "")))
        answer = self.door.answer(wanted.method.upper(), path, body, query)
        return self.show(
            status=answer.status_code,
            headers=sorted(answer.headers.items()),
            body=_pretty(answer.content),
        )


def listed(document: Mapping[str, Any]) -> Iterator[tuple[str, Listed]]:
    """Yield the tag and the operation of everything below ``/api/v1`` that Django answers."""
    for path, members in sorted(document["paths"].items()):
        for method in METHODS:
            if method in members and path.startswith(FRONT):
                operation = members[method]
                tags = operation.get("tags") or ["more"]
                yield tags[0], _listed(method, path.removeprefix(FRONT), operation)


def _listed(method: str, path: str, operation: Mapping[str, Any]) -> Listed:
    parameters = operation.get("parameters", [])
    queries = [
        (one["name"], one.get("description", "")) for one in parameters if one["in"] == "query"
    ]
    answers = operation.get("responses", {})
    good: Mapping[str, Any] = next(
        (answers[code] for code in sorted(answers) if code.startswith("2")), {}
    )
    return Listed(
        id=operation["operationId"],
        method=method,
        path=path,
        summary=operation.get("summary", ""),
        names=PARAMETER.findall(path),
        queries=queries,
        body=_example(operation.get("requestBody", {})),
        answer=_example(good),
    )


def _example(content: Mapping[str, Any]) -> str:
    """Return the first example of a body, or ""."""
    for kind in content.get("content", {}).values():
        for example in kind.get("examples", {}).values():
            return json.dumps(example.get("value"), ensure_ascii=False, indent=2)
    return ""


def _segment(request: HttpRequest, name: str) -> str:
    """Return what was typed for a part of the path; it cannot become another path."""
    typed = request.POST.get(f"path_{name}", "").strip()
    return re.sub(r"[^A-Za-z0-9._:-]", "", typed) or "none"


def _pretty(content: bytes) -> str:
    try:
        shown = json.dumps(json.loads(content), ensure_ascii=False, indent=2)
    except ValueError:
        shown = content.decode("utf-8", "replace")
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}\n… cut"
