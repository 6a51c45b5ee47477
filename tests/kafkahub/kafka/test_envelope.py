"""Bodies of webhooks: what stands in them, byte for byte."""

import base64
import json
from dataclasses import replace
from typing import get_args
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub.kafka.envelope import (
    INCLUDES,
    Body,
    Format,
    Shape,
    TopicFormat,
    Undecodable,
    check_value,
    event_type,
    render,
    resolve,
    timestamp_text,
)
from kafkahub.kafka.record import Record

RECORD = Record(
    topic="orders",
    partition=3,
    offset=42,
    timestamp_ms=1_795_407_540_123,
    key=b"c-17",
    value=b'{"id": 7,"amount":1000}',
    headers=(("trace", b"ab"),),
)
SHAPE = Shape("envelope", (), "json", "application/json", "https://hub.example/topics/orders")


def body(record: Record, shape: Shape, *, record_id: str | None = None) -> Body:
    return render(
        record, shape, webhook_id="msg_1", event_type="order.created", record_id=record_id
    )


def changed(record: Record, **fields: object) -> Record:
    values = {name: getattr(record, name) for name in Record.__struct_fields__}
    return Record(**(values | fields))


def test_an_envelope_carries_type_time_and_the_very_bytes_of_the_value() -> None:
    assert body(RECORD, SHAPE) == Body(
        b'{"type":"order.created","timestamp":"2026-11-23T04:19:00.123Z",'
        b'"data":{"id": 7,"amount":1000}}',
        (("content-type", "application/json"),),
    )


def test_a_record_without_a_time_and_a_tombstone_are_null() -> None:
    record = changed(RECORD, timestamp_ms=None, value=None)

    assert json.loads(body(record, SHAPE).content) == {
        "type": "order.created",
        "timestamp": None,
        "data": None,
    }


def test_what_is_included_stands_in_a_fixed_order() -> None:
    shape = replace(SHAPE, include=tuple(reversed(INCLUDES)))

    content = body(RECORD, shape, record_id="evt_1").content

    assert list(json.loads(content)) == ["type", "timestamp", "data", *INCLUDES]
    assert content.endswith(
        b'"id":"msg_1","record":"evt_1","topic":"orders","key":"c-17",'
        b'"headers":{"trace":"ab"},"position":{"partition":3,"offset":42}}'
    )


def test_a_record_id_that_is_wanted_and_missing_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="record"):
        body(RECORD, replace(SHAPE, include=("record",)))


@pytest.mark.parametrize(
    ("key", "shown"), [(None, None), (b"", ""), (b"\xff", {"base64": "/w=="}), ("é".encode(), "é")]
)
def test_a_key_is_text_or_base64_or_nothing(key: bytes | None, shown: object) -> None:
    content = body(changed(RECORD, key=key), replace(SHAPE, include=("key",))).content

    assert json.loads(content)["key"] == shown


def test_headers_keep_repeated_names_in_order() -> None:
    headers = (("a", b"1"), ("b", None), ("a", b"\xff"))

    content = body(changed(RECORD, headers=headers), replace(SHAPE, include=("headers",))).content

    assert json.loads(content)["headers"] == {"a": ["1", {"base64": "/w=="}], "b": None}


def test_text_becomes_a_json_string_and_bytes_become_base64() -> None:
    text = body(changed(RECORD, value='a"\0é'.encode()), replace(SHAPE, topic_format="string"))
    raw = body(changed(RECORD, value=b"\xff\x00"), replace(SHAPE, topic_format="binary"))

    assert json.loads(text.content)["data"] == 'a"\0é'
    assert json.loads(raw.content)["data"] == {"base64": "/wA="}


def test_text_that_is_none_cannot_be_enveloped_but_sent_raw() -> None:
    record = changed(RECORD, value=b"\xff")
    shape = replace(SHAPE, topic_format="string", content_type="text/plain")

    with pytest.raises(Undecodable):
        body(record, shape)
    assert body(record, replace(shape, format="raw")) == Body(
        b"\xff", (("content-type", "text/plain"),)
    )


def test_a_tombstone_is_sent_raw_as_nothing() -> None:
    assert body(changed(RECORD, value=None), replace(SHAPE, format="raw")).content == b""


records = st.builds(
    Record,
    topic=st.just("orders"),
    partition=st.just(0),
    offset=st.just(0),
    timestamp_ms=st.none() | st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(),
    value=st.none() | st.text().map(str.encode),
    headers=st.lists(st.tuples(st.text(), st.none() | st.binary())).map(tuple),
)


@given(records, st.sampled_from(get_args(Format)), st.sampled_from(["string", "binary"]))
def test_every_record_has_one_body_and_json_where_it_says_so(
    record: Record, made: Format, topic_format: TopicFormat
) -> None:
    shape = Shape(made, INCLUDES, topic_format, "text/plain", "https://hub.example/topics/orders")

    first = body(record, shape, record_id="evt_1")

    assert first == body(record, shape, record_id="evt_1")
    if "json" in first.headers[0][1]:
        json.loads(first.content)
    assert all(text.isascii() and text.isprintable() for _, text in first.headers)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (2**63 - 1, None),
        (-(2**63), None),
        (None, None),
    ],
)
def test_a_time_is_rfc_3339_or_nothing(ms: int | None, text: str | None) -> None:
    assert timestamp_text(ms) == text


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1}}',
        b"1 2",
        b"NaN",
        b"[1,]",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b'{"\xff":1}',
        b'"\\ud800"',
        b'1,"type":"forged"',
        b"[" * 100_000,
        "1".encode("utf-16"),
    ],
)
def test_what_is_not_json_is_never_spliced(value: bytes) -> None:
    with pytest.raises(Undecodable):
        check_value(value, "json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_what_is_json_passes(document: object, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, allow_nan=True)
    if "Infinity" not in text and "\\ud" not in text:
        check_value(text.encode(), "json")


def test_text_must_be_utf_8_and_bytes_may_be_anything() -> None:
    check_value(b"\xff", "binary")
    check_value("é".encode(), "string")
    check_value(None, "json")
    with pytest.raises(Undecodable):
        check_value(b"\xff", "string")


TYPED = changed(
    RECORD,
    value=b'{"meta":{"kind":"order.paid","n":1},"list":["x.y"]}',
    headers=(
        ("ce_type", b"first"),
        ("ce_type", b"order.shipped"),
        ("bad", b"\xff"),
        ("none", None),
    ),
)


@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        ("constant", "order.any", "order.any"),
        ("constant", "", "orders"),
        ("header", "ce_type", "order.shipped"),
        ("header", "bad", "orders"),
        ("header", "none", "orders"),
        ("header", "absent", "orders"),
        ("pointer", "/meta/kind", "order.paid"),
        ("pointer", "/list/0", "x.y"),
        ("pointer", "/list/01", "orders"),
        ("pointer", "/list/1", "orders"),
        ("pointer", "/meta/n", "orders"),
        ("pointer", "/absent/kind", "orders"),
        ("pointer", "meta", "orders"),
    ],
)
def test_the_type_comes_from_where_the_topic_says(source: str, value: str, expected: str) -> None:
    assert event_type(TYPED, source, value, "orders") == expected


@pytest.mark.parametrize("claimed", ["kafkahub.verification", "a b", "x" * 129, "", "é", "a\n"])
def test_a_record_cannot_claim_a_type_that_is_ours_or_none(claimed: str) -> None:
    record = changed(RECORD, headers=(("t", claimed.encode()),))

    assert event_type(record, "header", "t", "orders") == "orders"


def test_a_value_that_cannot_be_read_has_the_default_type() -> None:
    assert event_type(changed(RECORD, value=b"{"), "pointer", "/a", "orders") == "orders"
    assert event_type(changed(RECORD, value=None), "pointer", "/a", "orders") == "orders"


def test_a_value_decoded_already_is_not_decoded_again() -> None:
    found = event_type(RECORD, "pointer", "/a", "orders", decode=lambda: {"a": "other"})

    assert found == "other"


def test_a_pointer_unescapes_its_names() -> None:
    assert resolve("/a~1b/~01", {"a/b": {"~1": 5}}) == 5
    assert resolve("", {"a": 1}) == {"a": 1}


CLOUDEVENT_HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"abc"),
    ("ce_source", b"/shop"),
    ("ce_type", b"shop.sold"),
    ("ce_subject", "Euro € 😀".encode()),
    ("ce_Bad", b"x"),
    ("ce_empty", b""),
    ("content-type", b"application/vnd.shop+json"),
)


def test_a_structured_cloudevent_has_the_attributes_of_the_specification() -> None:
    shape = replace(SHAPE, format="cloudevents_structured", include=("key",))

    content, headers = body(RECORD, shape)

    assert headers == (("content-type", "application/cloudevents+json; charset=utf-8"),)
    assert json.loads(content) == {
        "specversion": "1.0",
        "id": "msg_1",
        "source": "https://hub.example/topics/orders",
        "type": "order.created",
        "time": "2026-11-23T04:19:00.123Z",
        "subject": "c-17",
        "partitionkey": "c-17",
        "datacontenttype": "application/json",
        "data": {"id": 7, "amount": 1000},
    }


def test_the_key_shows_in_a_cloudevent_only_where_it_is_included() -> None:
    shape = replace(SHAPE, format="cloudevents_structured")

    assert b"c-17" not in body(RECORD, shape).content


def test_bytes_travel_in_a_cloudevent_as_base64() -> None:
    shape = replace(SHAPE, format="cloudevents_structured", topic_format="binary")

    event = json.loads(body(changed(RECORD, value=b"\xff"), shape).content)

    assert base64.b64decode(event["data_base64"]) == b"\xff"
    assert "data" not in event


def test_a_binary_cloudevent_has_its_attributes_in_headers() -> None:
    shape = replace(SHAPE, format="cloudevents_binary", include=("key",), content_type="text/plain")

    content, headers = body(changed(RECORD, key='a "%é'.encode()), shape)

    assert content == RECORD.value
    assert headers == (
        ("content-type", "text/plain"),
        ("ce-specversion", "1.0"),
        ("ce-id", "msg_1"),
        ("ce-source", "https://hub.example/topics/orders"),
        ("ce-type", "order.created"),
        ("ce-time", "2026-11-23T04:19:00.123Z"),
        ("ce-subject", "a%20%22%25%C3%A9"),
        ("ce-partitionkey", "a%20%22%25%C3%A9"),
    )


def test_a_key_that_is_no_cloudevents_string_travels_as_base64() -> None:
    shape = replace(SHAPE, format="cloudevents_binary", include=("key",))

    headers = dict(body(changed(RECORD, key=b"a\r\nx: y"), shape).headers)

    assert headers["ce-subject"] == base64.b64encode(b"a\r\nx: y").decode()


def test_a_producer_keeps_its_own_attributes() -> None:
    record = changed(RECORD, headers=CLOUDEVENT_HEADERS)

    binary = dict(body(record, replace(SHAPE, format="cloudevents_binary")).headers)
    structured = json.loads(body(record, replace(SHAPE, format="cloudevents_structured")).content)

    assert binary == {
        "content-type": "application/vnd.shop+json",
        "ce-specversion": "1.0",
        "ce-id": "abc",
        "ce-source": "/shop",
        "ce-type": "shop.sold",
        "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80",
    }
    assert unquote(binary["ce-subject"]) == structured["subject"]
    assert structured["data"] == {"id": 7, "amount": 1000}
    assert structured["datacontenttype"] == "application/vnd.shop+json"


def test_a_record_with_some_of_the_attributes_is_no_cloudevent() -> None:
    headers = tuple(pair for pair in CLOUDEVENT_HEADERS if pair[0] != "ce_source")

    event = json.loads(
        body(
            changed(RECORD, headers=headers), replace(SHAPE, format="cloudevents_structured")
        ).content
    )

    assert event["id"] == "msg_1"


STRUCTURED = b'{"specversion":"1.0","id":"x","source":"/s","type":"t","n":5,"ok":true,"data":%b}'
AS_STRUCTURED = (("Content-Type", b"application/cloudevents+json; charset=UTF-8"),)


def test_a_structured_cloudevent_passes_in_its_own_bytes() -> None:
    value = STRUCTURED % b'{"a" : 1}'
    record = changed(RECORD, value=value, headers=AS_STRUCTURED)

    assert body(record, replace(SHAPE, format="cloudevents_structured")).content == value


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b'{"a" : 1}', b'{"a" : 1}'),
        (b"null", b""),
        (b'"text"', b'"text"'),
        (b'"text","datacontenttype":"text/plain"', b"text"),
        (b'null,"data_base64":"/w=="', b"\xff"),
        (b'null,"data_base64":"?"', b""),
    ],
)
def test_a_structured_cloudevent_can_be_sent_in_binary_mode(data: bytes, content: bytes) -> None:
    record = changed(RECORD, value=STRUCTURED % data, headers=AS_STRUCTURED)

    sent = body(record, replace(SHAPE, format="cloudevents_binary"))

    assert sent.content == content
    assert dict(sent.headers)["ce-n"] == "5"
    assert dict(sent.headers)["ce-ok"] == "true"


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"id":"x"}', b'"x"', None])
def test_what_only_says_to_be_a_cloudevent_is_treated_as_any_value(value: bytes | None) -> None:
    record = changed(RECORD, value=value, headers=AS_STRUCTURED)

    headers = dict(body(record, replace(SHAPE, format="cloudevents_binary")).headers)

    assert headers["ce-id"] == "msg_1"


def test_a_content_type_cannot_smuggle_a_header() -> None:
    headers = (*CLOUDEVENT_HEADERS[:4], ("content-type", b"text/plain\r\nx-evil: 1"))

    sent = body(changed(RECORD, headers=headers), replace(SHAPE, format="cloudevents_binary"))

    assert sent.headers[0] == ("content-type", "application/json")
