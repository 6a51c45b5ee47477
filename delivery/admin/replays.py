"""Replays: how far each is, and the way to end one."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from delivery import replay_view, replays
from delivery.admin.search import by_prefix
from delivery.models import DeliveryAttempt, DeliveryGap
from subscriptions.admin.base import ReadOnlyAdmin, actor_of
from subscriptions.admin.display import as_json, badge, links
from subscriptions.admin.pages import Question, ask_then
from subscriptions.models import AuditEvent, Replay, ReplayLane, Subscription

COLUMNS = {"rep": "id", "sub": "subscription_id", "ep": "endpoint_id", "ptn": "partner_id"}


@admin.register(Replay)
class ReplayAdmin(ReadOnlyAdmin[Replay]):
    """Partners ask for them; operators look on, and cancel."""

    list_display = ("id", "partner", "subscription", "state_badge", "kind", "done", "created_at")
    list_filter = ("state", "kind")
    list_select_related = ("partner", "subscription__endpoint", "endpoint", "progress")
    search_fields = ("id",)
    search_help_text = "Exactly: a rep_…, sub_…, ep_… or ptn_… id."
    actions = ("cancel",)
    dangerous_actions = frozenset({"cancel"})
    fields = (
        "id",
        "partner",
        "subscription",
        "endpoint",
        "state_badge",
        "reason",
        "source_text",
        "filter_text",
        "only_missing",
        "rate_per_s",
        "figures",
        "places",
        "created_at",
        "started_at",
        "ended_at",
        "see_also",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Replay], search_term: str
    ) -> tuple[QuerySet[Replay], bool]:
        return by_prefix(queryset, search_term, COLUMNS), False

    @admin.display(description="state", ordering="state")
    def state_badge(self, replay: Replay) -> SafeString:
        return badge(replay.state)

    @admin.display(description="progress")
    def done(self, replay: Replay) -> str:
        shown = replay_view.progress(replay, list(ReplayLane.objects.filter(replay=replay)))
        return f"{shown['percent']} %, {shown['delivered']} of {replay.progress.count}"

    @admin.display(description="source")
    def source_text(self, replay: Replay) -> str:
        return as_json(replay.source)

    @admin.display(description="filter")
    def filter_text(self, replay: Replay) -> str:
        return as_json(replay.filter)

    @admin.display(description="figures")
    def figures(self, replay: Replay) -> str:
        shown = replay_view.progress(replay, list(ReplayLane.objects.filter(replay=replay)))
        return as_json({**shown, "blocked_by": replay_view.blocked_by(replay)})

    @admin.display(description="lanes")
    def places(self, replay: Replay) -> str:
        lanes = ReplayLane.objects.filter(replay=replay).order_by("topic", "partition")
        return ", ".join(map(str, lanes)) or "none"

    @admin.display(description="see also")
    def see_also(self, replay: Replay) -> SafeString:
        return links(
            [
                ("Subscription", Subscription, {"id__exact": replay.subscription_id}),
                ("Attempts", DeliveryAttempt, {"q": replay.subscription_id}),
                ("Gaps", DeliveryGap, {"q": replay.subscription_id}),
                ("Audit", AuditEvent, {"object_id__exact": replay.pk}),
            ]
        )

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Replay]) -> HttpResponseBase | None:
        actor = actor_of(request)
        return ask_then(
            request,
            queryset,
            Question(
                "cancel",
                "Nothing more of them is sent; what was sent stays sent.",
                "Cancel replays",
            ),
            lambda replay, reason: replays.cancel(actor, replay, reason),
            done="cancelled",
        )
