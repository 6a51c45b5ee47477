"""Values that the tests of the engine are made of; plain functions with sensible defaults."""

from delivery.forms import Naming
from delivery.lanes import Lane, Partition
from delivery.ledger import ParkedRow
from delivery.request import LaneForm
from kafkahub.egress.curl import Answer, Timings
from kafkahub.kafka.record import Record
from kafkahub.signing import HmacSigner
from subscriptions.grants import Grant
from subscriptions.live import (
    BatchLimits,
    LiveEndpoint,
    LiveSubscription,
    LiveTopic,
    SigningKey,
    Snapshot,
)

TOPIC = "orders"
KEY = bytes(range(32))
NAMING = Naming(bytes(range(0x40, 0x60)), "Qx2rD9aBTnWmK3vJ7yL1eg", "https://hub.example")


def signing_key(number: int = 0, expires_at_ms: int | None = None) -> SigningKey:
    return SigningKey(f"sec_{number}", "hmac", HmacSigner(KEY), expires_at_ms)


def endpoint(
    name: str = "ep_1",
    *,
    url: str = "https://hooks.example/in",
    keys: tuple[SigningKey, ...] | None = None,
    max_in_flight: int = 32,
    max_body_bytes: int = 1024 * 1024,
    headers: tuple[tuple[str, str], ...] = (),
    is_unreadable: bool = False,
) -> LiveEndpoint:
    return LiveEndpoint(
        id=name,
        partner="ptn_1",
        url=url,
        status="active",
        timeout_ms=15_000,
        connect_timeout_ms=5_000,
        max_in_flight=max_in_flight,
        max_body_bytes=max_body_bytes,
        headers=headers,
        keys=(signing_key(),) if keys is None else keys,
        is_unreadable=is_unreadable,
        version=1,
        source=None,
    )


def topic(name: str = TOPIC, *, format_: str = "json") -> LiveTopic:
    return LiveTopic(
        name=name,
        format=format_,
        content_type="application/json",
        type_source="constant",
        type_value="",
        is_sandbox=False,
        is_sensitive=False,
        is_enabled=True,
    )


def subscription(
    name: str = "sub_1",
    *,
    to: LiveEndpoint | None = None,
    format_: str = "envelope",
    sending: bool = True,
    types: frozenset[str] = frozenset(),
    trace: bool = False,
    schedule_s: tuple[int, ...] = (5, 300),
    ordering: str = "none",
    holds: bool = False,
    batch: BatchLimits | None = None,
) -> LiveSubscription:
    return LiveSubscription(
        id=name,
        partner="ptn_1",
        name=name,
        endpoint=to or endpoint(),
        status="active" if sending else "paused",
        topics=(TOPIC,),
        types=types,
        test=None,
        format=format_,
        include=(),
        ordering=ordering,
        schedule_s=schedule_s,
        jitter=0.2,
        holds=holds,
        batch=batch,
        trace=trace,
        grants={TOPIC: Grant("grt_1", "ptn_1", TOPIC, "read", 1)},
        sending=sending,
        is_unreadable=False,
        version=1,
        source=None,
    )


def snapshot(*subscriptions: LiveSubscription, version: int = 1) -> Snapshot:
    by_id = {one.id: one for one in subscriptions}
    return Snapshot(
        version=version,
        subscriptions=by_id,
        by_topic={TOPIC: tuple(subscriptions)},
        topics={TOPIC: topic()},
        endpoints={one.endpoint.id: one.endpoint for one in subscriptions},
        grants={},
        stale_at_ms=None,
    )


def partition(next_offset: int = 0) -> Partition:
    return Partition(TOPIC, 0, epoch=1, generation=1, next_offset=next_offset)


def form(live: LiveSubscription | None = None) -> LaneForm:
    live = live or subscription()
    made = NAMING.lane(snapshot(live), live.id, topic=TOPIC, partition=0, generation=1)
    assert made is not None
    return made


def lane(of: Partition | None = None, live: LiveSubscription | None = None) -> Lane:
    of = of or partition()
    made = Lane(of, form(live), set())
    of.lanes[made.form.subscription.id] = made
    return made


def record(
    offset: int = 0,
    value: bytes | None = b'{"id":7}',
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> Record:
    return Record(TOPIC, 0, offset, 1_795_407_540_123, b"k", value, headers)


def answer(
    status: int = 200, outcome: str | None = None, retry_after: tuple[str, ...] = ()
) -> Answer:
    """Return what the sender brings back: a status, or with 0 an outcome below HTTP."""
    timings = Timings(0, 0, 10, 20, 5)
    return Answer(status, outcome, retry_after, b"ok", None, timings, True, 35)


def parked_row(
    offset: int = 0, live: str = "sub_1", *, reason: str = "failed", attempts: int = 1
) -> ParkedRow:
    """Return a claimed row as the ledger hands it out."""
    return ParkedRow(
        id=f"msg_{offset:022d}",
        subscription=live,
        topic=TOPIC,
        partition=0,
        offset=offset,
        generation=1,
        key=b"k",
        record_time_ms=1_795_407_540_123,
        body=b'{"parked":true}',
        headers={"content-type": "application/json", "x-of-format": "kept"},
        grant_version=1,
        reason=reason,
        attempts=attempts,
        sends=attempts,
    )
