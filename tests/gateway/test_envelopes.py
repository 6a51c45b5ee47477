"""v2 and v3 bodies to entries: bytes are kept, and every fault has its number."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import confluent, typed
from gateway.confluent import Refusal
from gateway.consumer_settings import read_settings
from gateway.entries import entries
from gateway.envelopes import answer_v2, read_v2
from gateway.patterns import BadPattern, compile_pattern
from gateway.typed import Splitter
from kafkahub.errors import NotFound, RateLimited, Unauthenticated, Unavailable
from kafkahub.kafka.partitioner import murmur2
from kafkahub.kafka.record import Entry, Record, Refused, Written

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(JSON, JSON), min_size=1, max_size=5), st.sampled_from([None, 1]))
def test_json_reaches_kafka_byte_for_byte(
    pairs: list[tuple[object, object]], indent: int | None
) -> None:
    texts = [tuple(json.dumps(one, indent=indent).encode() for one in pair) for pair in pairs]
    records = b",".join(b'{ "key" : %b , "value":%b }' % pair for pair in texts)

    found = read_v2(b'{"records": [%b] }' % records, "json", None)

    for entry, (key, value) in zip(found, texts, strict=True):
        assert isinstance(entry, Entry)
        assert entry.key == (None if key == b"null" else key)
        assert entry.value == (None if value == b"null" else value)


def test_colons_in_texts_are_no_doubled_members() -> None:
    body = {
        "key_schema": "a:b",
        "records": [{"value": "::", "headers": [{"key": "x:y", "value": None}], "timestamp": 5}],
    }

    (entry,) = read_v2(json.dumps(body).encode(), "json", 2)

    assert isinstance(entry, Entry)
    assert (entry.headers, entry.partition, entry.timestamp_ms) == ((("x:y", None),), 2, 5)


def test_a_doubled_member_inside_of_a_value_is_the_partners_own() -> None:
    (entry,) = read_v2(b'{"records":[{"value":{"a":1,"a":2}}]}', "json", None)

    assert isinstance(entry, Entry)
    assert entry.value == b'{"a":1,"a":2}'


def test_a_record_over_a_limit_fails_alone() -> None:
    body = {
        "records": [{"value": "x" * 1_100_000}, {"key": "k" * 70_000, "value": 1}, {"value": 1}]
    }

    found = read_v2(json.dumps(body).encode(), "json", None)

    assert [isinstance(one, Entry) for one in found] == [False, False, True]


UNKNOWN = Refused("unavailable", "x", is_retriable=True, is_unknown=True)
FINAL = Refused("record_too_large", "large")


@pytest.mark.parametrize(
    ("results", "status"),
    [([Written(0, 1, 2)], 200), ([Written(0, 1, 2), FINAL], 207), ([FINAL], 422), ([UNKNOWN], 503)],
)
def test_strict_shows_failures_in_the_status(results: list[Written | Refused], status: int) -> None:
    strict = answer_v2(results, hides_offset=False, strict=True)
    usual = answer_v2(results, hides_offset=True, strict=False)

    assert (strict[0], usual[0]) == (status, 200)
    told = json.loads(usual[1])["offsets"]
    assert [one["offset"] for one in told] == [
        -1 if isinstance(one, Written) else None for one in results
    ]
    assert b"may have been written" in usual[1] or UNKNOWN not in results


@pytest.mark.parametrize(
    ("error", "number", "header"),
    [
        (Unauthenticated("x"), 40101, b"www-authenticate"),
        (NotFound(), 40401, b""),
        (RateLimited("x", retry_after_s=7), 429, b"retry-after"),
        (Unavailable("x"), 50302, b"retry-after"),
    ],
)
def test_our_errors_have_confluents_numbers(
    error: Unauthenticated | NotFound | RateLimited | Unavailable, number: int, header: bytes
) -> None:
    told = confluent.describe(error)

    assert json.loads(told.body)["error_code"] == number
    assert not header or header in dict(told.headers)


@pytest.mark.parametrize(
    ("pattern", "name", "holds"),
    [
        ("orders", "orders", True),
        ("orders", "orders2", False),
        ("or.*", "orders", True),
        (".+s|x", "orders", True),
        ("a|b|", "b", True),
        ("[a-c]1", "b1", True),
        ("[^a-c]1", "b1", False),
        (r"a\.b", "a.b", True),
        (r"a\.b", "axb", False),
        (".*a.*b", "xxaxxb", True),
    ],
)
def test_patterns_match_whole_names(pattern: str, name: str, holds: bool) -> None:
    assert compile_pattern(pattern).matches(name) is holds


def test_no_pattern_is_slow() -> None:
    pattern = compile_pattern(".*a" * 60)

    assert not pattern.matches("a" * 59 + "b" * 190)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        compile_pattern(text).matches("orders")
    except BadPattern:
        return


def test_settings_come_as_text_or_values_and_odd_ones_are_named() -> None:
    given_ = {"auto.commit.enable": "FALSE", "fetch.min.bytes": "-1", "foo": 1, "id": "x"}

    settings = read_settings(given_)

    assert (settings.auto_commit, settings.min_bytes, settings.ignored) == (False, 1, ("foo",))
    assert read_settings({"consumer.request.timeout.ms": 99_999}).wait_ms == 30_000
    with pytest.raises(Refusal):
        read_settings({"fetch.min.bytes": True})


def record(value: bytes | None, key: bytes | None = None) -> Record:
    headers = (("h", b"v"), ("kafkahub-idem", b"x"))
    return Record("t", 0, 7, 1, key, value, headers)


def test_entries_hide_our_headers_and_keep_bytes() -> None:
    (entry,) = json.loads(entries([record(b"[ 1 ]")], "json", 100))

    assert entry["value"] == [1]
    assert entry["headers"] == [{"key": "h", "value": "dg=="}]


@pytest.mark.parametrize("value", [b"{", b"\xff", b"", b'"\xff"', b"[" * 100_000])
def test_what_does_not_decode_is_an_entry_that_is_no_tombstone(value: bytes) -> None:
    (entry,) = json.loads(entries([record(value)], "json", 1_000_000))

    assert entry["error_code"] == 42207
    assert entry["value_base64"] is not None


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5), st.integers(1, 40))
def test_a_stream_is_cut_into_its_objects_wherever_chunks_end(
    objects: list[dict[str, object]], size: int
) -> None:
    texts = [json.dumps(one).encode() for one in objects]
    body = b" \r\n".join(texts)
    splitter = Splitter()

    found = [one for at in range(0, len(body), size) for one in splitter.feed(body[at : at + size])]

    assert found == texts
    assert splitter.fault is None
    assert splitter.is_between


@pytest.mark.parametrize("body", [b"{} x", b"[1]", b'{}"a"', b"}", b"1 {}"])
def test_bytes_between_objects_end_a_stream(body: bytes) -> None:
    splitter = Splitter()
    splitter.feed(body)

    assert splitter.fault is not None
    assert splitter.fault.number == 400


def test_an_object_over_the_limit_ends_a_stream() -> None:
    splitter = Splitter()
    splitter.feed(b'{"a":"' + b"x" * (typed.MAX_OBJECT_BYTES + 1))

    assert splitter.fault is not None
    assert splitter.fault.number == 413


@pytest.mark.parametrize(
    ("key", "expected"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_keys_land_where_java_producers_put_them(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF
