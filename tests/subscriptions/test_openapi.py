"""The OpenAPI document: sound, complete, and true to what the routes declare."""

import json
import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.validation import validate_schema

from kafkahub import problems
from tests.api import BASE, Caller, json_of

METHODS = {"get", "post", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the document as anybody gets it; it needs no row."""
    found: dict[str, Any] = json.loads(Client().get(f"{BASE}/openapi.json").content)
    return found


def declared(patterns: list[URLPattern | URLResolver], front: str = "/") -> set[tuple[str, str]]:
    """Return method and path of every operation of every API view."""
    found: set[tuple[str, str]] = set()
    for each in patterns:
        path = f"{front}{each.pattern}"
        if isinstance(each, URLResolver):
            found |= declared(each.url_patterns, path)
        elif path.startswith(BASE) and path != f"{BASE}/kafkahub.proto":  # a file for anybody
            view: Any = each.callback
            plain = re.sub(r"<str:(\w+)>", r"{\1}", path)
            found |= {(method.lower(), plain) for method in view.cls.operations}
    return found


def test_it_is_valid_openapi_31(document: dict[str, Any]) -> None:
    validate_schema(document)  # type: ignore[no-untyped-call]  # untyped there

    assert document["openapi"].startswith("3.1")


def test_it_is_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")

    assert "warning" not in capsys.readouterr().err.lower()


def test_it_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    described = {
        (method, path)
        for path, item in document["paths"].items()
        for method in item.keys() & METHODS
    }

    assert described == declared(get_resolver().url_patterns)


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    ]

    assert len(ids) == len(set(ids))


def test_every_refusal_is_a_problem_with_codes_that_are_promised(document: dict[str, Any]) -> None:
    promised = problems.statuses()
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if int(status) < 400:
                    continue
                content = answer["content"][problems.MEDIA_TYPE]
                assert content["schema"]["$ref"].endswith("/Problem")
                for code in re.findall(r"`(\w+)`", answer["description"]):
                    assert promised[code] == int(status)


def test_every_write_with_a_body_has_an_example_of_it(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert "example" in content, f"{method} {path}"


def test_a_partner_may_read_it_too(alice: Caller) -> None:
    assert json_of(alice.get("/openapi.json"))["paths"]
