"""Gaps: what will never come, and the consent to a topic that was made again."""

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from delivery import recreated
from delivery.admin.search import by_prefix
from delivery.models import DeliveryGap
from kafkahub.errors import Conflict
from subscriptions import starts
from subscriptions.admin.base import ReadOnlyAdmin, actor_of
from subscriptions.admin.display import badge, links
from subscriptions.admin.pages import Question, ask_then
from subscriptions.audit import Actor
from subscriptions.models import AuditEvent, Subscription, Topic

COLUMNS = {
    "ntc": "id",
    "msg": "delivery",
    "sub": "subscription_id",
    "ptn": "subscription__partner_id",
    "": "topic",
}
OF_ANOTHER_LOG = frozenset({DeliveryGap.Reason.RECREATED, DeliveryGap.Reason.TRUNCATED})


@admin.register(DeliveryGap)
class DeliveryGapAdmin(ReadOnlyAdmin[DeliveryGap]):
    """One line a lane and range, newest first."""

    list_display = ("found_at", "subscription", "place", "span", "why", "announced_at")
    list_filter = ("reason",)
    list_select_related = ("subscription",)
    search_fields = ("id",)
    search_help_text = "Exactly: a ntc_…, msg_…, sub_… or ptn_… id, or a topic."
    actions = ("accept",)
    dangerous_actions = frozenset({"accept"})
    fields = (
        "id",
        "subscription",
        "place",
        "span",
        "why",
        "generation",
        "delivery",
        "replay",
        "found_at",
        "announced_at",
        "see_also",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeliveryGap], search_term: str
    ) -> tuple[QuerySet[DeliveryGap], bool]:
        return by_prefix(queryset, search_term, COLUMNS), False

    @admin.display(description="partition")
    def place(self, gap: DeliveryGap) -> str:
        return f"{gap.topic}[{gap.partition}]"

    @admin.display(description="offsets")
    def span(self, gap: DeliveryGap) -> str:
        if gap.lost is None:
            return f"from {gap.from_offset}, to an end that was never seen"
        return f"{gap.from_offset} to before {gap.to_offset} ({gap.lost})"

    @admin.display(description="reason", ordering="reason")
    def why(self, gap: DeliveryGap) -> SafeString:
        return badge(gap.reason)

    @admin.display(description="see also")
    def see_also(self, gap: DeliveryGap) -> SafeString:
        return links(
            [
                ("Subscription", Subscription, {"id__exact": gap.subscription_id}),
                ("Audit", AuditEvent, {"object_id__exact": gap.subscription_id}),
            ]
        )

    @admin.action(description="Accept the topic as it is now", permissions=["operate"])
    def accept(
        self, request: HttpRequest, queryset: QuerySet[DeliveryGap]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        effect = (
            "The lanes of their topics that stand still go on at the first record there is, under "
            "new ids: what the old topic had was lost."
        )
        return ask_then(
            request,
            queryset,
            Question("accept", effect, "Accept topics"),
            lambda gap, _: _accept(actor, gap),
            done="accepted",
            form_class=forms.Form,
        )


def _accept(actor: Actor, gap: DeliveryGap) -> None:
    """Accept the topic of a gap; once is enough for all its gaps."""
    if gap.reason not in OF_ANOTHER_LOG:
        raise Conflict(f"{gap.topic} is the topic it was: {gap.reason} needs no consent.")
    if recreated.waiting(gap.topic):
        recreated.accept(actor, Topic.objects.get(pk=gap.topic), starts.process_admin())
