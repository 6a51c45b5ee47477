"""What the API document forbids is refused as it says: never 500, never HTML, never a surprise.

schemathesis makes the requests: bodies, parameters and headers that the document does not allow.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from django.http import HttpResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode

from tests import factories
from tests.api import BASE, Caller
from tests.security.test_isolation import PARAMETER, Targets, operations, targets

__all__ = ["targets"]
EXAMPLES = 3
SLOW = frozenset({"/endpoints/{endpoint}/test", "/endpoints/{endpoint}/verify"})
"""They wait for an endpoint to answer; what they refuse is tried elsewhere."""
JSON_TYPES = frozenset({"application/json", "application/problem+json"})


def braced(path: str) -> str:
    """Return a path as the document writes it."""
    return PARAMETER.sub(r"{\1}", path)


CASES = [
    (method, path)
    for method, path in operations()
    if braced(path) not in SLOW and not path.endswith(".json")
]


@functools.cache
def document(content: str) -> Any:
    return schemathesis.openapi.from_dict(json.loads(content))


@pytest.fixture
def schema(alice: Caller) -> Any:
    return document(alice.get("/openapi.json").content.decode())


@pytest.mark.parametrize(("method", "path"), CASES)
def test_what_is_not_allowed_gets_a_documented_refusal(
    schema: Any, alice: Caller, targets: Targets, method: str, path: str
) -> None:
    factories.roomy_plan()
    operation = schema[BASE + braced(path)][method]
    documented = operation.definition.raw["responses"].keys()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def tried(case: "Case[Any]") -> None:
        answer = asked(alice, case, path, targets)
        told = f"{method} {path} {case.query} {str(case.body)[:300]} -> {answer.status_code}"
        assert str(answer.status_code) in documented, told
        assert answer.status_code < 500, told
        if answer.content:
            assert answer.headers["Content-Type"].split(";")[0] in JSON_TYPES, told

    try:
        tried()
    except Unsatisfiable:
        pytest.skip("the document forbids nothing here")


def asked(caller: Caller, case: "Case[Any]", path: str, own: Targets) -> HttpResponse:
    """Send a case, at things that the caller has."""
    place = PARAMETER.sub(lambda found: own[found[1]], path)
    query = "&".join(f"{quote(name)}={quote(str(value))}" for name, value in _pairs(case.query))
    body = None
    if case.media_type is not None and not _is_unset(case.body):
        body = json.dumps(case.body, default=str).encode()
    named = {"content_type": case.media_type} if case.media_type else {}
    return caller.send(case.method, f"{place}?{query}" if query else place, body, **named)


def _pairs(query: object) -> list[tuple[str, object]]:
    return (
        [(str(name), value) for name, value in query.items()] if isinstance(query, Mapping) else []
    )


def _is_unset(body: object) -> bool:
    return type(body).__name__ == "NotSet"
