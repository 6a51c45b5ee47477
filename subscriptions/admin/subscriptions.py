"""Partners' subscriptions."""

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from subscriptions.actions import subscriptions as verbs
from subscriptions.admin.base import HubAdmin, actor_of, run_each
from subscriptions.admin.display import as_json, badge, links, listed
from subscriptions.admin.pages import Question, ask_then
from subscriptions.models import AuditEvent, LanePosition, Subscription


@admin.register(Subscription)
class SubscriptionAdmin(HubAdmin[Subscription]):
    """Partners make and edit subscriptions by the API, which finds the start in Kafka."""

    is_addable = False
    is_editable = False
    list_display = ("name", "partner", "state", "topic_names", "endpoint", "updated_at")
    list_filter = ("status", "format")
    list_select_related = ("partner", "endpoint")
    search_fields = ("name", "id", "partner__name", "endpoint__url")
    actions = ("pause", "resume", "remove")
    dangerous_actions = frozenset({"remove"})
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
        "batch_text",
        "schedule",
        "on_exhausted",
        "trace",
        "start_text",
        "see_also",
        "created_at",
        "updated_at",
    )

    @admin.action(description="Pause", permissions=["operate"])
    def pause(
        self, request: HttpRequest, queryset: QuerySet[Subscription]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "pause",
            "Nothing is sent to them until they are resumed; what comes meanwhile is owed.",
            "Pause subscriptions",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda one, reason: verbs.pause_subscription(actor, one, reason),
            done="paused",
        )

    @admin.action(description="Resume", permissions=["operate"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> None:
        actor = actor_of(request)
        run_each(request, queryset, lambda one: verbs.resume_subscription(actor, one), "resumed")

    @admin.action(description="Delete", permissions=["remove"])
    def remove(
        self, request: HttpRequest, queryset: QuerySet[Subscription]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "remove",
            "The subscriptions and their lanes are removed, and what they are owed is not sent. "
            "Refused while deliveries are parked: redrive or discard those first.",
            "Delete subscriptions",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda one, _: verbs.delete_subscription(actor, one, discard_parked=False),
            done="deleted",
            form_class=Form,
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

    @admin.display(description="batch")
    def batch_text(self, subscription: Subscription) -> SafeString | str:
        return as_json(subscription.batch) if subscription.batch else "one record a request"

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
