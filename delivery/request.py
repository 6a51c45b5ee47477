"""The exact bytes and headers of one attempt (pure).

Nothing in a body depends on the attempt: a retry, a re-send after a crash and a replay are byte
for byte the same, and only the timestamp, the signature and the attempt number differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from delivery import signatures
from delivery.lanes import Delivery
from kafkahub import signing
from kafkahub.certificates import ClientTls
from kafkahub.egress.curl import TRANSPORT_HEADERS
from kafkahub.kafka import envelope
from kafkahub.kafka.record import Record
from subscriptions.credentials import OAuth2
from subscriptions.identity import Identity
from subscriptions.live import LiveSubscription, LiveTopic

RECORD_ID = "record"
"""The member of an envelope that has the record's id."""
TRACEPARENT = "traceparent"
TRACE_PARTS = 4
TRACESTATE_MAX_BYTES = 512


@dataclass(frozen=True, slots=True)
class LaneForm:
    """What all deliveries of one subscription on one partition share.

    subscription  the subscription, with its endpoint and secrets
    topic         settings of the topic
    deliveries    makes the webhook ids
    records       makes the ids that the partner knows the records by
    shape         form of the body
    lines         header lines that never change
    """

    subscription: LiveSubscription
    topic: LiveTopic
    partition: int
    generation: int
    deliveries: Identity
    records: Identity
    shape: envelope.Shape
    lines: tuple[str, ...]


@dataclass(slots=True)
class Login:
    """The access token of one attempt.

    token       "" until there is one
    is_renewed  whether the endpoint refused one already: a second refusal is final
    """

    oauth2: OAuth2
    token: str = ""
    is_renewed: bool = False


@dataclass(slots=True)
class Request:
    """One attempt, ready to go out.

    dns_us    what its look-up took, 0 where none was made
    is_probe  whether its endpoint was down when it went out
    tls       what its endpoint is met with, None for what all are
    login     the token that is added when it goes out; None for none
    reads_bytes  most bytes of the answer's body that are read, where it is more than usual
    """

    delivery: Delivery
    url: str
    headers: list[str]
    made: envelope.Body
    timeout_ms: int
    connect_timeout_ms: int
    secret_ids: tuple[str, ...]
    dns_us: int = 0
    is_probe: bool = False
    tls: ClientTls | None = None
    login: Login | None = None
    reads_bytes: int = 0

    @property
    def body(self) -> bytes:
        """The exact bytes on the wire."""
        return self.made.content


class Unsendable(Exception):
    """The record can never be sent in this form; ``reason`` is that of its parked row."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def form(
    subscription: LiveSubscription,
    topic: LiveTopic,
    *,
    partition: int,
    generation: int,
    deliveries: Identity,
    records: Identity,
    base_url: str,
) -> LaneForm:
    """Return what the deliveries of a lane share."""
    grant = subscription.grants.get(topic.name)
    hides = grant is not None and grant.is_filtered
    shape = envelope.Shape(
        # The tables allow these words only.
        format=cast("envelope.Format", subscription.format),
        include=tuple(
            name for name in subscription.include if not (hides and name in envelope.PLACES)
        ),
        topic_format=cast("envelope.TopicFormat", topic.format),
        content_type=topic.content_type,
        source=f"{base_url}/topics/{topic.name}",
    )
    lines = (
        *TRANSPORT_HEADERS,
        f"kafkahub-subscription: {subscription.id}",
        *((f"kafkahub-topic: {topic.name}",) if topic.name else ()),  # a notice has none
        *(f"{name}: {value}" for name, value in subscription.endpoint.headers),
    )
    return LaneForm(subscription, topic, partition, generation, deliveries, records, shape, lines)


def body(delivery: Delivery) -> envelope.Body:
    """Return the body of a delivery and the headers that its format gives.

    Raises Unsendable for what can never be sent: ``undecodable`` or ``too_large``.
    """
    return _rendered(delivery, delivery.form.shape)


def item(delivery: Delivery, shape: envelope.Shape) -> bytes:
    """Return a record as it stands in a batch; ``shape`` is of ``envelope.of_items``.

    Raises Unsendable as ``body`` does.
    """
    return envelope.item(_rendered(delivery, shape).content, shape, delivery.webhook_id)


def _rendered(delivery: Delivery, shape: envelope.Shape) -> envelope.Body:
    shared = delivery.form
    if delivery.fault:
        raise Unsendable(delivery.fault)
    record = delivery.record
    if record is None:
        raise ValueError("a delivery without a record carries its body")
    topic = shared.topic
    event_type = envelope.event_type(record, topic.type_source, topic.type_value, topic.name)
    try:
        if shape.format != "raw":
            envelope.check_value(record.value, shape.topic_format)
        made = envelope.render(
            record,
            shape,
            webhook_id=delivery.webhook_id,
            event_type=event_type,
            record_id=shared.records.of(record.offset) if RECORD_ID in shape.include else None,
        )
    except envelope.Undecodable:
        raise Unsendable("undecodable") from None
    if len(made.content) > shared.subscription.endpoint.max_body_bytes:
        raise Unsendable("too_large")
    if record.value is None:
        # Among the headers that are parked with the body: later attempts have no record.
        return envelope.Body(made.content, (*made.headers, ("kafkahub-tombstone", "1")))
    return made


def build(
    delivery: Delivery,
    made: envelope.Body,
    *,
    unix_s: int,
    random_bits: int,
    cursor: str = "",
) -> Request:
    """Return the request of one attempt.

    made         the body, as ``body`` gave it or as it was parked
    unix_s       Unix time of this attempt
    random_bits  192 bits for a trace that the record does not carry itself
    cursor       value of ``kafkahub-cursor``, or "" for none
    Raises Unsigned when no secret is in force: nothing leaves unsigned.
    """
    shared = delivery.form
    endpoint = shared.subscription.endpoint
    keys = [
        key
        for key in endpoint.keys
        if key.expires_at_ms is None or key.expires_at_ms > unix_s * 1000
    ]
    if not keys or endpoint.is_unreadable:
        raise Unsigned(endpoint.id)
    webhook_id, content = delivery.webhook_id, made.content
    signature = signing.signature_header([key.signer for key in keys], webhook_id, unix_s, content)
    headers = [
        *shared.lines,
        *(f"{name}: {value}" for name, value in made.headers),
        f"webhook-id: {webhook_id}",
        f"webhook-timestamp: {unix_s}",
        f"webhook-signature: {signature}",
        f"kafkahub-attempt: {delivery.sends + 1}",
    ]
    if endpoint.signatures is not None:
        signed = signatures.Signed(endpoint.url, made, webhook_id, unix_s, signature)
        headers.extend(signatures.lines(endpoint.signatures, keys, signed))
    if delivery.replay:
        headers.append(f"kafkahub-replay: {delivery.replay}")
    if cursor:
        headers.append(f"kafkahub-cursor: {cursor}")
    if shared.subscription.trace:
        headers.extend(trace_lines(delivery.record, random_bits))
    return Request(
        delivery,
        endpoint.url,
        headers,
        made,
        endpoint.timeout_ms,
        endpoint.connect_timeout_ms,
        tuple([key.id for key in keys]),
        tls=endpoint.tls,
        login=None if endpoint.oauth2 is None else Login(endpoint.oauth2),
    )


class Unsigned(Exception):
    """No secret of the endpoint can sign; the attempt is ours to blame, not the partner's."""


def trace_lines(record: Record | None, random_bits: int) -> Sequence[str]:
    """Return ``traceparent``, and ``tracestate`` where the record brings one.

    Source: W3C Trace Context level 1, sections 3.2 and 3.3. A new span in the record's own trace
    when its header is valid, else a new trace.
    """
    span = f"{random_bits & (1 << 64) - 1 or 1:016x}"
    trace = f"{random_bits >> 64 or 1:032x}"
    if record is None or not record.headers:
        return (f"traceparent: 00-{trace}-{span}-01",)
    given = dict(record.headers)
    parent = _valid_parent(given.get(TRACEPARENT))
    if parent is None:
        return (f"traceparent: 00-{trace}-{span}-01",)
    line = f"traceparent: 00-{parent[0]}-{span}-{parent[1]}"
    state = given.get("tracestate")
    if state is None or len(state) > TRACESTATE_MAX_BYTES or not _is_visible(state):
        return (line,)
    return line, f"tracestate: {state.decode('ascii')}"


def _valid_parent(raw: bytes | None) -> tuple[str, str] | None:
    """Return trace id and flags of a ``traceparent`` of version 00, or None."""
    if raw is None or not _is_visible(raw):
        return None
    parts = raw.decode("ascii").split("-")
    if len(parts) != TRACE_PARTS or [len(part) for part in parts] != [2, 32, 16, 2]:
        return None
    is_hex = all(set(part) <= set("0123456789abcdef") for part in parts)
    is_set = parts[0] == "00" and parts[1].strip("0") and parts[2].strip("0")
    return (parts[1], parts[3]) if is_hex and is_set else None


def _is_visible(raw: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in raw)  # noqa: PLR2004 - visible ASCII and space
