"""What the API takes and shows of deliveries, attempts and parked rows."""

import base64
import json
from typing import Any

from rest_framework import serializers
from rest_framework.serializers import (
    BooleanField,
    CharField,
    IntegerField,
    JSONField,
    ListField,
    SerializerMethodField,
)

from delivery.lines import Line, State
from delivery.models import DeliveryAttempt, DeliveryGap, ParkedDelivery
from kafkahub.drf.fields import Json, Moment, OneOf, Strict, Text, Truth, Values, Whole
from kafkahub.errors import Fault, Invalid
from kafkahub.kafka.envelope import is_event_type
from subscriptions.inputs import START, as_start
from subscriptions.models import Subscription

MIN_REASON, MAX_REASON = 3, 200
MAX_BULK = 10_000
"""Rows that one request may discard: what one statement does well within its time."""
MAX_TEST_DATA = 65_536
"""Bytes of a test delivery's ``data``."""
TIMINGS = ("dns", "tcp", "tls", "sent", "first_byte", "body")


def shown_bytes(raw: bytes | memoryview | None) -> str | dict[str, str] | None:
    """Return a key as text, or as base64 where it is no UTF-8 text."""
    if raw is None:
        return None
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}


class AttemptOut(serializers.Serializer[DeliveryAttempt]):
    """One request and what came of it."""

    id = CharField(source="public_id")
    delivery = CharField()
    subscription = CharField()
    endpoint = CharField()
    topic = CharField()
    number = IntegerField()
    kind = CharField()
    at = Moment()
    outcome = CharField()
    http_status = IntegerField(allow_null=True)
    duration_ms = SerializerMethodField()
    timings = SerializerMethodField()
    reused = BooleanField()
    request_bytes = IntegerField()
    response_excerpt = CharField(allow_null=True)
    response_note = CharField(allow_null=True)
    retry_after_s = IntegerField(allow_null=True)
    next_attempt_at = Moment(allow_null=True)
    secret_ids = ListField(child=CharField())
    batch = CharField(allow_null=True)
    replay = CharField(allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # A member named like a keyword of Python cannot be declared by assignment.
        return {**super().get_fields(), "class": CharField(source="outcome_class")}

    def get_duration_ms(self, attempt: DeliveryAttempt) -> float:
        return attempt.duration_us / 1000

    def get_timings(self, attempt: DeliveryAttempt) -> dict[str, float]:
        """Return milliseconds since the start by phase."""
        return {name: us / 1000 for name, us in zip(TIMINGS, attempt.timings_us, strict=False)}


class GapOut(serializers.Serializer[DeliveryGap]):
    """Offsets that will never come; the numbers are null where the grant hides records.

    The context gives ``telling``.
    """

    reason = CharField()
    topic = CharField()
    partition = SerializerMethodField()
    lost = SerializerMethodField()
    found_at = Moment()
    delivery = CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # Members named like a keyword of Python, or like one of the class.
        ends = {"from": SerializerMethodField("get_first"), "to": SerializerMethodField("get_end")}
        return {**super().get_fields(), **ends}

    def get_partition(self, gap: DeliveryGap) -> int | None:
        return gap.partition if self._is_unfiltered(gap) else None

    def get_first(self, gap: DeliveryGap) -> int | None:
        return gap.from_offset if self._is_unfiltered(gap) else None

    def get_end(self, gap: DeliveryGap) -> int | None:
        return gap.to_offset if self._is_unfiltered(gap) else None

    def get_lost(self, gap: DeliveryGap) -> int | None:
        return gap.lost if self._is_unfiltered(gap) else None

    def _is_unfiltered(self, gap: DeliveryGap) -> bool:
        return gap.topic in self.context["telling"].placed


class DeliveryOut(serializers.Serializer[Line]):
    """One record owed to one subscription; the context is that of ``shown_with``."""

    id = CharField()
    state = CharField()
    subscription = SerializerMethodField()
    endpoint = SerializerMethodField()
    topic = SerializerMethodField()
    partition = SerializerMethodField()
    offset = SerializerMethodField()
    key = SerializerMethodField()
    time = SerializerMethodField()
    attempts = SerializerMethodField()
    last_outcome = SerializerMethodField()
    last_http_status = SerializerMethodField()
    last_attempt_at = SerializerMethodField()
    next_attempt_at = SerializerMethodField()
    bytes = SerializerMethodField()
    cursor = SerializerMethodField()
    gap = GapOut(allow_null=True)

    def get_subscription(self, line: Line) -> str:
        return line.attempt.subscription if line.attempt else _parked(line).subscription_id

    def get_endpoint(self, line: Line) -> str:
        if line.attempt:
            return line.attempt.endpoint
        return _parked(line).subscription.endpoint_id or ""

    def get_topic(self, line: Line) -> str:
        return _either(line).topic

    def get_partition(self, line: Line) -> int | None:
        if line.gap is not None:
            return line.gap.partition if self._is_unfiltered(line) else None
        return _either(line).partition if self._is_unfiltered(line) else None

    def get_offset(self, line: Line) -> int | None:
        if line.gap is not None:
            return line.gap.from_offset if self._is_unfiltered(line) else None
        return _either(line).offset if self._is_unfiltered(line) else None

    def get_key(self, line: Line) -> str | dict[str, str] | None:
        row = _either(line)
        return None if row.topic in self.context["telling"].hashed else shown_bytes(row.key)

    def get_time(self, line: Line) -> str | None:
        moment = _either(line).record_time
        return None if moment is None else Moment().to_representation(moment)

    def get_attempts(self, line: Line) -> int:
        return max(
            line.attempt.number if line.attempt else 0, line.parked.sends if line.parked else 0
        )

    def get_last_outcome(self, line: Line) -> str | None:
        return line.attempt.outcome if line.attempt else _parked(line).last_outcome or None

    def get_last_http_status(self, line: Line) -> int | None:
        return line.attempt.http_status if line.attempt else None

    def get_last_attempt_at(self, line: Line) -> str | None:
        return None if line.attempt is None else Moment().to_representation(line.attempt.at)

    def get_next_attempt_at(self, line: Line) -> str | None:
        moment = line.parked.next_attempt_at if line.parked else None
        return None if moment is None else Moment().to_representation(moment)

    def get_bytes(self, line: Line) -> int | None:
        if line.attempt is not None:
            return line.attempt.request_bytes
        return body_bytes(_parked(line))

    def get_cursor(self, line: Line) -> str | None:
        cursor: str | None = self.context["cursor_of"](_either(line))
        return cursor

    def _is_unfiltered(self, line: Line) -> bool:
        return _either(line).topic in self.context["telling"].placed


def _either(line: Line) -> DeliveryAttempt | ParkedDelivery:
    return line.attempt or _parked(line)


def _parked(line: Line) -> ParkedDelivery:
    if line.parked is None:
        raise ValueError("a line has an attempt or a parked row")
    return line.parked


def body_bytes(row: ParkedDelivery) -> int | None:
    """Return the size of what is sent, or None where no body could be made."""
    content = row.content
    return None if content is None else len(content)


class ParkedOut(serializers.Serializer[ParkedDelivery]):
    """A record set aside; the context is that of ``shown_with``."""

    id = CharField()
    state = CharField()
    reason = CharField()
    subscription = CharField(source="subscription_id")
    topic = CharField()
    key = SerializerMethodField()
    time = Moment(source="record_time", allow_null=True)
    first_failed_at = Moment()
    attempts = IntegerField()
    next_attempt_at = Moment(allow_null=True)
    blocked_by = SerializerMethodField()
    last_outcome = SerializerMethodField()
    bytes = SerializerMethodField()
    cursor = SerializerMethodField()
    expires_at = Moment(allow_null=True)

    def get_key(self, row: ParkedDelivery) -> str | dict[str, str] | None:
        return None if row.topic in self.context["telling"].hashed else shown_bytes(row.key)

    def get_blocked_by(self, row: ParkedDelivery) -> str | None:
        """Return the id of the row that must be delivered, dead or discarded first."""
        head: str | None = getattr(row, "head_id", None)  # where ``ownership`` has looked for it
        return head if row.state == ParkedDelivery.State.BLOCKED else None

    def get_last_outcome(self, row: ParkedDelivery) -> str | None:
        return row.last_outcome or None

    def get_bytes(self, row: ParkedDelivery) -> int | None:
        return body_bytes(row)

    def get_cursor(self, row: ParkedDelivery) -> str | None:
        cursor: str | None = self.context["cursor_of"](row)
        return cursor


class RedrivenOut(ParkedOut):
    """A row that is due again."""

    order = SerializerMethodField()

    def get_order(self, row: ParkedDelivery) -> str | None:
        """Return ``late`` where later records of its key or partition went out before it."""
        is_ordered = row.subscription.ordering != Subscription.Ordering.NONE
        return "late" if is_ordered and row.order_key is None else None


class PayloadOut(serializers.Serializer[Any]):
    """The exact body that is sent; text inline, anything else as base64."""

    id = CharField()
    content_type = CharField(allow_null=True)
    bytes = IntegerField()
    text = CharField(allow_null=True)
    base64 = CharField(allow_null=True)
    is_cut = BooleanField()


class DiscardFilter(Strict):
    """Which parked rows; absent members mean all."""

    state = OneOf(choices=["scheduled", "blocked", "held", "dead"], required=False)
    reason = OneOf(choices=ParkedDelivery.Reason.values, required=False)
    subscription = Text(max_length=40, required=False)
    topic = Text(max_length=249, required=False)
    key = Text(max_length=300, required=False)
    since = Moment(required=False)
    until = Moment(required=False)


class DiscardIn(Strict):
    """A bulk discard; nothing is done when the number differs."""

    reason = Text(min_length=MIN_REASON, max_length=MAX_REASON)
    expected_count = Whole(min_value=0, max_value=MAX_BULK)
    filter = DiscardFilter(default=dict)


class DiscardedOut(serializers.Serializer[Any]):
    """What a bulk discard did."""

    discarded = IntegerField()


class StandingOut(serializers.Serializer[Any]):
    """One lane: everything below ``next_offset`` is settled; null where Kafka is away."""

    topic = CharField()
    partition = IntegerField()
    state = CharField()
    reason = CharField()
    next_offset = IntegerField()
    end_offset = IntegerField(allow_null=True)
    lag_records = IntegerField(allow_null=True)


class PositionOut(serializers.Serializer[Any]):
    """Where a subscription stands; the cursor goes on from there through any other door."""

    lanes = StandingOut(many=True)
    lag_records = IntegerField(allow_null=True)
    lag_s = IntegerField(allow_null=True)
    oldest_undelivered_at = CharField(allow_null=True)
    headroom_s = IntegerField(allow_null=True)
    gaps = GapOut(many=True)
    cursor = CharField(allow_null=True)


class SeekIn(Strict):
    """Where a subscription shall stand; partitions that are not named stay where they are."""

    to = Json(read=as_start, schema={key: of for key, of in START.items() if key != "default"})


def _event_type(value: object) -> str:
    if not isinstance(value, str) or not is_event_type(value):
        text = "An event type is 1 to 128 of A-Z, a-z, 0-9, _ . and -, and does not begin kafkahub."
        raise Invalid([Fault("", "not_a_type", text)])
    return value


def _test_data(value: object) -> object:
    if len(json.dumps(value, ensure_ascii=False)) > MAX_TEST_DATA:
        raise Invalid([Fault("", "too_long", f"At most {MAX_TEST_DATA} bytes may be sent.")])
    return value


class EndpointTestIn(Strict):
    """A test delivery: for one subscription of the endpoint, with data of its topic or your own."""

    subscription = Text(max_length=40, required=False)
    type = Json(read=_event_type, schema={"type": "string", "maxLength": 128}, required=False)
    example = Truth(required=False)
    data = Json(read=_test_data, schema={}, required=False, allow_null=True)  # type: ignore[assignment]  # DRF takes fields out of the class

    def checked(self, values: Values) -> Values:
        if values.get("example") and "data" in values:
            text = "Either the topic's example is sent, or your own data."
            raise Invalid([Fault("/data", "bad_combination", text)])
        return values


class EndpointTestOut(serializers.Serializer[Any]):
    """A test delivery and its attempts so far."""

    id = CharField()
    state = OneOf(choices=[State.DELIVERED.value, State.DEAD_LETTER.value, State.WAITING.value])
    attempts = JSONField()
