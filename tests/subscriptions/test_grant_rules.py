"""What a grant says, read from JSON: sound rules, and every fault with its place."""

from typing import Any

import pytest

from kafkahub.errors import Invalid
from subscriptions import grant_rules
from subscriptions.grant_rules import PLAIN, Rules


def read(topic_format: str = "json", **values: Any) -> Rules:
    return grant_rules.read(values, topic_format=topic_format, history_from_ms=None)


def faults(topic_format: str = "json", **values: Any) -> dict[str, str]:
    """Return the codes of the faults by their places."""
    with pytest.raises(Invalid) as caught:
        read(topic_format, **values)
    return {fault.pointer: fault.code for fault in caught.value.faults}


def test_a_grant_that_says_nothing_shows_everything() -> None:
    assert read() == PLAIN
    assert read(row_filter={}, masks={}, fields=None, headers=None, key_visible=True).is_plain


@pytest.mark.parametrize(
    ("rule", "shown", "hidden"),
    [
        ({"equals": "a"}, [b"a"], [b"ab", b"", None]),
        ({"prefix": "eu-"}, [b"eu-", b"eu-1"], [b"us-1", b"eu", None]),
        ({"in": ["a", "\u00e4"]}, [b"a", "\u00e4".encode()], [b"b", None]),
    ],
)
def test_a_key_rule_shows_its_keys_only(
    rule: object, shown: list[bytes], hidden: list[bytes | None]
) -> None:
    read_rule = read(key_rule=rule).key_rule

    assert read_rule is not None
    assert all(read_rule.holds(key) for key in shown)
    assert not any(read_rule.holds(key) for key in hidden)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"key_rule": {"regex": "x"}}, {"/key_rule": "wrong_operand"}),
        ({"key_rule": {"equals": "a", "prefix": "b"}}, {"/key_rule": "wrong_operand"}),
        ({"key_rule": {"in": []}}, {"/key_rule": "wrong_operand"}),
        ({"key_rule": {"in": ["a", 5]}}, {"/key_rule/in/1": "wrong_type"}),
        ({"key_rule": {"equals": "a\0"}}, {"/key_rule/equals": "wrong_type"}),
        ({"key_rule": "x"}, {"/key_rule": "wrong_operand"}),
        ({"row_filter": {"value": {"$regex": "x"}}}, {"/row_filter/value/$regex": None}),
        ({"row_filter": []}, {"/row_filter": "wrong_operand"}),
        ({"fields": []}, {"/fields": "wrong_type"}),
        ({"fields": ["a"]}, {"/fields/0": "invalid_pointer"}),
        ({"fields": ["/a", "/b~2", 5]}, dict.fromkeys(("/fields/1", "/fields/2"))),
        ({"fields": ["/" * 17]}, {"/fields/0": "invalid_pointer"}),
        ({"fields": "/a"}, {"/fields": "wrong_type"}),
        ({"masks": {"/a": "rot13"}}, {"/masks/~1a": "not_one_of"}),
        ({"masks": {"a": "hash"}}, {"/masks/a": "invalid_pointer"}),
        ({"masks": ["/a"]}, {"/masks": "wrong_type"}),
        ({"headers": "trace"}, {"/headers": "wrong_type"}),
        ({"headers": [""]}, {"/headers": "wrong_type"}),
        ({"max_bytes": 0}, {"/max_bytes": "out_of_range"}),
        ({"max_bytes": True}, {"/max_bytes": "out_of_range"}),
    ],
)
def test_each_fault_is_told_at_its_place(
    values: dict[str, Any], found: dict[str, str | None]
) -> None:
    told = faults(**values)

    assert told.keys() == found.keys()
    assert all(code is None or told[place] == code for place, code in found.items())


def test_all_faults_are_told_at_once() -> None:
    assert faults(key_rule=1, fields=1, masks=1).keys() == {"/key_rule", "/fields", "/masks"}


@pytest.mark.parametrize("topic_format", ["string", "binary"])
def test_values_without_parts_have_none_to_show_or_mask(topic_format: str) -> None:
    assert faults(topic_format, fields=["/a"]) == {"/fields": "not_json"}
    assert faults(topic_format, masks={"/a": "hash"}) == {"/masks": "not_json"}
    assert read(topic_format, row_filter={"key": "a"}).is_filtered


def test_what_hides_records_and_what_hides_parts_is_told_apart() -> None:
    assert read(key_rule={"equals": "a"}).is_filtered
    assert read(row_filter={"key": "a"}).is_filtered
    assert not read(fields=["/a"]).is_filtered
    assert read(fields=["/a"]).is_masked
    assert read(masks={"/a": "drop"}).is_masked
