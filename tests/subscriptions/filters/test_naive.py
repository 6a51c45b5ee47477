"""The compiled form of any filter means what a naive interpreter says.

The interpreter follows the words of the language on the JSON of the filter, and knows nothing of
trees and closures. Any: filters and values are any JSON.
"""

import operator
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.kafka.record import Record
from subscriptions.filters.closures import compile_filter
from subscriptions.filters.explain import explain, result
from subscriptions.filters.syntax import parse
from subscriptions.filters.view import View

MISSING = object()
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def naive_filter(value: dict[str, Any], roots: dict[str, Any]) -> bool | None:
    return both([naive_member(name, inner, roots) for name, inner in value.items()])


def naive_member(name: str, inner: Any, roots: dict[str, Any]) -> bool | None:
    match name:
        case "$and":
            return both([naive_filter(part, roots) for part in inner])
        case "$or":
            return either([naive_filter(part, roots) for part in inner])
        case "$not":
            return opposite(naive_filter(inner, roots))
    return naive(inner, roots[name])


def naive(condition: Any, value: Any) -> bool | None:
    if not isinstance(condition, dict):
        return naive_operator("$eq", condition, value)
    if any(name.startswith("$") and not name.startswith("$$") for name in condition):
        return both([naive_operator(name, inner, value) for name, inner in condition.items()])
    if not isinstance(value, list):
        return naive_fields(condition, value)
    indexed = {name: inner for name, inner in condition.items() if name.isdigit()}
    named = {name: inner for name, inner in condition.items() if not name.isdigit()}
    parts = [
        naive(inner, value[int(name)] if int(name) < len(value) else MISSING)
        for name, inner in indexed.items()
    ]
    if named:
        parts.append(either([naive_fields(named, one) for one in value]) if value else None)
    return both(parts)


def naive_fields(condition: dict[str, Any], value: Any) -> bool | None:
    members = value if isinstance(value, dict) else {}
    return both(
        [
            naive(inner, members.get(name.replace("$$", "$"), MISSING))
            for name, inner in condition.items()
        ]
    )


def naive_operator(name: str, operand: Any, value: Any) -> bool | None:
    if name == "$not":
        return opposite(naive(operand, value))
    if name in ("$and", "$or"):
        parts = [naive(part, value) for part in operand]
        return both(parts) if name == "$and" else either(parts)
    if name == "$exist":
        return (value is not MISSING) is operand
    if name in ("$neq", "$nin"):
        return opposite(naive_operator({"$neq": "$eq", "$nin": "$in"}[name], operand, value))
    elements = value if isinstance(value, list) else [value]
    return either([naive_scalar(name, operand, one) for one in elements]) if elements else None


def naive_scalar(name: str, operand: Any, value: Any) -> bool | None:
    if value is MISSING:
        return None
    if name in ("$eq", "$in"):
        operands = operand if name == "$in" else [operand]
        return any(kind(one) == kind(value) and one == value for one in operands)
    if name in ("$startsWith", "$endsWith"):
        method = str.startswith if name == "$startsWith" else str.endswith
        return method(value, operand) if isinstance(value, str) else None
    if kind(operand) != kind(value) or kind(value) not in ("number", "string"):
        return None
    return ORDERS[name](value, operand)


def kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
    return "other"


def both(verdicts: list[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def either(verdicts: list[bool | None]) -> bool | None:
    if True in verdicts:
        return True
    return None if None in verdicts else False


def opposite(verdict: bool | None) -> bool | None:
    return None if verdict is None else not verdict


names = st.sampled_from(["a", "b", "0", "1", "$$c"])
numbers = st.integers(-2, 3) | st.sampled_from([0.0, 0.5, 1.0, 2**53, float(2**53), 2**53 + 1])
texts = st.sampled_from(["", "a", "ab", "b", "1", "é"])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "$c"]), inner, max_size=3)
    ),
    max_leaves=8,
)
leaves = st.one_of(
    st.fixed_dictionaries({}, optional={"$eq": scalars, "$neq": scalars, "$gt": numbers | texts}),
    st.fixed_dictionaries({}, optional={"$gte": numbers | texts, "$lt": numbers | texts}),
    st.fixed_dictionaries({}, optional={"$lte": numbers | texts, "$exist": st.booleans()}),
    st.fixed_dictionaries({"$in": st.lists(scalars, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"$nin": st.lists(scalars, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"$startsWith": texts}),
    st.fixed_dictionaries({"$endsWith": texts}),
).filter(bool)
conditions: st.SearchStrategy[Any] = st.recursive(
    scalars | leaves,
    lambda inner: (
        st.dictionaries(names, inner, min_size=1, max_size=3)
        | st.fixed_dictionaries({"$not": inner})
        | st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)})
    ),
    max_leaves=6,
)
plain = st.fixed_dictionaries({}, optional={"type": scalars | leaves, "topic": scalars | leaves})
filters: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({"value": conditions}) | plain,
    lambda inner: (
        st.fixed_dictionaries({"$not": inner})
        | st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3), "type": texts})
        | st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)})
    ),
    max_leaves=4,
)


def view_of(value: object, event_type: str = "t") -> View:
    record = Record("orders", 3, 7, 0, None, msgspec.json.encode(value))
    return View(record, "json", event_type)


@given(conditions, values)
def test_a_compiled_condition_means_what_the_naive_one_means(condition: Any, value: Any) -> None:
    parsed = parse({"value": condition})

    verdict = compile_filter(parsed).run(view_of(value))

    assert verdict is naive(condition, value)
    assert explain(parsed, view_of(value)).result == result(verdict)


@given(filters, values, texts)
def test_a_compiled_filter_means_what_the_naive_one_means(
    value: dict[str, Any], content: Any, event_type: str
) -> None:
    parsed = parse(value)
    view = view_of(content, event_type)

    verdict = compile_filter(parsed).run(view)

    roots = {"value": content, "type": event_type, "topic": "orders"}
    assert verdict is naive_filter(value, roots)
    assert explain(parsed, view).result == result(verdict)


@given(filters, values, texts)
def test_no_record_passes_without_a_value_of_the_index(
    value: dict[str, Any], content: Any, event_type: str
) -> None:
    test = compile_filter(parse(value))
    if test.index is None or test.run(view_of(content, event_type)) is not True:
        return

    condition: Any = {"$in": list(test.index.values)}
    root, *names = test.index.path
    for name in reversed(names):
        condition = {f"${name}" if name.startswith("$") else name: condition}

    narrowed = compile_filter(parse({root: condition}))
    assert narrowed.run(view_of(content, event_type)) is True
