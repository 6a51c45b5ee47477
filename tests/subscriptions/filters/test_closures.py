"""What filters mean: the table of three values, by example."""

from typing import Any

import msgspec
import pytest

from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record
from subscriptions.filters.closures import Index, compile_filter
from subscriptions.filters.explain import explain
from subscriptions.filters.syntax import parse
from subscriptions.filters.view import View

MINUTE_MS = 1_795_407_540_000


def record(
    value: object,
    *,
    key: bytes | None = None,
    timestamp_ms: int | None = MINUTE_MS,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> Record:
    return Record("orders", 3, 7, timestamp_ms, key, msgspec.json.encode(value), headers)


def verdict(value: dict[str, Any], of: Record) -> bool | None:
    parsed = parse(value)
    view = View(of, "json", "order.created")
    result = compile_filter(parsed).run(view)

    assert explain(parsed, view).result == {True: "true", False: "false", None: "missing"}[result]
    return result


CASES: list[tuple[object, object, bool | None]] = [
    # condition on the value, value, verdict
    (1, 1, True),
    (1, 1.0, True),
    (1.0, 1, True),
    (1, True, False),
    (True, 1, False),
    (0, False, False),
    (True, True, True),
    (None, None, True),
    (None, 0, False),
    ("1", 1, False),
    (9007199254740993, 9007199254740992, False),
    (9007199254740993, 9007199254740993, True),
    ({"$neq": 1}, 2, True),
    ({"$neq": 1}, "1", True),
    ({"$neq": 1}, 1, False),
    ({"$gt": 1}, 2, True),
    ({"$gt": 1}, 1, False),
    ({"$gte": 1}, 1, True),
    ({"$lt": 9007199254740993}, 9007199254740992, True),
    ({"$lte": 1}, 1.5, False),
    ({"$gt": "a"}, "b", True),
    ({"$lt": "é"}, "z", True),
    ({"$gt": 1}, "2", None),
    ({"$gt": "1"}, 2, None),
    ({"$gt": 0}, True, None),
    ({"$gt": 0}, None, None),
    ({"$gt": 0}, {"a": 1}, None),
    ({"$not": {"$gt": 1}}, "2", None),
    ({"$in": [1, "a", None]}, None, True),
    ({"$in": [1, "a"]}, 1.0, True),
    ({"$in": [1, "a"]}, True, False),
    ({"$in": [True]}, 1, False),
    ({"$in": [True]}, True, True),
    ({"$in": [1]}, {}, False),
    ({"$nin": [1, 2]}, 3, True),
    ({"$nin": [1, 2]}, 2, False),
    ({"$startsWith": "ab"}, "abc", True),
    ({"$startsWith": "b"}, "abc", False),
    ({"$endsWith": "bc"}, "abc", True),
    ({"$startsWith": ""}, "", True),
    ({"$startsWith": "1"}, 1, None),
    ({"$exist": True}, None, True),
    ({"$exist": False}, None, False),
    # arrays: one element is enough, $neq and $nin want none, empty is unknown
    (1, [2, 1], True),
    (1, [2], False),
    (1, [], None),
    (1, [[1]], False),
    ({"$neq": 1}, [2, 3], True),
    ({"$neq": 1}, [1, 2], False),
    ({"$neq": 1}, [], None),
    ({"$nin": [1]}, [2, 1], False),
    ({"$nin": [1]}, [2, 3], True),
    ({"$in": [1]}, [3, 1], True),
    ({"$gt": 5}, [1, 9], True),
    ({"$gt": 5}, [1, "x"], None),
    ({"$gt": 5}, [1, 2], False),
    ({"$startsWith": "a"}, ["b", "ab"], True),
    ({"$exist": True}, [], True),
    # fields
    ({"a": 1}, {"a": 1}, True),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, True),
    ({"a": 1}, {}, None),
    ({"a": 1}, "text", None),
    ({"a": {"b": 1}}, {"a": 5}, None),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, False),
    ({"a": 1, "b": 2}, {"a": 1}, None),
    ({"a": 1, "b": 2}, {"b": 3}, False),
    ({"a": {"$exist": False}}, {}, True),
    ({"a": {"$exist": False}}, {"a": None}, False),
    ({"a": {"$neq": 1}}, {}, None),
    ({"a": {"$not": 1}}, {}, None),
    ({"a": {"$or": [{"$neq": 1}, {"$exist": False}]}}, {}, True),
    ({"a": {"$and": [{"$exist": False}, {"$eq": 1}]}}, {}, None),
    ({"$$a": 1}, {"$a": 1}, True),
    ({"0": "x"}, {"0": "x"}, True),
    # fields of lists: digits index, the other names hold together in one element
    ({"0": "x"}, ["x", "y"], True),
    ({"1": "x"}, ["x", "y"], False),
    ({"2": "x"}, ["x", "y"], None),
    ({"2": {"$exist": False}}, ["x", "y"], True),
    ({"a": 1}, [{"a": 2}, {"a": 1}], True),
    ({"a": 1}, [{"a": 2}, {}], None),
    ({"a": 1}, [], None),
    ({"a": 1}, [[{"a": 1}]], None),
    ({"a": 1, "b": 2}, [{"a": 1}, {"b": 2}], None),
    ({"a": 1, "b": 2}, [{"a": 1, "b": 3}, {"a": 2, "b": 2}], False),
    ({"a": 1, "b": 2}, [{"a": 0}, {"a": 1, "b": 2}], True),
    ({"0": {"a": 1}, "b": 2}, [{"a": 1}, {"b": 2}], True),
    ({"0": {"a": 1}, "b": 2}, [{"a": 1}, {"b": 3}], None),
]


@pytest.mark.parametrize(("condition", "value", "expected"), CASES)
def test_the_table_of_meanings(condition: object, value: object, expected: bool | None) -> None:
    assert verdict({"value": condition}, record(value)) is expected


@pytest.mark.parametrize(
    ("left", "right", "both", "one"),
    [
        (True, True, True, True),
        (True, False, False, True),
        (True, None, None, True),
        (False, False, False, False),
        (False, None, False, None),
        (None, None, None, None),
    ],
)
def test_unknown_loses_to_false_in_and_to_true_in_or(
    left: bool | None, right: bool | None, both: bool | None, one: bool | None
) -> None:
    spelled: dict[bool | None, Any] = {
        True: {"partition": 3},
        False: {"partition": 4},
        None: {"value": {"missing": 1}},
    }
    for pair in ([spelled[left], spelled[right]], [spelled[right], spelled[left]]):
        assert verdict({"$and": pair}, record({})) is both
        assert verdict({"$or": pair}, record({})) is one


ROOTS: list[tuple[dict[str, Any], bool | None]] = [
    ({}, True),
    ({"topic": "orders"}, True),
    ({"topic": {"$startsWith": "inv"}}, False),
    ({"type": {"$endsWith": ".created"}}, True),
    ({"partition": 3}, True),
    ({"partition": {"$in": [1, 2]}}, False),
    ({"key": "k-1"}, True),
    ({"timestamp": MINUTE_MS}, True),
    ({"timestamp": "2026-11-23T04:19:00Z"}, True),
    ({"timestamp": {"$gt": "2026-11-23T04:18:59.9999Z"}}, True),
    ({"timestamp": {"$in": ["2026-11-23T05:19:00+01:00"]}}, True),
    ({"headers": {"a": "2"}}, True),
    ({"headers": {"a": "1"}}, False),
    ({"headers": {"A": "2"}}, None),
    ({"headers": {"raw": {"$exist": True}}}, False),
    ({"headers": {"none": None}}, True),
    ({"headers": {"a": "2", "none": {"$exist": True}}}, True),
    ({"$not": {"topic": "orders"}}, False),
    ({"topic": "orders", "partition": 4}, False),
]
HEADERS = (("a", b"1"), ("raw", b"text"), ("raw", b"\xff"), ("a", b"2"), ("none", None))


@pytest.mark.parametrize(("value", "expected"), ROOTS)
def test_every_root_can_be_asked(value: dict[str, Any], expected: bool | None) -> None:
    assert verdict(value, record({}, key=b"k-1", headers=HEADERS)) is expected


@pytest.mark.parametrize(
    ("key", "seen"), [(None, None), (b"", ""), (b"text", "text"), (b"\xff\x00", "/wA=")]
)
def test_a_key_is_text_or_else_base64(key: bytes | None, seen: str | None) -> None:
    assert verdict({"key": seen}, record({}, key=key)) is True


def test_a_record_without_a_time_has_null_there() -> None:
    of = record({}, timestamp_ms=None)

    assert verdict({"timestamp": None}, of) is True
    assert verdict({"timestamp": {"$gt": 0}}, of) is None


@pytest.mark.parametrize(
    ("topic_format", "value", "seen"),
    [
        ("json", None, None),
        ("string", None, None),
        ("string", b"t\xc3\xa9", "té"),
        ("binary", None, None),
        ("binary", b"\xff", {"base64": "/w=="}),
        ("json", b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_values_are_seen_as_partners_get_them(
    topic_format: str, value: bytes | None, seen: object
) -> None:
    assert View(Record("t", 0, 0, 0, None, value), topic_format, "t").value() == seen


BROKEN = [
    ("json", b""),
    ("json", b"{"),
    ("json", b'"\xff"'),
    ("json", b"NaN"),
    ("json", b"1e999"),
    ("json", b"[" * 100_000),
    ("string", b"\xff"),
]


@pytest.mark.parametrize(("topic_format", "value"), BROKEN)
def test_a_value_that_cannot_be_decoded_is_not_passed_over(topic_format: str, value: bytes) -> None:
    test = compile_filter(parse({"value": {"a": 1}}))

    with pytest.raises(Undecodable):
        test.run(View(Record("t", 0, 0, 0, None, value), topic_format, "t"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"value": {"a": 1}, "type": "other"}, False),
        ({"$or": [{"value": {"a": 1}}, {"type": "t"}]}, True),
    ],
)
def test_a_value_that_decides_nothing_is_not_decoded(value: dict[str, Any], expected: bool) -> None:
    test = compile_filter(parse(value))

    assert test.needs_value
    assert test.run(View(Record("t", 0, 0, 0, None, b"{"), "json", "t")) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, False),
        ({"type": "a", "headers": {"b": "c"}}, False),
        ({"$or": [{"type": "a"}, {"$not": {"value": 1}}]}, True),
    ],
)
def test_a_filter_says_whether_it_needs_the_value(value: dict[str, Any], expected: bool) -> None:
    assert compile_filter(parse(value)).needs_value is expected


def test_a_value_nested_as_deep_as_can_be_decoded_exhausts_no_stack() -> None:
    deep = b"[" * 500 + b"1" + b"]" * 500
    test = compile_filter(parse({"value": {"a": {"b": {"$not": {"$gt": 1}}}}}))

    assert test.run(View(Record("t", 0, 0, 0, None, deep), "json", "t")) is None


@pytest.mark.parametrize(
    ("value", "index"),
    [
        ({}, None),
        ({"value": {"type": {"a": "x"}}}, Index(("value", "type", "a"), "$eq", ("x",))),
        ({"type": {"$gt": "a", "$in": ["b", "c"]}}, Index(("type",), "$in", ("b", "c"))),
        ({"$and": [{"key": {"$exist": True}}, {"key": "k"}]}, Index(("key",), "$eq", ("k",))),
        ({"$or": [{"type": "a"}]}, None),
        ({"$not": {"type": "a"}}, None),
        ({"type": {"$neq": "a"}}, None),
    ],
)
def test_the_first_equality_that_must_hold_is_the_index(
    value: dict[str, Any], index: Index | None
) -> None:
    assert compile_filter(parse(value)).index == index
