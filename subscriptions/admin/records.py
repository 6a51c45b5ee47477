"""Rows that nobody edits: the audit log, positions of lanes, stored answers of the API."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from subscriptions.admin.base import ReadOnlyAdmin
from subscriptions.admin.display import as_json, badge, code, object_url
from subscriptions.models import (
    AuditEvent,
    IdempotencyKey,
    LanePosition,
    Subscription,
    UsageHour,
)
from subscriptions.usage import COLUMNS


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin[AuditEvent]):
    """Who did what to which object; newest first, by primary key."""

    list_display = ("at", "verb", "who", "object_type", "object_id", "partner", "reason")
    list_display_links = ("at", "verb")
    list_filter = ("actor_kind", "object_type")
    search_fields = ("=object_id", "=request_id", "=actor", "=partner", "=verb")
    search_help_text = "Exactly: an object's id, a request id, an actor, a partner, a verb."
    sortable_by = ()
    fields = (
        "id",
        "at",
        "verb",
        "who",
        "address",
        "request_id",
        "partner",
        "object_type",
        "object_id",
        "changes_text",
        "reason",
        "hash_text",
    )

    @admin.display(description="actor")
    def who(self, event: AuditEvent) -> str:
        return f"{event.actor_kind} {event.actor}"

    @admin.display(description="changes")
    def changes_text(self, event: AuditEvent) -> SafeString | str:
        return as_json(event.changes)

    @admin.display(description="hash")
    def hash_text(self, event: AuditEvent) -> SafeString:
        return code(bytes(event.hash).hex())


@admin.register(LanePosition)
class LanePositionAdmin(ReadOnlyAdmin[LanePosition]):
    """Where subscriptions stand; engines own these rows."""

    list_display = (
        "subscription_link",
        "topic",
        "partition",
        "state_badge",
        "reason",
        "next_offset",
        "since",
        "updated_at",
    )
    list_display_links = ("topic",)
    list_filter = ("state", "reason")
    list_select_related = ("subscription",)
    search_fields = ("=subscription__id", "=topic")
    search_help_text = "Exactly: a subscription's id or a topic."
    exclude = ("state",)
    readonly_fields = ("state_badge",)

    @admin.display(description="subscription", ordering="subscription")
    def subscription_link(self, lane: LanePosition) -> SafeString:
        url = object_url(Subscription, lane.subscription_id)
        return format_html('<a href="{}">{}</a>', url, lane.subscription.name)

    @admin.display(description="state", ordering="state")
    def state_badge(self, lane: LanePosition) -> SafeString:
        return badge(lane.state)


@admin.register(UsageHour)
class UsageHourAdmin(ReadOnlyAdmin[UsageHour]):
    """What partners used, by the hour, door and topic; written twice a minute."""

    list_display = ("hour", "partner", "door", "topic", *COLUMNS)
    list_display_links = ("hour",)
    list_filter = ("door", "hour")
    list_select_related = ("partner",)
    search_fields = ("partner__name", "=partner__id", "=topic")
    search_help_text = "A partner's name, or exactly a partner's id or a topic."


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin[IdempotencyKey]):
    """POSTs that are remembered, without answers: those hold what is shown only once."""

    list_display = ("key", "partner", "status", "created_at")
    list_select_related = ("partner",)
    list_filter = ("status",)
    search_fields = ("=key", "=partner__id")
    search_help_text = "Exactly: a key or a partner's id."
    fields = ("key", "partner", "status", "created_at")
