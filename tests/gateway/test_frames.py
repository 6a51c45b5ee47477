import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import Beat, Closing, Format, Gap, Ndjson, Sse, Style, frame
from kafkahub.kafka.record import Record
from tests.gateway.stream_makers import record, topic

SOURCE = "https://hub.example.com/topics/orders"
BEAT = Beat("2026-01-01T00:00:00.000Z", "live", 0, 0.0, "str_1", 15_000)
GAP = Gap("orders", 3, 1843, 2100, 257, "retention", "2026-01-01T00:05:00.000Z")
CLOSING = Closing("drain", "reconnect", 640, 4200, "Af", "Af", None, "server restarts")
TEXT = st.text(max_size=40) | st.sampled_from(
    ["\r", "\n", "\r\n", "\0", "\u2028", "\ufeff", "data: x", "id: 1", "\nid: 1", "\nevent: x\n\n"]
)


@dataclass(frozen=True)
class Run:
    frames: list[bytes]
    token: str


def sse(one: Record, form: str = "envelope", kind: str = "json") -> bytes:
    return frame(one, Style("sse", form), topic(form=kind), SOURCE)  # type: ignore[arg-type]  # a table's text


def parsed(text: bytes) -> list[dict[str, str]]:
    """Return the fields of each frame as the EventSource standard reads them."""
    lines = text.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    frames: list[dict[str, str]] = [{}]
    for line in lines:
        if not line:
            frames.append({})
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        before = frames[-1].get(name)
        frames[-1][name] = value if before is None else f"{before}\n{value}"
    return [one for one in frames if one]


def test_a_record_is_one_line_of_json() -> None:
    assert sse(record(1842, b'{"total":12}')) == (
        b'data: {"topic":"orders","partition":0,"offset":1842,'
        b'"timestamp":"2026-01-01T00:00:01.965Z","key":"c-17","headers":{},'
        b'"value":{"total":12}}\n\n'
    )


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (b'{"a":\r\n1}', "json", '"value":{"a":  1}'),
        (b"{", "json", '"value_base64":"ew==","error":"undecodable"'),
        (b"\xff", "string", '"value_base64":"/w==","error":"undecodable"'),
        (b"a\r\nb", "string", '"value":"a\\r\\nb"'),
        (b"\x00", "binary", '"value_base64":"AA=="'),
        (None, "json", '"value":null'),
    ],
)
def test_a_value_is_shown_as_its_topic_promises(value: bytes | None, kind: str, shown: str) -> None:
    assert sse(record(0, value), kind=kind).decode().endswith(f"{shown}}}\n\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a\r\nb\rc\nd", b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (b"", b"data: \n\n"),
        (b"\xff", b"event: binary\ndata: /w==\n\n"),
        (None, b'event: tombstone\ndata: "c-17"\n\n'),
    ],
)
def test_a_raw_value_is_split_into_lines(value: bytes | None, expected: bytes) -> None:
    assert sse(record(0, value), "raw") == expected


def test_a_record_becomes_a_cloudevent() -> None:
    event = json.loads(sse(record(7, b'{"a":1}'), "cloudevents").removeprefix(b"data: "))

    assert event == {
        "specversion": "1.0",
        "id": "orders-0-7",
        "source": SOURCE,
        "type": "orders",
        "time": "2026-01-01T00:00:00.130Z",
        "partitionkey": "c-17",
        "sequence": "7",
        "datacontenttype": "application/json",
        "data": {"a": 1},
    }


def test_a_filtered_grant_shows_no_place() -> None:
    forms: tuple[Format, ...] = ("envelope", "cloudevents")
    for form in forms:
        style = Style("sse", form, hides_place=True)
        shown = frame(record(4711, b"{}", partition=17), style, topic(), SOURCE, "evt_1")

        assert b"4711" not in shown
        assert b'partition"' not in shown
        assert b'"evt_1"' in shown


@given(key=TEXT, name=TEXT, header=TEXT, value=TEXT)
def test_no_record_can_add_a_field(key: str, name: str, header: str, value: str) -> None:
    one = Record(
        "orders",
        0,
        1,
        None,
        key.encode(),
        value.encode(),
        ((name, header.encode()),),
    )

    (shown,) = parsed(sse(one, kind="string"))
    content = json.loads(shown.pop("data"))

    assert shown == {}
    assert (content["key"], content["value"], content["headers"]) == (key, value, {name: header})


@given(value=TEXT)
def test_a_raw_value_comes_back_but_for_its_kind_of_line_ends(value: str) -> None:
    (shown,) = parsed(sse(record(0, value.encode()), "raw"))

    assert shown == {"data": value.replace("\r\n", "\n").replace("\r", "\n")}


def test_the_id_stands_before_the_last_frame_of_a_write() -> None:
    runs = [Run([b"data: 1\n\n", b"data: 2\n\n"], "A1"), Run([b"data: 3\n\n"], "A2")]

    assert Sse().records(runs) == b"data: 1\n\ndata: 2\n\nid: A2\ndata: 3\n\n"
    assert Sse(every=True).records(runs[1:]) == b"id: A2\ndata: 3\n\n"


def test_ndjson_ends_a_write_with_its_position() -> None:
    runs = [Run([b'{"type":"message","n":1}\n'], "A1"), Run([b'{"type":"message","n":2}\n'], "A2")]

    assert Ndjson().records(runs).splitlines()[-1] == b'{"type":"position","cursor":"A2"}'
    assert Ndjson(every=True).records(runs).splitlines() == [
        b'{"type":"message","cursor":"A1","n":1}',
        b'{"type":"message","cursor":"A2","n":2}',
    ]


def test_frames_of_the_stream_itself_have_their_golden_bytes() -> None:
    door = Sse()

    assert door.heartbeat(BEAT, "AfK", retry_ms=2713) == (
        b"retry: 2713\nid: AfK\nevent: heartbeat\n"
        b'data: {"time":"2026-01-01T00:00:00.000Z","state":"live","lag_records":0,'
        b'"lag_seconds":0.0,"stream":"str_1","heartbeat_ms":15000}\n\n'
    )
    assert door.gap(GAP, "AfK", hides_place=False) == (
        b"id: AfK\nevent: gap\n"
        b'data: {"topic":"orders","partition":3,"from":1843,"to":2100,"lost":257,'
        b'"reason":"retention","resumed_at":"2026-01-01T00:05:00.000Z"}\n\n'
    )
    assert door.closing(CLOSING) == (
        b"retry: 640\nid: Af\nevent: closing\n"
        b'data: {"reason":"drain","action":"reconnect","retry_ms":640,"status":null,'
        b'"detail":"server restarts","cursor":"Af"}\n\n'
    )
    assert door.error("x", "y", "orders") == (
        b'event: error\ndata: {"code":"x","detail":"y","topic":"orders"}\n\n'
    )


def test_ndjson_says_the_same_with_a_type_and_a_cursor() -> None:
    door = Ndjson()
    lines = [
        door.heartbeat(BEAT, "AfK"),
        door.gap(GAP, "AfK", hides_place=True),
        door.closing(CLOSING),
    ]

    read = [json.loads(line) for line in lines]

    assert [one["type"] for one in read] == ["heartbeat", "gap", "closing"]
    assert [one["cursor"] for one in read] == ["AfK", "AfK", "Af"]
    assert read[1].keys() == {"type", "topic", "reason", "resumed_at", "cursor"}
