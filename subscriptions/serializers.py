"""What the control API takes and shows of partners' objects. No serializer writes a row."""

from collections.abc import Collection, Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.serializers import (
    BooleanField,
    CharField,
    FloatField,
    IntegerField,
    JSONField,
    ListField,
    SerializerMethodField,
)

from kafkahub.drf.fields import (
    Json,
    ListOf,
    Moment,
    Number,
    OneOf,
    Strict,
    Text,
    Truth,
    Values,
    Whole,
)
from subscriptions.actions.endpoints import DEFAULT_OVERLAP_S, MAX_OVERLAP_S
from subscriptions.batch_forms import BATCH, as_batch
from subscriptions.inputs import (
    FILTER,
    INCLUDES,
    START,
    TEXT,
    as_cidr,
    as_event_type,
    as_filter,
    as_it_is,
    as_origin,
    as_schedule,
    as_scope,
    as_start,
    as_thumbprint,
    as_topic,
    wrong,
)
from subscriptions.models import ApiKey, Endpoint, Partner, Subscription, Topic
from subscriptions.models.partners import MAX_NAME
from subscriptions.ownership import SeenTopic
from subscriptions.starts import Latest

MAX_ID = 40
MAX_CIDRS = 50
MAX_ORIGINS = 50
MAX_SCOPES = 200


class PartnerOut(serializers.Serializer[Partner]):
    """A partner's own profile."""

    id = CharField()
    name = CharField()
    status = CharField()
    contact = CharField()
    allowed_origins = ListField(child=CharField())
    version = IntegerField()
    created_at = Moment()
    updated_at = Moment()


class PartnerPatch(Strict):
    """What a partner changes of its own profile."""

    allowed_origins = ListOf(
        child=Json(read=as_origin, schema=TEXT), max_length=MAX_ORIGINS, unique=True, default=list
    )
    id = CharField(read_only=True)
    name = CharField(read_only=True)
    status = CharField(read_only=True)
    contact = CharField(read_only=True)
    version = IntegerField(read_only=True)
    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)


class TopicOut(serializers.Serializer[SeenTopic]):
    """A topic as the grants show it."""

    name = CharField(source="topic.name")
    description = CharField(source="topic.description")
    format = CharField(source="topic.format")
    content_type = CharField(source="topic.content_type")
    types = SerializerMethodField()
    example = JSONField(allow_null=True)
    actions = ListField(child=CharField())
    is_filtered = BooleanField()
    is_masked = BooleanField()
    version = IntegerField(source="topic.version")

    def get_types(self, seen: SeenTopic) -> list[str]:
        return types_of(seen.topic)


def types_of(topic: Topic) -> list[str]:
    """Return the event types that are known beforehand: the constant one, where there is one."""
    if topic.type_source != Topic.TypeSource.CONSTANT:
        return []
    return [topic.type_value or topic.name]


class EventTypeOut(serializers.Serializer[Mapping[str, object]]):
    """An event type and the topics that carry it."""

    type = CharField()
    topics = ListField(child=CharField())
    description = CharField()
    example = JSONField(allow_null=True)


class RetryIn(Strict):
    """What follows a failed attempt."""

    schedule = Json(
        read=as_schedule,
        schema={
            "type": "array",
            "maxItems": 50,
            "items": {"type": "integer", "minimum": 1, "maximum": 604_800},
            "description": "Seconds from the end of one attempt to the next; sum up to 30 days.",
        },
        required=False,
    )
    jitter = Number(min_value=0, max_value=0.5, required=False)
    on_exhausted = OneOf(choices=Subscription.OnExhausted.values, required=False)


class RetryOut(serializers.Serializer[Subscription]):
    """What follows a failed attempt."""

    schedule = ListField(child=IntegerField(), source="retry_schedule_s")
    jitter = FloatField(source="retry_jitter")
    on_exhausted = CharField()


class SubscriptionForm(Strict):
    """The members of a subscription that its partner sets at any time."""

    name = Text(max_length=MAX_NAME, required=False)
    endpoint = Text(max_length=MAX_ID)
    types = ListOf(
        child=Json(read=as_event_type, schema=TEXT), max_length=50, unique=True, default=list
    )
    filter = Json(read=as_filter, schema=FILTER, default=dict)
    filter_language = OneOf(choices=["json"], default="json")
    format = OneOf(choices=Subscription.Format.values, default=Subscription.Format.ENVELOPE.value)
    include = ListOf(
        child=OneOf(choices=INCLUDES), max_length=len(INCLUDES), unique=True, default=list
    )
    ordering = OneOf(choices=Subscription.Ordering.values, default=Subscription.Ordering.NONE.value)
    batch = Json(read=as_batch, schema=BATCH, allow_null=True, default=None)
    retry = RetryIn(default=dict)
    rate_per_s = Number(min_value=0.1, max_value=10_000, allow_null=True, default=None)
    trace = Truth(default=True)
    id = CharField(read_only=True)
    status = CharField(read_only=True)
    status_reason = CharField(read_only=True)
    position = JSONField(read_only=True)
    version = IntegerField(read_only=True)
    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)


class SubscriptionIn(SubscriptionForm):
    """A new subscription."""

    kind = OneOf(choices=["webhook", "notices"], default="webhook")
    topics = ListOf(
        child=Json(read=as_topic, schema=TEXT), max_length=20, unique=True, default=list
    )
    start = Json(read=as_start, schema=START, default=Latest)


class SubscriptionPatch(SubscriptionForm):
    """A change of a subscription; what it reads, and from where, is fixed when it is made."""

    kind = CharField(read_only=True)
    topics = ListField(child=CharField(), read_only=True)
    start = JSONField(read_only=True)


class SubscriptionOut(serializers.Serializer[Subscription]):
    """A subscription; the context has ``granted``, the names its partner may read now."""

    id = CharField()
    kind = SerializerMethodField()
    mode = CharField(help_text="`webhook`, or `pull` for a consumer group, which has no endpoint.")
    endpoint = CharField(source="endpoint_id", allow_null=True)
    name = CharField()
    status = SerializerMethodField()
    status_reason = SerializerMethodField()
    topics = ListField(child=CharField())
    types = ListField(child=CharField())
    filter = JSONField()
    filter_language = SerializerMethodField()
    format = CharField()
    include = ListField(child=CharField())
    ordering = CharField()
    batch = JSONField(allow_null=True)
    retry = RetryOut(source="*")
    rate_per_s = FloatField(allow_null=True)
    trace = BooleanField()
    start = JSONField()
    position = SerializerMethodField()
    version = IntegerField()
    created_at = Moment()
    updated_at = Moment()

    def get_kind(self, subscription: Subscription) -> str:
        is_notices = subscription.mode == Subscription.Mode.NOTICES
        return subscription.mode if is_notices else Subscription.Mode.WEBHOOK.value

    def get_filter_language(self, _: Subscription) -> str:
        return "json"

    def get_status(self, subscription: Subscription) -> str:
        suspended = suspension(subscription, self.context["granted"])
        if suspended == UNVERIFIED:
            return PENDING
        return Subscription.Status.SUSPENDED.value if suspended else subscription.status

    def get_status_reason(self, subscription: Subscription) -> str | None:
        suspended = suspension(subscription, self.context["granted"])
        return suspended or subscription.status_reason or None

    def get_position(self, _: Subscription) -> dict[str, Any] | None:
        """Return the start that was fixed, in the answer that made it; None afterwards."""
        position: dict[str, Any] | None = self.context.get("position")
        return position


PENDING = "pending"
UNVERIFIED = "endpoint_unverified"
"""Status and reason of a subscription whose endpoint has not shown yet that it wants records."""


def suspension(subscription: Subscription, granted: Collection[str]) -> str:
    """Return why nothing may be sent although the partner wants it, or "".

    Not kept in the row: it ends by itself when the cause ends.
    """
    if subscription.partner.status != Partner.Status.ACTIVE:
        return "partner_suspended"
    endpoint = subscription.endpoint
    if endpoint is not None and endpoint.status == Endpoint.Status.DISABLED:
        return "endpoint_disabled"
    if not set(subscription.topics) <= set(granted):
        return "grant_ended"
    if endpoint is not None and endpoint.status == Endpoint.Status.UNVERIFIED:
        return UNVERIFIED
    return ""


class KeyForm(Strict):
    """The members of an API key that can be set at any time."""

    name = Text(max_length=MAX_NAME)
    scopes = ListOf(
        child=Json(read=as_scope, schema=TEXT), min_length=1, max_length=MAX_SCOPES, unique=True
    )
    topics = ListOf(
        child=Json(read=as_topic, schema=TEXT),
        min_length=1,
        max_length=1_000,
        unique=True,
        allow_null=True,
        required=False,
    )
    allowed_cidrs = ListOf(
        child=Json(read=as_cidr, schema=TEXT), max_length=MAX_CIDRS, unique=True, required=False
    )
    certificate_sha256 = Json(read=as_thumbprint, schema=TEXT, allow_null=True, required=False)
    expires_at = Moment(required=False)
    id = CharField(read_only=True)
    status = CharField(read_only=True)
    last_used_at = Moment(read_only=True)
    last_used_ip = CharField(read_only=True)
    created_by = CharField(read_only=True)
    version = IntegerField(read_only=True)
    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)


class KeyIn(KeyForm):
    """A new API key; absent rights are those of the key that asks."""

    mode = OneOf(choices=ApiKey.Mode.values, required=False)


class KeyPatch(KeyForm):
    """A change of an API key."""

    mode = CharField(read_only=True)


class KeyRotation(Strict):
    """How long the old key goes on."""

    overlap_s = Whole(min_value=0, max_value=MAX_OVERLAP_S, default=DEFAULT_OVERLAP_S)


class KeyOut(serializers.Serializer[ApiKey]):
    """An API key without the key."""

    id = CharField()
    name = CharField()
    mode = CharField()
    scopes = ListField(child=CharField())
    topics = ListField(child=CharField(), allow_null=True)
    allowed_cidrs = ListField(child=CharField())
    certificate_sha256 = CharField(allow_null=True)
    expires_at = Moment()
    status = CharField()
    last_used_at = Moment(allow_null=True)
    last_used_ip = CharField(allow_null=True)
    created_by = CharField()
    version = IntegerField()
    created_at = Moment()
    updated_at = Moment()


class KeyMade(KeyOut):
    """A new API key, shown this once."""

    key = CharField()


class ExplainIn(Strict):
    """A filter to try; ``sample`` is the value of a record, as a filter sees it."""

    filter = Json(read=as_filter, schema=FILTER)
    topic = Json(read=as_topic, schema=TEXT)
    sample = Json(
        read=as_it_is,
        schema={"description": "The value of a record.", "type": "object"},
        allow_null=True,
        required=False,
    )
    last = Whole(min_value=1, max_value=100, required=False)

    def checked(self, values: Values) -> Values:
        if "sample" in values and "last" in values:
            text = "Either a record of your own is tried, or the newest of the topic."
            raise wrong("bad_combination", text, "/last")
        return values


class ExplainOut(serializers.Serializer[Mapping[str, object]]):
    """Why each record passes or does not; without a sample only that the filter is sound.

    Of ``last`` records, three that pass and three that do not are shown.
    """

    tested = IntegerField()
    matched = IntegerField()
    slowest_us = IntegerField(required=False)
    records = ListField(child=JSONField())
