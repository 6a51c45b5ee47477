"""What one grant makes of one record."""

from dataclasses import replace
from typing import Any

import pytest

from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record
from subscriptions import denials, grant_rules, masks
from subscriptions.access import authorize_and_project
from subscriptions.filters.view import View
from subscriptions.grants import Grant
from subscriptions.projection import Projection, TopicForm

NOW_MS = 1_800_000_000_000
ORDERS = TopicForm("orders", "json", "constant", "")
KEY = masks.key_of(bytes(range(32)), "ptn_alice")
RECORD = Record(
    "orders",
    0,
    7,
    NOW_MS,
    b"eu-1",
    b'{"id": 7, "total": 80, "card": "4111111111111111"}',
    (("trace", b"t"), ("secret", b"s")),
)


def projection(
    topic: TopicForm = ORDERS, history_from_ms: int | None = None, **values: Any
) -> Projection:
    rules = grant_rules.read(values, topic_format=topic.format, history_from_ms=history_from_ms)
    return Projection(rules, topic, KEY, repr(values))


def seen(record: Record = RECORD, **values: Any) -> Record | None:
    return projection(**values).apply(record, None)


def replace_value(record: Record, value: bytes) -> Record:
    return Record("orders", 0, 7, NOW_MS, record.key, value)


@pytest.mark.parametrize(
    "values",
    [
        {"key_rule": {"prefix": "us-"}},
        {"row_filter": {"value": {"total": {"$gte": 100}}}},
        {"row_filter": {"value": {"missing": 1}}},
        {"row_filter": {"type": "invoices"}},
        {"history_from_ms": NOW_MS + 1},
        {"max_bytes": 10},
    ],
)
def test_a_record_that_the_rules_hide_is_nothing(values: dict[str, Any]) -> None:
    assert seen(**values) is None


@pytest.mark.parametrize(
    "values",
    [
        {"key_rule": {"prefix": "eu-"}},
        {"row_filter": {"value": {"total": {"$lt": 100}}, "headers": {"secret": "s"}}},
        {"row_filter": {"type": "orders"}},
        {"history_from_ms": NOW_MS},
        {"max_bytes": 1_000},
        {"headers": ["trace", "secret"]},
    ],
)
def test_a_record_that_the_rules_show_whole_is_the_same_object_or_equal(
    values: dict[str, Any],
) -> None:
    assert seen(**values) == RECORD


def test_fields_masks_key_and_headers_change_what_is_shown() -> None:
    shown = seen(
        fields=["/id", "/card"], masks={"/card": "last4"}, key_visible=False, headers=["trace"]
    )

    assert shown is not None
    assert shown.value == b'{"id":7,"card":"****1111"}'
    assert shown.headers == (("trace", b"t"),)
    assert shown.key is not None
    assert b"eu" not in shown.key
    assert shown.position == RECORD.position


def test_a_value_in_parts_brings_no_header_that_is_not_named() -> None:
    shown = seen(masks={"/card": "drop"})

    assert shown is not None
    assert shown.headers == ()


def test_the_filter_of_a_grant_sees_what_it_hides() -> None:
    shown = seen(fields=["/id"], row_filter={"value": {"card": {"$startsWith": "4"}}})

    assert shown is not None
    assert shown.value == b'{"id":7}'


def test_a_tombstone_keeps_its_key_and_nothing_else() -> None:
    stone = Record("orders", 0, 7, NOW_MS, b"k", None)

    assert seen(stone, fields=["/id"]) == stone


def test_a_record_without_time_is_older_than_any_window() -> None:
    timeless = Record("orders", 0, 7, None, b"k", b"{}")

    assert seen(timeless, history_from_ms=0) is None


def test_a_decoded_view_is_used_again() -> None:
    other = View(replace_value(RECORD, b'{"total": 81}'), "json", "orders")
    made = projection(row_filter={"value": {"total": 80}})

    assert made.apply(RECORD, None) is RECORD
    assert made.apply(RECORD, other) is None


@pytest.mark.parametrize("value", [b"{", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize(
    "values",
    [{"row_filter": {"value": {"id": 7}}}, {"fields": ["/id"]}, {"masks": {"/id": "drop"}}],
)
def test_what_cannot_be_decoded_is_denied_and_counted(value: bytes, values: dict[str, Any]) -> None:
    broken = Record("orders", 0, 7, NOW_MS, b"k", value)
    made = projection(**values)
    grant = Grant("grt_1", "ptn_alice", "orders", "read", 1, projection=made)
    counter = denials.undecodable_records.labels("orders")
    before = counter._value.get()

    assert authorize_and_project(broken, grant, NOW_MS) is None
    assert counter._value.get() == before + 1


def test_a_filter_that_needs_no_value_shows_what_cannot_be_decoded() -> None:
    broken = Record("orders", 0, 7, NOW_MS, b"k", b"{")

    assert seen(broken, row_filter={"key": "k"}) is broken


def test_a_topic_that_is_json_no_more_shows_no_parts() -> None:
    made = projection(fields=["/id"])
    made._topic = TopicForm("orders", "binary", "constant", "")

    with pytest.raises(Undecodable):
        made.apply(RECORD, None)


def test_grants_with_equal_rules_are_equal_and_hash_alike() -> None:
    one, two = (
        Grant("grt_1", "p", "orders", "read", 1, projection=projection(fields=["/id"]))
        for _ in range(2)
    )
    other = replace(one, projection=projection(fields=["/x"]))

    assert one == two
    assert hash(one) == hash(two)
    assert one != other
    assert one.seals
    assert not one.is_filtered
