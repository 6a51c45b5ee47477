"""Parked deliveries: looked at, sent again, given up."""

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from delivery import actions as verbs
from delivery.actions import Place
from delivery.admin.search import by_prefix
from delivery.models import DeliveryAttempt, ParkedDelivery
from kafkahub.kafka.record import Position
from subscriptions import audit
from subscriptions.admin.base import ReadOnlyAdmin, actor_of
from subscriptions.admin.display import as_json, badge, links, object_url, payload
from subscriptions.admin.pages import Question, ask, ask_then, is_too_many
from subscriptions.audit import Actor, Subject, Verb
from subscriptions.models import AuditEvent, Subscription

COLUMNS = {
    "msg": "id",
    "tst": "id",
    "sub": "subscription_id",
    "ep": "subscription__endpoint_id",
    "ptn": "subscription__partner_id",
    "": "topic",
}


class LookForm(forms.Form):
    """Why an operator looks at a partner's record."""

    reason = forms.CharField(min_length=10, max_length=200, help_text="Kept in the audit log.")


class DiscardForm(forms.Form):
    """Why a record is given up."""

    reason = forms.CharField(min_length=3, max_length=200, help_text="Kept in the audit log.")


@admin.register(ParkedDelivery)
class ParkedDeliveryAdmin(ReadOnlyAdmin[ParkedDelivery]):
    """Engines own these rows; operators move them by the actions partners have."""

    list_display = (
        "id",
        "subscription_link",
        "record",
        "state_badge",
        "reason",
        "attempts",
        "last_outcome",
        "next_attempt_at",
    )
    list_filter = ("state", "reason")
    list_select_related = ("subscription__partner",)
    search_fields = ("id",)
    search_help_text = "Exactly: a msg_…, sub_…, ep_… or ptn_… id, or a topic."
    actions = ("resend", "redrive", "see_payload", "discard")
    dangerous_actions = frozenset({"discard"})
    fields = (
        "id",
        "subscription_link",
        "state_badge",
        "reason",
        "topic",
        "partition",
        "offset",
        "record_time",
        "key_text",
        "body_size",
        "headers_text",
        "attempts",
        "sends",
        "last_outcome",
        "last_status",
        "first_failed_at",
        "next_attempt_at",
        "expires_at",
        "claimed_by",
        "lease_until",
        "see_also",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ParkedDelivery]:
        return super().get_queryset(request).select_related("subscription__partner")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ParkedDelivery], search_term: str
    ) -> tuple[QuerySet[ParkedDelivery], bool]:
        return by_prefix(queryset, search_term, COLUMNS), False

    def has_payload_permission(self, request: HttpRequest) -> bool:
        """Whether the operator may see what partners are sent: a right of its own."""
        return request.user.has_perm("delivery.see_payload")

    @admin.action(description="Resend now", permissions=["operate"])
    def resend(
        self, request: HttpRequest, queryset: QuerySet[ParkedDelivery]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        return ask_then(
            request,
            queryset,
            Question("resend", "They are sent once more now, whatever their schedule.", "Resend"),
            lambda row, _: _again(actor, row, Verb.DELIVERY_RESENT),
            done="due now",
            form_class=forms.Form,
        )

    @admin.action(description="Redrive", permissions=["operate"])
    def redrive(
        self, request: HttpRequest, queryset: QuerySet[ParkedDelivery]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        return ask_then(
            request,
            queryset,
            Question("redrive", "Dead letters start their schedule again, now.", "Redrive"),
            lambda row, _: _again(actor, row, Verb.PARKED_REDRIVEN),
            done="due now",
            form_class=forms.Form,
        )

    @admin.action(description="Discard", permissions=["operate"])
    def discard(
        self, request: HttpRequest, queryset: QuerySet[ParkedDelivery]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        return ask_then(
            request,
            queryset,
            Question(
                "discard",
                "They are given up: their partners never get them. This cannot be undone.",
                "Discard deliveries",
            ),
            lambda row, reason: verbs.discard(actor, row, reason),
            done="discarded",
            form_class=DiscardForm,
        )

    @admin.action(description="See payload", permissions=["payload"])
    def see_payload(
        self, request: HttpRequest, queryset: QuerySet[ParkedDelivery]
    ) -> HttpResponseBase | None:
        if is_too_many(request, queryset):
            return None
        question = Question(
            "see_payload",
            "You will see what the partner is sent. The audit log keeps that you did, and why.",
            "See payload",
        )
        form, page = ask(request, queryset, question, LookForm)
        if page is not None:
            return page
        rows = list(queryset)
        for row in rows:
            _record_look(actor_of(request), row, form.cleaned_data["reason"])
        context = {
            **admin.site.each_context(request),
            "title": "Payload",
            "opts": self.opts,
            "payloads": [(row.pk, payload(row.content)) for row in rows],
        }
        return TemplateResponse(request, "admin/payloads.html", context)

    @admin.display(description="subscription", ordering="subscription")
    def subscription_link(self, row: ParkedDelivery) -> SafeString:
        url = object_url(Subscription, row.subscription_id)
        name = f"{row.subscription} of {row.subscription.partner}"
        return format_html('<a href="{}">{}</a>', url, name)

    @admin.display(description="record")
    def record(self, row: ParkedDelivery) -> str:
        return f"{row.topic}[{row.partition}] {row.offset}"

    @admin.display(description="state", ordering="state")
    def state_badge(self, row: ParkedDelivery) -> SafeString:
        return badge(row.state)

    @admin.display(description="key")
    def key_text(self, row: ParkedDelivery) -> SafeString | str:
        return payload(row.key)

    @admin.display(description="body")
    def body_size(self, row: ParkedDelivery) -> str:
        return "none could be made" if row.content is None else f"{len(row.content)} bytes"

    @admin.display(description="headers")
    def headers_text(self, row: ParkedDelivery) -> SafeString | str:
        return as_json(row.headers)

    @admin.display(description="see also")
    def see_also(self, row: ParkedDelivery) -> SafeString:
        return links(
            [
                ("Attempts", DeliveryAttempt, {"q": row.pk}),
                ("Audit", AuditEvent, {"object_id__exact": row.pk}),
            ]
        )


def _again(actor: Actor, row: ParkedDelivery, verb: Verb) -> None:
    """Make a row due, with a body made anew where the grant has changed since."""
    version = verbs.grant_version(row.subscription, row.topic)
    remade = None
    if verbs.needs_body(row, version):
        place = Place(Position(row.topic, row.partition, row.offset), row.pk, row.sends)
        remade = verbs.remade_at(row.subscription, place)
    verbs.send_again(actor, row, remade, verb=verb)


def _record_look(actor: Actor, row: ParkedDelivery, reason: str) -> None:
    subject = Subject("parkeddelivery", row.pk, row.subscription.partner_id)
    audit.record(actor, Verb.PAYLOAD_VIEWED, subject, {}, reason)
