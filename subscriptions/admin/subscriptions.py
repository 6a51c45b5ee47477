"""Partners' subscriptions."""

from django.contrib import admin
from django.utils.safestring import SafeString

from subscriptions.admin.base import HubAdmin
from subscriptions.admin.display import as_json, badge, links, listed
from subscriptions.models import AuditEvent, LanePosition, Subscription


@admin.register(Subscription)
class SubscriptionAdmin(HubAdmin[Subscription]):
    """Partners make and edit subscriptions by the API, which finds the start in Kafka."""

    is_addable = False
    is_editable = False
    list_display = ("name", "partner", "state", "topic_names", "endpoint", "updated_at")
    list_filter = ("status", "format", "partner")
    list_select_related = ("partner", "endpoint")
    search_fields = ("name", "id", "partner__name", "endpoint__url")
    fields = (
        "id",
        "partner",
        "name",
        "state",
        "endpoint",
        "topic_names",
        "type_names",
        "filter_text",
        "format",
        "include_names",
        "ordering",
        "schedule",
        "trace",
        "start_text",
        "see_also",
        "created_at",
        "updated_at",
    )

    @admin.display(description="state", ordering="status")
    def state(self, subscription: Subscription) -> SafeString:
        reason = subscription.status_reason
        return badge(subscription.status, f"{subscription.status} ({reason})" if reason else "")

    @admin.display(description="topics")
    def topic_names(self, subscription: Subscription) -> str:
        return listed(subscription.topics)

    @admin.display(description="event types")
    def type_names(self, subscription: Subscription) -> str:
        return listed(subscription.types) if subscription.types else "all"

    @admin.display(description="filter")
    def filter_text(self, subscription: Subscription) -> SafeString | str:
        return as_json(subscription.filter) if subscription.filter else "none: every record"

    @admin.display(description="include")
    def include_names(self, subscription: Subscription) -> str:
        return listed(subscription.include)

    @admin.display(description="retry schedule")
    def schedule(self, subscription: Subscription) -> str:
        steps = ", ".join(f"{seconds} s" for seconds in subscription.retry_schedule_s)
        return f"{steps}; jitter {subscription.retry_jitter:.0%}" if steps else "no retries"

    @admin.display(description="start")
    def start_text(self, subscription: Subscription) -> SafeString | str:
        return as_json(subscription.start)

    @admin.display(description="see also")
    def see_also(self, subscription: Subscription) -> SafeString:
        return links(
            [
                ("Lanes", LanePosition, {"subscription__id__exact": subscription.pk}),
                ("Audit", AuditEvent, {"object_id__exact": subscription.pk}),
            ]
        )
