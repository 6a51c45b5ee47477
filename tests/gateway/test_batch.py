"""Records to write in the native form: bytes kept, everything odd refused with its place."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.batch import read_entries, report
from kafkahub.errors import Invalid
from kafkahub.kafka.record import Entry, Refused, Result, Written


def entry(text: str, topic_format: str = "json") -> Entry:
    """Return the one record in a text."""
    ((found,), _) = read_entries([msgspec.Raw(text.encode())], topic_format)
    return found


@pytest.mark.parametrize(
    "value", ["1.50e0", "12345678901234567890123", '{ "a" : [1, 2] }', "0", '""']
)
def test_a_json_value_is_kept_byte_for_byte(value: str) -> None:
    assert entry(f'{{"value": {value} }}').value == value.encode()


@pytest.mark.parametrize("text", ["{}", '{"value":null}', '{"value_base64":null}'])
def test_no_value_is_a_tombstone(text: str) -> None:
    assert entry(text).value is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"key":"c-17"}', b"c-17"),
        ('{"key":""}', b""),
        ('{"key":null}', None),
        ("{}", None),
        ('{"key_base64":"/w=="}', b"\xff"),
    ],
)
def test_a_key_is_text_or_base64(text: str, key: bytes | None) -> None:
    assert entry(text).key == key


def test_headers_keep_their_order_and_repeat() -> None:
    text = '{"headers":{"b":"1","a":["x",null,{"base64":"/w=="}],"c":null}}'

    found = entry(text).headers

    assert found == (("b", b"1"), ("a", b"x"), ("a", None), ("a", b"\xff"), ("c", None))


@pytest.mark.parametrize("text", ['{"key":"a:b"}', '{"key":"a\\u003ab"}'])
def test_a_colon_in_a_key_is_no_member(text: str) -> None:
    assert entry(text).key == b"a:b"


def test_colons_and_escapes_in_headers_are_taken() -> None:
    text = '{"headers":{"a:b":"c:d","e":"f\\u003a","g":"\\n"}}'

    assert entry(text).headers == (("a:b", b"c:d"), ("e", b"f:"), ("g", b"\n"))


def test_partition_and_time_may_be_chosen() -> None:
    found = entry('{"partition":3,"timestamp":"2026-01-01T00:00:00.123Z"}')

    assert (found.partition, found.timestamp_ms) == (3, 1_767_225_600_123)


def test_text_of_a_text_topic_is_written_without_its_quotes() -> None:
    assert entry('{"value":"h\\u00e9"}', "string").value == "hé".encode()


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        ("[]", "", "invalid_parameter"),
        ('{"valur":1}', "", "unknown_field"),
        ('{"value":1,"value":2}', "", "duplicate_key"),
        ('{"value":{"a:":1},"value":2}', "", "duplicate_key"),
        ('{"key":"a\\u003ab","key":"x"}', "", "duplicate_key"),
        ('{"\\u006bey":"a","key":"x"}', "", "duplicate_key"),
        ('{"key":null,"key":"x"}', "", "duplicate_key"),
        ('{"key":"a","key_base64":"YQ=="}', "/key", "invalid_parameter"),
        ('{"key":7}', "", "invalid_parameter"),
        ('{"key_base64":"Y"}', "/key_base64", "invalid_parameter"),
        ('{"value":1,"value_base64":"YQ=="}', "/value", "invalid_parameter"),
        ('{"value":' + "[" * 65 + "]" * 65 + "}", "/value", "too_deep"),
        ('{"headers":[]}', "/headers", "invalid_parameter"),
        ('{"headers":{"a":1}}', "/headers/a", "invalid_parameter"),
        ('{"headers":{"a":"1","a":"2"}}', "/headers/a", "duplicate_key"),
        ('{"headers":{"":"1"}}', "/headers/", "invalid_parameter"),
        ('{"headers":{"KafkaHub-idem":"1"}}', "/headers/KafkaHub-idem", "invalid_parameter"),
        ('{"headers":{"a":{"base64":"YQ==","b":1}}}', "/headers/a", "invalid_parameter"),
        ('{"partition":-1}', "/partition", "invalid_parameter"),
        ('{"partition":true}', "", "invalid_parameter"),
        ('{"timestamp":"2026-01-01T00:00:00"}', "/timestamp", "invalid_parameter"),
        ('{"timestamp":"1969-01-01T00:00:00Z"}', "/timestamp", "invalid_parameter"),
        ('{"timestamp":"soon"}', "/timestamp", "invalid_parameter"),
    ],
)
def test_what_is_odd_is_refused_with_its_place(text: str, pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        entry(text)

    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [
        (f"/records/0{pointer}", code)
    ]


@pytest.mark.parametrize(
    ("text", "topic_format"), [('{"value":1}', "string"), ('{"value":"a"}', "binary")]
)
def test_a_value_has_the_form_of_its_topic(text: str, topic_format: str) -> None:
    with pytest.raises(Invalid):
        entry(text, topic_format)


def test_a_value_of_64_levels_is_taken() -> None:
    deep = "[" * 64 + "]" * 64

    assert entry(f'{{"value":{deep}}}').value == deep.encode()


def test_many_brackets_in_a_text_are_no_depth() -> None:
    assert entry('{"value":"' + "[" * 100 + '"}').value is not None


def test_the_faults_of_all_records_are_told_at_once() -> None:
    records = [msgspec.Raw(b'{"x":1}'), msgspec.Raw(b"{}"), msgspec.Raw(b'{"partition":-1}')]

    with pytest.raises(Invalid) as refused:
        read_entries(records, "json")

    assert [fault.pointer for fault in refused.value.faults] == [
        "/records/0",
        "/records/2/partition",
    ]


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_any_json_value_comes_back_from_its_bytes(value: object) -> None:
    found = entry(json.dumps({"value": value})).value

    assert json.loads(found or b"null") == value


def test_a_report_stands_in_the_order_of_the_records() -> None:
    results: list[Result] = [
        Written(2, 41, 1_767_225_600_123),
        Refused("unavailable", "No answer.", is_retriable=True, is_unknown=True),
        Refused("record_too_large", "Too large."),
    ]

    told = report(results, ["a", None, "c"], ["Af", None, None])

    assert told[0] == {
        "id": "a",
        "partition": 2,
        "offset": 41,
        "timestamp": "2026-01-01T00:00:00.123Z",
        "cursor": "Af",
    }
    assert told[1]["error"] == {
        "code": "unavailable",
        "message": "No answer.",
        "retriable": True,
        "outcome": "unknown",
    }
    assert told[2]["id"] == "c"
