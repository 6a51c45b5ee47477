"""The exact headers and bytes of one attempt."""

import json
import re
from dataclasses import replace

import pytest
import standardwebhooks

from delivery import request
from delivery.lanes import Delivery
from delivery.request import LaneForm, Request, Unsendable, Unsigned
from kafkahub import clock, signing
from kafkahub.kafka.envelope import Body
from kafkahub.kafka.record import Record
from subscriptions.live import LiveEndpoint, LiveSubscription, SigningKey
from tests.delivery import makers

NOW_S = 1_795_407_540
BITS = (0xABC << 64) | 0xDEF
TRACE, SPAN = f"{0xABC:032x}", f"{0xDEF:016x}"
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NEW_TRACE = f"traceparent: 00-{TRACE}-{SPAN}-01"
IN_TRACE = f"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-{SPAN}-01"


def delivery(
    live: LiveSubscription | None = None,
    record: Record | None = None,
    *,
    form: LaneForm | None = None,
    fault: str = "",
) -> Delivery:
    record = record or makers.record(42)
    made = Delivery(form or makers.form(live), record, record.offset, fault=fault)
    made.webhook_id = made.form.deliveries.of(record.offset)
    return made


def build(of: Delivery, unix_s: int = NOW_S) -> Request:
    return request.build(of, request.body(of), unix_s=unix_s, random_bits=BITS)


def headers(sent: Request) -> dict[str, str]:
    """Return the headers as a receiver sees them; a name that comes twice is a fault."""
    pairs = [line.split(":", 1) for line in sent.headers]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value.strip() for name, value in pairs}


def with_form(topic_format: str, format_: str) -> LaneForm:
    live = makers.subscription(format_=format_)
    snapshot = replace(
        makers.snapshot(live), topics={makers.TOPIC: makers.topic(format_=topic_format)}
    )
    form = makers.NAMING.lane(snapshot, live.id, topic=makers.TOPIC, partition=0, generation=1)
    assert form is not None
    return form


# Headers.


def test_an_attempt_carries_exactly_these_headers() -> None:
    sent = build(delivery(makers.subscription(trace=True)))

    found = headers(sent)

    signature = found.pop("webhook-signature")
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", signature)
    assert found == {
        "accept-encoding": "identity",
        "expect": "",  # which keeps libcurl from sending one
        "kafkahub-subscription": "sub_1",
        "kafkahub-topic": "orders",
        "content-type": "application/json",
        "webhook-id": sent.delivery.webhook_id,
        "webhook-timestamp": str(NOW_S),
        "kafkahub-attempt": "1",
        "traceparent": f"00-{TRACE}-{SPAN}-01",
    }


def test_the_number_of_an_attempt_counts_every_send() -> None:
    of = delivery()
    of.sends = 4

    assert headers(build(of))["kafkahub-attempt"] == "5"


def test_only_timestamp_signature_and_number_depend_on_the_attempt() -> None:
    first = delivery()
    again = delivery()
    again.sends = 1

    one, two = build(first), build(again, NOW_S + 5)

    assert one.body == two.body
    differing = {name for name, value in headers(one).items() if headers(two)[name] != value}
    assert differing == {"webhook-timestamp", "webhook-signature", "kafkahub-attempt"}


def test_custom_headers_go_out_as_they_are_stored() -> None:
    to = makers.endpoint(headers=(("x-tenant", "blue"), ("authorization", "Bearer t:1")))

    found = headers(build(delivery(makers.subscription(to=to))))

    assert (found["x-tenant"], found["authorization"]) == ("blue", "Bearer t:1")


def test_a_cursor_is_sent_where_there_is_one() -> None:
    of = delivery()

    made = request.build(of, request.body(of), unix_s=NOW_S, random_bits=BITS, cursor="AQAB")

    assert headers(made)["kafkahub-cursor"] == "AQAB"
    assert "kafkahub-cursor" not in headers(build(of))


def test_a_record_without_a_value_is_marked_as_a_tombstone() -> None:
    tombstone = makers.record(42, value=None)

    sent = build(delivery(record=tombstone))

    assert headers(sent)["kafkahub-tombstone"] == "1"
    assert json.loads(sent.body)["data"] is None
    assert "kafkahub-tombstone" not in headers(build(delivery()))


def test_a_tombstone_is_marked_on_every_attempt_also_when_only_the_parked_row_is_left() -> None:
    made = request.body(delivery(record=makers.record(42, value=None)))
    parked = Delivery(makers.form(), None, 42)

    sent = request.build(parked, made, unix_s=NOW_S, random_bits=BITS)

    assert headers(sent)["kafkahub-tombstone"] == "1"


def test_a_request_goes_where_its_endpoint_says_and_waits_as_long() -> None:
    sent = build(delivery(makers.subscription(to=makers.endpoint(url="https://a.example/x"))))

    assert (sent.url, sent.timeout_ms, sent.connect_timeout_ms) == (
        "https://a.example/x",
        15_000,
        5_000,
    )


# Signatures.


def test_an_independent_library_verifies_the_signature() -> None:
    secret = signing.new_secret()
    key = SigningKey("sec_1", "hmac", signing.signer(secret), None)
    of = delivery(makers.subscription(to=makers.endpoint(keys=(key,))))

    sent = build(of, clock.unix_seconds())

    body = standardwebhooks.Webhook(secret).verify(sent.body, headers(sent))
    assert body["data"] == {"id": 7}


def test_every_secret_in_force_signs_newest_first() -> None:
    secrets = [signing.new_secret(), signing.new_secret()]
    keys = tuple(
        SigningKey(f"sec_{number}", "hmac", signing.signer(secret), expires)
        for number, (secret, expires) in enumerate(
            zip(secrets, [None, (NOW_S + 1) * 1000], strict=True)
        )
    )

    sent = build(delivery(makers.subscription(to=makers.endpoint(keys=keys))))

    parts = headers(sent)["webhook-signature"].split(" ")
    for secret, part in zip(secrets, parts, strict=True):
        assert signing.verify(secret, sent.delivery.webhook_id, NOW_S, sent.body, header=part)
    assert sent.secret_ids == ("sec_0", "sec_1")


def test_an_expired_secret_signs_no_more() -> None:
    keys = (makers.signing_key(0), makers.signing_key(1, expires_at_ms=NOW_S * 1000))

    sent = build(delivery(makers.subscription(to=makers.endpoint(keys=keys))))

    assert sent.secret_ids == ("sec_0",)
    assert " " not in headers(sent)["webhook-signature"]


def test_both_kinds_of_keys_sign_side_by_side() -> None:
    private, public = signing.new_ed25519()
    keys = (
        makers.signing_key(0),
        SigningKey("sec_1", "ed25519", signing.signer(private), None),
    )

    sent = build(delivery(makers.subscription(to=makers.endpoint(keys=keys))))

    header = headers(sent)["webhook-signature"]
    assert [part[:3] for part in header.split(" ")] == ["v1,", "v1a"]
    assert signing.verify(public, sent.delivery.webhook_id, NOW_S, sent.body, header=header)


@pytest.mark.parametrize(
    "to",
    [
        makers.endpoint(is_unreadable=True),
        makers.endpoint(keys=()),
        makers.endpoint(keys=(makers.signing_key(0, expires_at_ms=1),)),
    ],
)
def test_nothing_leaves_unsigned(to: LiveEndpoint) -> None:
    of = delivery(makers.subscription(to=to))

    with pytest.raises(Unsigned):
        build(of)


# Traces.


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ((), [NEW_TRACE]),
        ((("traceparent", PARENT),), [IN_TRACE]),
        ((("traceparent", PARENT[:-2] + b"00"),), [IN_TRACE[:-2] + "00"]),
        ((("traceparent", b"ff" + PARENT[2:]),), [NEW_TRACE]),
        ((("traceparent", PARENT.upper()),), [NEW_TRACE]),
        ((("traceparent", PARENT + b"-x"),), [NEW_TRACE]),
        ((("traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"),), [NEW_TRACE]),
        ((("traceparent", PARENT[:36] + b"0" * 16 + b"-01"),), [NEW_TRACE]),
        ((("traceparent", b"\xff\xfe"),), [NEW_TRACE]),
        ((("traceparent", None),), [NEW_TRACE]),
        ((("tracestate", b"a=1"),), [NEW_TRACE]),
        (
            (("traceparent", PARENT), ("tracestate", b"a=1,b=2")),
            [IN_TRACE, "tracestate: a=1,b=2"],
        ),
        (
            (("traceparent", PARENT), ("tracestate", b"a=" + b"x" * 510)),
            [IN_TRACE, "tracestate: a=" + "x" * 510],
        ),
        ((("traceparent", PARENT), ("tracestate", b"a=" + b"x" * 511)), [IN_TRACE]),
        ((("traceparent", PARENT), ("tracestate", b"a=1\r\nx-evil: 1")), [IN_TRACE]),
        ((("traceparent", PARENT), ("tracestate", None)), [IN_TRACE]),
    ],
)
def test_a_span_is_made_in_the_trace_of_the_record_or_in_a_new_one(
    given: tuple[tuple[str, bytes | None], ...], lines: list[str]
) -> None:
    record = makers.record(headers=given)

    assert list(request.trace_lines(record, BITS)) == lines


def test_a_trace_of_zeros_is_never_made_by_chance() -> None:
    [line] = request.trace_lines(None, 0)

    assert line == f"traceparent: 00-{1:032x}-{1:016x}-01"


def test_a_subscription_without_tracing_sends_no_trace() -> None:
    record = makers.record(headers=(("traceparent", PARENT), ("tracestate", b"a=1")))

    found = headers(build(delivery(makers.subscription(trace=False), record)))

    assert not found.keys() & {"traceparent", "tracestate"}


# What cannot be sent.


@pytest.mark.parametrize(
    ("topic_format", "format_", "value"),
    [
        ("json", "envelope", b"{no json"),
        ("json", "envelope", b'{"a":1} trailing'),
        ("json", "envelope", b'"\xff"'),
        ("json", "cloudevents_structured", b"{no json"),
        ("string", "envelope", b"\xff\xfe"),
        ("string", "cloudevents_structured", b"\xff\xfe"),
    ],
)
def test_what_is_not_what_its_topic_promises_is_undecodable(
    topic_format: str, format_: str, value: bytes
) -> None:
    of = delivery(record=makers.record(value=value), form=with_form(topic_format, format_))

    with pytest.raises(Unsendable) as caught:
        request.body(of)
    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize("topic_format", ["json", "string", "binary"])
def test_raw_sends_whatever_a_value_holds(topic_format: str) -> None:
    value = b"\xff{no json"

    made = request.body(
        delivery(record=makers.record(value=value), form=with_form(topic_format, "raw"))
    )

    assert made == Body(value, (("content-type", "application/json"),))


def test_a_fault_found_by_the_filter_is_not_sent() -> None:
    with pytest.raises(Unsendable) as caught:
        request.body(delivery(fault="undecodable"))
    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_a_body_may_be_as_large_as_the_endpoint_takes_and_no_larger(spare: int, fits: bool) -> None:
    size = len(request.body(delivery()).content)
    of = delivery(makers.subscription(to=makers.endpoint(max_body_bytes=size + spare)))

    if fits:
        assert len(request.body(of).content) == size
        return
    with pytest.raises(Unsendable) as caught:
        request.body(of)
    assert caught.value.reason == "too_large"
