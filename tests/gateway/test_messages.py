"""What is said on a WebSocket: understood, or refused with its reason."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import messages
from gateway.frames import RULES, Beat, Closing
from gateway.messages import (
    Ack,
    BadMessage,
    Credit,
    Ping,
    Produce,
    Subscribe,
    TooBig,
    Unsubscribe,
    WebSocketDoor,
    read,
)


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        (
            '{"type":"subscribe","id":"1","sub":"a","topics":["orders"]}',
            Subscribe(id="1", sub="a", topics=["orders"]),
        ),
        (
            '{"type":"subscribe","id":"1","sub":"a","topics":["orders"],"from":"-5","credit":0}',
            Subscribe(id="1", sub="a", topics=["orders"], start="-5", credit=0),
        ),
        ('{"type":"unsubscribe","id":"2","sub":"a"}', Unsubscribe(id="2", sub="a")),
        ('{"type":"credit","sub":"a","n":10}', Credit(sub="a", n=10)),
        ('{"type":"ack","sub":"a","cursor":"Af"}', Ack(sub="a", cursor="Af")),
        ('{"type":"ping","id":"p"}', Ping(id="p")),
    ],
)
def test_every_operation_is_understood(text: str, operation: object) -> None:
    assert read(text) == operation


def test_records_to_write_stay_the_bytes_they_were_sent_as() -> None:
    found = read('{"type":"produce","id":"1","topic":"orders","records":[{"value": 1.50e0 }]}')

    assert isinstance(found, Produce)
    assert bytes(found.records[0]) == b'{"value": 1.50e0 }'


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("", None),
        ("[]", None),
        ("null", None),
        ('{"type":', None),
        ('{"id":"7"}', "7"),
        ('{"type":"shout","id":"7"}', "7"),
        ('{"type":"ping"}', None),
        ('{"type":"ping","id":"7","more":1}', "7"),
        ('{"type":"ping","id":"7","id":"7"}', "7"),
        ('{"type":"ping","id":7}', None),
        ('{"type":"subscribe","id":"7","sub":"a b","topics":["orders"]}', "7"),
        ('{"type":"subscribe","id":"7","sub":"a","topics":[]}', "7"),
        ('{"type":"subscribe","id":"7","sub":"a","topics":["orders","orders"]}', "7"),
        ('{"type":"subscribe","id":"7","sub":"a","topics":["orders"],"format":"raw"}', "7"),
        ('{"type":"subscribe","id":"7","sub":"a","topics":["orders"],"credit":-1}', "7"),
        ('{"type":"subscribe","id":"7","sub":"a","topics":["orders"],"credit":100001}', "7"),
        ('{"type":"subscribe","id":"7","sub":"a","topics":["orders"],"ack_window":0}', "7"),
        ('{"type":"credit","sub":"a","n":0}', None),
        ('{"type":"produce","id":"7","topic":"orders","records":[]}', "7"),
        ('{"type":"produce","id":"7","topic":"orders","records":[{}],"records":[{}]}', "7"),
        ('{"type":"produce","id":"7","records":[{}]}', "7"),
        ('{"type":"ping","id":"7","x":' + "[" * 5_000 + "]" * 5_000 + "}", None),
        ('{"type":"ping","id":"\\ud800"}', None),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_id(text: str, ref: str | None) -> None:
    with pytest.raises(BadMessage) as refused:
        read(text)

    assert refused.value.ref == ref
    assert refused.value.detail


@given(st.text())
def test_any_text_is_an_operation_or_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        read(text)


def test_more_records_than_one_produce_may_hold_are_refused() -> None:
    records = ",".join(["{}"] * 101)

    with pytest.raises(BadMessage):
        read(f'{{"type":"produce","id":"7","topic":"orders","records":[{records}]}}')


@pytest.mark.parametrize("text", ['{"type":"ping","id":"7"%s}', "%s", '"%s"'])
def test_only_a_produce_may_be_large(text: str) -> None:
    with pytest.raises(TooBig):
        read(text % (" " * (messages.MAX_CONTROL_BYTES + 1)))


def test_a_large_produce_is_understood() -> None:
    value = "x" * (messages.MAX_CONTROL_BYTES + 1)

    found = read(
        f'{{"type":"produce","id":"7","topic":"orders","records":[{{"value":"{value}"}}]}}'
    )

    assert isinstance(found, Produce)


@dataclass
class Some:
    """Frames that belong together."""

    frames: Sequence[bytes]
    token: str


def test_events_are_joined_as_they_are_with_the_cursor_behind_them() -> None:
    door = WebSocketDoor("a")

    text = door.records([Some([b'{"offset":1}', b'{"offset":2}'], "Af1"), Some([b"3"], "Af2")])

    assert json.loads(text) == {
        "type": "events",
        "sub": "a",
        "events": [{"offset": 1}, {"offset": 2}, 3],
        "cursor": "Af2",
    }


def test_a_heartbeat_tells_of_every_subscription() -> None:
    beat = Beat("2026-01-01T00:00:00.000Z", "live", 0, 0.0)

    told = json.loads(messages.heartbeat(beat.time, {"a": (beat, "Af1"), "b": (beat, "Af2")}))

    assert told["subs"]["b"] == {
        "cursor": "Af2",
        "state": "live",
        "lag_records": 0,
        "lag_seconds": 0.0,
    }


def test_the_last_message_has_the_code_of_the_close_frame_and_every_cursor() -> None:
    rule = RULES["drain"]
    closing = Closing("drain", rule.action, 640, rule.ws_code, detail="server restarts")

    told = json.loads(messages.closing_message(closing, {"a": "Af1"}))

    assert (told["code"], told["action"], told["retry_ms"]) == (4200, "reconnect", 640)
    assert told["cursors"] == {"a": "Af1"}


def test_every_close_code_says_by_its_range_what_to_do() -> None:
    ranges = {"stop": 40, "backoff": 41, "reconnect": 42}

    assert all(rule.ws_code // 100 == ranges[rule.action] for rule in RULES.values())
    assert len({rule.ws_code for rule in RULES.values()}) == len(RULES)


def test_a_report_counts_what_failed() -> None:
    told = json.loads(messages.produced("1", [{"offset": 1}, {"error": {}}]))

    assert (told["ref"], told["written"], told["failed"]) == ("1", 1, 1)
