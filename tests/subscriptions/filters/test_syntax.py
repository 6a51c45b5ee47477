"""What the filter language takes, and what it says of everything else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.errors import Fault, Invalid
from subscriptions.filters.faults import Limits
from subscriptions.filters.syntax import LIMITS, URL_LIMITS, parse
from subscriptions.filters.tree import All, AnyOf, At, Clause, Fields, Not


def faults_of(value: object, **options: Any) -> list[Fault]:
    """Return what is wrong with a filter; Any: the options of ``parse``."""
    with pytest.raises(Invalid) as caught:
        parse(value, **options)
    assert caught.value.instance_code == "invalid_filter"
    return list(caught.value.faults)


def test_nothing_at_all_is_a_filter() -> None:
    assert parse({}).node == All((), "")


def test_a_filter_becomes_a_tree() -> None:
    value = {"type": "a", "value": {"total": {"$gte": 5, "$not": {"$in": [7]}}, "$$x": None}}

    total = All(
        (
            Clause("$gte", 5, "/value/total/$gte"),
            Not(Clause("$in", (7,), "/value/total/$not/$in"), "/value/total/$not"),
        ),
        "/value/total",
    )
    fields = Fields((("total", total), ("$x", Clause("$eq", None, "/value/$$x"))), "/value")
    assert parse(value).node == All(
        (At("type", Clause("$eq", "a", "/type"), "/type"), At("value", fields, "/value")), ""
    )


def test_groups_join_filters_and_conditions() -> None:
    value = {"$or": [{"type": "a"}, {"key": {"$or": ["k", {"$exist": False}]}}]}

    key = AnyOf(
        (
            Clause("$eq", "k", "/$or/1/key/$or/0"),
            Clause("$exist", False, "/$or/1/key/$or/1/$exist"),
        ),
        "/$or/1/key/$or",
    )
    assert parse(value).node == AnyOf(
        (
            At("type", Clause("$eq", "a", "/$or/0/type"), "/$or/0/type"),
            At("key", key, "/$or/1/key"),
        ),
        "/$or",
    )


def test_names_are_escaped_in_pointers() -> None:
    assert faults_of({"value": {"a/b~c": []}})[0].pointer == "/value/a~1b~0c"


MISTAKES: list[tuple[object, str, str, str | None]] = [
    # value, pointer, code, nearest
    (None, "", "wrong_operand", None),
    ([], "", "wrong_operand", None),
    ("type", "", "wrong_operand", None),
    ({"valu": 1}, "/valu", "unknown_root", "value"),
    ({"data": {"a": 1}}, "/data", "unknown_root", "value"),
    ({"zzz": 1}, "/zzz", "unknown_root", None),
    ({"$eq": 1}, "/$eq", "unknown_root", None),
    ({"$nand": []}, "/$nand", "unknown_operator", "$and"),
    ({"value": {"amount": {"$gtr": 1}}}, "/value/amount/$gtr", "unknown_operator", "$gt"),
    ({"value": {"$ne": 1}}, "/value/$ne", "unknown_operator", "$neq"),
    ({"value": {"$exists": True}}, "/value/$exists", "unknown_operator", "$exist"),
    ({"value": {"$regex": "x"}}, "/value/$regex", "unknown_operator", None),
    ({"value": {"$": 1}}, "/value/$", "unknown_operator", None),
    ({"type": {"eq": "x"}}, "/type/eq", "unknown_operator", "$eq"),
    (
        {"headers": {"h": {"startsWith": "x"}}},
        "/headers/h/startsWith",
        "unknown_operator",
        "$startsWith",
    ),
    ({"value": {"a": {"$gt": None}}}, "/value/a/$gt", "wrong_operand", None),
    ({"value": {"a": {"$gt": True}}}, "/value/a/$gt", "wrong_operand", None),
    ({"value": {"a": {"$lt": {"b": 1}}}}, "/value/a/$lt", "wrong_operand", None),
    ({"value": {"a": {"$eq": {"b": 1}}}}, "/value/a/$eq", "wrong_operand", None),
    ({"value": {"a": {"$startsWith": 1}}}, "/value/a/$startsWith", "wrong_operand", None),
    ({"value": {"a": {"$exist": 1}}}, "/value/a/$exist", "wrong_operand", None),
    ({"value": {"a": {"$in": "x"}}}, "/value/a/$in", "wrong_operand", None),
    ({"value": {"a": {"$in": [1, [2]]}}}, "/value/a/$in/1", "wrong_operand", None),
    ({"value": {"a": {"$in": []}}}, "/value/a/$in", "empty_list", None),
    ({"value": {"a": {"$and": []}}}, "/value/a/$and", "empty_list", None),
    ({"value": {"a": {"$or": {}}}}, "/value/a/$or", "wrong_operand", None),
    ({"$and": {}}, "/$and", "wrong_operand", None),
    ({"$or": []}, "/$or", "empty_list", None),
    ({"$or": [1]}, "/$or/0", "wrong_operand", None),
    ({"$not": 1}, "/$not", "wrong_operand", None),
    ({"value": {}}, "/value", "wrong_operand", None),
    ({"value": {"a": 1, "$gt": 2}}, "/value", "mixed_object", None),
    ({"value": {"a": [1]}}, "/value/a", "array_literal", None),
    ({"value": {"a": {"$eq": [1]}}}, "/value/a/$eq", "array_literal", None),
    ({"value": {"a": {"$not": [1]}}}, "/value/a/$not", "array_literal", None),
    ({"value": {"a": 2**63 + 1}}, "/value/a", "wrong_operand", None),
    ({"value": {"a": float("inf")}}, "/value/a", "wrong_operand", None),
    ({"timestamp": {"$gt": "yesterday"}}, "/timestamp/$gt", "wrong_operand", None),
    ({"timestamp": {"$gt": "2026-02-30T00:00:00Z"}}, "/timestamp/$gt", "wrong_operand", None),
    ({"timestamp": {"$gt": "2026-01-01"}}, "/timestamp/$gt", "wrong_operand", None),
    ({"timestamp": {"$startsWith": "2026"}}, "/timestamp/$startsWith", "wrong_operand", None),
    ({"partition": {"$endsWith": "1"}}, "/partition/$endsWith", "wrong_operand", None),
]


@pytest.mark.parametrize(("value", "pointer", "code", "nearest"), MISTAKES)
def test_a_mistake_is_named_at_its_place(
    value: object, pointer: str, code: str, nearest: str | None
) -> None:
    (fault,) = faults_of(value)

    assert (fault.pointer, fault.code, fault.more.get("nearest")) == (pointer, code, nearest)


def test_the_text_says_where_what_and_how_to_mend_it() -> None:
    (fault,) = faults_of({"value": {"amount": {"$gtr": 1}}}, at="/filter")

    assert fault.pointer == "/filter/value/amount/$gtr"
    assert fault.message == ('filter.value.amount: unknown operator "$gtr", did you mean "$gt"?')


def test_all_faults_are_told_at_once_but_not_without_end() -> None:
    assert [fault.code for fault in faults_of({"a": 1, "value": [], "$or": []})] == [
        "unknown_root",
        "array_literal",
        "empty_list",
    ]
    assert len(faults_of({f"root{number}": 1 for number in range(200)})) == 50


def nested(depth: int) -> dict[str, Any]:
    """Return a filter whose objects stand inside each other ``depth`` deep."""
    inner: Any = {"$exist": True}
    for _ in range(depth - 2):
        inner = {"a": inner}
    return {"value": inner}


def many(count: int) -> dict[str, Any]:
    return {"value": {f"f{number}": 1 for number in range(count)}}


def listed(*lengths: int) -> dict[str, Any]:
    return {"value": {f"f{at}": {"$in": [0] * length} for at, length in enumerate(lengths)}}


def alternatives(count: int) -> dict[str, Any]:
    return {"$or": [{"type": "a"}] * count}


def long_text(count: int) -> dict[str, Any]:
    return {"type": "a" * count}


def long_name(count: int) -> dict[str, Any]:
    return {"value": {"a" * count: 1}}


def long_filter(count: int) -> dict[str, Any]:
    """Return a filter of ``count`` bytes in all, each text short enough."""
    texts = ["a" * 1_000] * (count // 1_003)
    value = {"type": {"$in": texts}}
    spare = count - len('{"type":{"$in":[]}}') - 1_003 * len(texts) + 1
    texts.append("a" * (spare - 3))
    return value


EDGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (nested(16), nested(17), "too_deep"),
    (many(200), many(201), "too_many"),
    (alternatives(50), alternatives(51), "too_many"),
    (listed(1_000), listed(1_001), "too_many"),
    (listed(*[1_000] * 5), listed(*[1_000] * 5, 1), "too_many"),
    (long_text(1_024), long_text(1_025), "too_long"),
    (long_name(1_024), long_name(1_025), "too_long"),
    (long_filter(16_384), long_filter(16_385), "too_long"),
    ({"value": 2**63}, {"value": 2**63 + 1}, "wrong_operand"),
    ({"value": -(2**63)}, {"value": -(2**63) - 1}, "wrong_operand"),
]


@pytest.mark.parametrize(("inside", "outside", "code"), EDGES)
def test_each_limit_holds_to_the_last_one(
    inside: dict[str, Any], outside: dict[str, Any], code: str
) -> None:
    parse(inside)

    assert [fault.code for fault in faults_of(outside)] == [code]


@pytest.mark.parametrize(
    "deep",
    [
        {"$and": [{"$and": [{"$and": [{"$and": [nested(9)]}]}]}]},
        {"$not": nested(16)},
        {"$or": [nested(15)]},
    ],
)
def test_lists_and_negations_count_as_depth(deep: dict[str, Any]) -> None:
    assert {fault.code for fault in faults_of(deep)} == {"too_deep"}


def test_a_list_of_operands_counts_as_depth() -> None:
    inner: Any = {"$in": [1]}
    for _ in range(14):
        inner = {"a": inner}

    assert [fault.code for fault in faults_of({"value": inner})] == ["too_deep"]


def test_a_filter_in_a_url_is_shorter() -> None:
    parse(long_filter(2_048), limits=URL_LIMITS)

    assert faults_of(long_filter(2_049), limits=URL_LIMITS)[0].code == "too_long"


def test_something_nested_without_end_is_refused_without_following_it() -> None:
    endless: dict[str, Any] = {}
    endless["$not"] = endless

    assert [fault.code for fault in faults_of(endless)] == ["too_deep"]


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("2026-11-23T04:19:00Z", 1_795_407_540_000),
        ("2026-11-23t04:19:00.123z", 1_795_407_540_123),
        ("2026-11-23T05:19:00.123456+01:00", 1_795_407_540_123.456),
    ],
)
def test_times_become_unix_ms(text: str, unix_ms: float) -> None:
    assert parse({"timestamp": {"$gt": text}}).node == At(
        "timestamp", Clause("$gt", unix_ms, "/timestamp/$gt"), "/timestamp"
    )


words = st.sampled_from(
    [
        "value",
        "key",
        "type",
        "timestamp",
        "$and",
        "$or",
        "$not",
        "$eq",
        "$in",
        "$gt",
        "a",
        "0",
        "$$b",
    ]
)
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=30,
)


@given(json)
def test_any_json_is_a_filter_or_refused_with_places_that_exist(value: object) -> None:
    try:
        parse(value, limits=Limits(depth=4, conditions=5, branches=3))
    except Invalid as refusal:
        places = [fault.pointer for fault in refusal.faults]
    else:
        return

    assert places
    assert all(exists(value, place) for place in places)


def exists(value: Any, pointer: str) -> bool:
    """Return whether a pointer leads somewhere in a JSON value (Any: it is any JSON)."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            value = value[int(name)]
        elif name in value:
            value = value[name]
        else:
            return False
    return True


def test_the_limits_are_the_documented_ones() -> None:
    assert Limits(16_384, 16, 200, 50, 1_000, 5_000, 1_024) == LIMITS
