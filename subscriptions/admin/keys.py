"""API keys: made, rotated and revoked here, shown once, never read."""

import functools
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from kafkahub import clock
from subscriptions.actions import keys as verbs
from subscriptions.actions import plans as verbs_of_plans
from subscriptions.admin.base import AnyForm, HubAdmin, actor_of, run_each
from subscriptions.admin.display import badge, code, listed
from subscriptions.admin.fields import ThumbprintField
from subscriptions.admin.pages import (
    Question,
    Shown,
    ask,
    ask_then,
    is_too_many,
    keep,
    show_each,
    show_once,
    take,
)
from subscriptions.inputs import FIXED_SCOPES
from subscriptions.models import ApiKey, Plan, Topic

SCOPES = (*FIXED_SCOPES, "topic:*:read", "topic:*:write")
USUAL_SCOPES = ("webhooks:read", "webhooks:write", "deliveries:read", "topic:*:read")


def default_end() -> datetime:
    """Return when a key ends that nobody chose an end for."""
    return clock.now() + timedelta(days=verbs.DEFAULT_DAYS)


class Networks(forms.CharField):
    """CIDRs by comma; what is taken is their canonical form."""

    def clean(self, value: str) -> Any:
        text = super().clean(value)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        try:
            return [str(ip_network(part)) for part in parts]
        except ValueError as error:
            raise forms.ValidationError(
                f"Networks such as 192.0.2.0/24 by comma: {error}."
            ) from None


class KeyForm(AnyForm):
    """What a new key may do."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES],
        initial=USUAL_SCOPES,
        widget=forms.CheckboxSelectMultiple,
    )
    topics = forms.ModelMultipleChoiceField(
        Topic.objects.all(),
        required=False,
        help_text="Topics the key is limited to; none chosen: all that the partner is granted.",
    )
    allowed_cidrs = Networks(
        required=False,
        label="Allowed networks",
        help_text="CIDRs the key may be used from, by comma; empty: from everywhere.",
    )
    certificate_sha256 = ThumbprintField(
        required=False,
        label="Client certificate",
        help_text="SHA-256 in hex of the certificate it is good with only, behind a trusted proxy "
        "that tells it; empty: any or none.",
    )
    expires_at = forms.SplitDateTimeField(initial=default_end, widget=AdminSplitDateTime)

    class Meta:
        model = ApiKey
        fields = (
            "partner",
            "name",
            "mode",
            "scopes",
            "topics",
            "allowed_cidrs",
            "certificate_sha256",
            "expires_at",
        )


class PlanChoice(forms.Form):
    """Which plan keys shall have."""

    plan = forms.ModelChoiceField(
        Plan.objects.all(), required=False, empty_label="the partner's plan"
    )


@admin.register(ApiKey)
class ApiKeyAdmin(HubAdmin[ApiKey]):
    """What a key may do is fixed when it is made; operators revoke it or make another."""

    is_editable = False
    form = KeyForm
    autocomplete_fields = ("partner",)
    list_display = (
        "name",
        "partner",
        "prefix",
        "state",
        "scope_names",
        "expires_at",
        "last_used_at",
    )
    list_filter = ("mode",)
    list_select_related = ("partner",)
    search_fields = ("name", "id", "public_id", "partner__name")
    actions = ("set_plan", "rotate", "revoke")
    dangerous_actions = frozenset({"revoke"})

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return KEY_FIELDS if obj else KeyForm.Meta.fields

    def save_model(self, request: HttpRequest, obj: ApiKey, form: AnyForm, change: bool) -> None:
        chosen = form.cleaned_data
        rights = verbs.Rights(
            mode=obj.mode,
            scopes=frozenset(chosen["scopes"]),
            topics=frozenset(topic.pk for topic in chosen["topics"]) or None,
            cidrs=frozenset(chosen["allowed_cidrs"]),
        )
        made, plain = verbs.create_key(
            actor_of(request),
            obj.partner_id,
            name=obj.name,
            rights=rights,
            expires_at=obj.expires_at,
            certificate_sha256=obj.certificate_sha256,
        )
        obj.pk = made.pk
        keep(request, Shown(f"{made} of {made.partner}", plain))

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return show_once(request, ApiKey, "The new key", [take(request)])

    @admin.action(description="Set plan", permissions=["operate"])
    def set_plan(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponseBase | None:
        if is_too_many(request, queryset):
            return None
        question = Question(
            "set_plan",
            "The plan's rates hold for these keys, at every door within 5 seconds.",
            "Set plan",
        )
        form, page = ask(request, queryset, question, PlanChoice)
        if page is None:
            actor, plan = actor_of(request), form.cleaned_data["plan"]
            set_plan = functools.partial(verbs_of_plans.set_plan, actor, plan=plan)
            run_each(request, queryset, set_plan, "have the plan now")
        return page

    @admin.action(description="Rotate", permissions=["operate"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "rotate",
            "A second key with the same rights is made and shown; this one ends in 24 hours.",
            "Rotate keys",
        )
        return show_each(
            request,
            queryset,
            question,
            lambda key: Shown(str(key), verbs.rotate_key(actor, key)[1]),
            done="rotated",
        )

    @admin.action(description="Revoke", permissions=["operate"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "revoke",
            "The keys end for good, at every door within 5 seconds. This cannot be undone.",
            "Revoke keys",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda key, reason: verbs.revoke_key(actor, key, reason),
            done="revoked",
        )

    @admin.display(description="key", ordering="public_id")
    def prefix(self, key: ApiKey) -> SafeString:
        return code(f"khk_{key.mode}_{key.public_id[:4]}…")

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        return badge(key.status)

    @admin.display(description="scopes")
    def scope_names(self, key: ApiKey) -> str:
        return listed(key.scopes)

    @admin.display(description="topics")
    def topic_names(self, key: ApiKey) -> str:
        return "all that are granted" if key.topics is None else listed(key.topics)

    @admin.display(description="allowed networks")
    def cidr_names(self, key: ApiKey) -> str:
        return listed(key.allowed_cidrs) if key.allowed_cidrs else "any"


KEY_FIELDS = (
    "id",
    "partner",
    "name",
    "prefix",
    "state",
    "scope_names",
    "topic_names",
    "cidr_names",
    "certificate_sha256",
    "plan",
    "not_before",
    "expires_at",
    "revoked_at",
    "revoke_reason",
    "last_used_at",
    "last_used_ip",
    "last_used_agent",
    "created_by",
    "created_at",
)
"""What the page of a key shows, in this order."""
