"""Why a filter is true, false or missing."""

from typing import Any

import msgspec
import pytest

from kafkahub.kafka.record import Record
from subscriptions.filters.explain import explain
from subscriptions.filters.syntax import parse
from subscriptions.filters.view import View


def shown(value: dict[str, Any], content: object) -> dict[str, object]:
    of = Record("orders", 0, 7, 0, b"k", msgspec.json.encode(content))
    return explain(parse(value), View(of, "json", "order.created")).as_json()


def test_the_documented_answer() -> None:
    value = {"value": {"type": "order", "total": {"$gte": 100}}}

    assert shown(value, {"type": "order", "total": 80}) == {
        "result": "false",
        "first_false": {"pointer": "/value/total/$gte", "value": 80, "operand": 100},
        "clauses": [
            {"pointer": "/value/type", "result": "true"},
            {"pointer": "/value/total/$gte", "result": "false"},
        ],
    }


def test_what_matches_has_no_culprit() -> None:
    assert shown({"type": "order.created"}, {}) == {
        "result": "true",
        "clauses": [{"pointer": "/type", "result": "true"}],
    }


CULPRITS: list[tuple[dict[str, Any], object, dict[str, Any]]] = [
    ({"value": {"a": 1}}, {}, {"pointer": "/value/a", "operand": 1}),
    ({"value": {"a": 1, "b": 2}}, {"b": 3}, {"pointer": "/value/b", "value": 3, "operand": 2}),
    ({"$not": {"type": "order.created"}}, {}, {"pointer": "/$not"}),
    ({"key": {"$nin": ["k"]}}, {}, {"pointer": "/key/$nin", "value": "k", "operand": ["k"]}),
    (
        {"$or": [{"type": "a"}, {"type": "b"}]},
        {},
        {"pointer": "/$or/0/type", "value": "order.created", "operand": "a"},
    ),
    (
        {"value": {"a": 1, "b": 2}},
        [{"a": 1, "b": 3}, {"a": 2, "b": 2}],
        {"pointer": "/value/b", "value": 3, "operand": 2},
    ),
    ({"value": {"1": "x"}}, ["x", "y"], {"pointer": "/value/1", "value": "y", "operand": "x"}),
    ({"value": {"a": {"$exist": False}}}, [], {"pointer": "/value"}),
]


@pytest.mark.parametrize(("value", "content", "culprit"), CULPRITS)
def test_the_first_thing_in_the_way_is_named(
    value: dict[str, Any], content: object, culprit: dict[str, Any]
) -> None:
    assert shown(value, content)["first_false"] == culprit


def test_the_element_that_passes_is_the_one_explained() -> None:
    value = {"value": {"a": 1, "b": {"$exist": True}}}

    assert shown(value, [{"a": 2}, {"a": 1, "b": 0}]) == {
        "result": "true",
        "clauses": [
            {"pointer": "/value/a", "result": "true"},
            {"pointer": "/value/b/$exist", "result": "true"},
        ],
    }
