"""Issuers of foreign tokens, and whom their tokens stand for."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from kafkahub.errors import Invalid
from subscriptions import verification
from subscriptions.actions import issuers as verbs
from subscriptions.actions.clients import KEY_MAKER
from subscriptions.admin.base import AnyForm, HubAdmin, actor_of
from subscriptions.admin.display import badge, links, listed
from subscriptions.admin.fields import NetworksField, ScopesField
from subscriptions.admin.pages import Question, ask_then
from subscriptions.models import AuditEvent, Issuer, TokenSubject, Topic


class IssuerForm(AnyForm):
    """An issuer; its URL is held to the rules of every other outgoing request."""

    algorithms = forms.MultipleChoiceField(
        choices=Issuer.Algorithm.choices,
        initial=["RS256", "ES256"],
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = Issuer
        fields = (
            "name",
            "issuer",
            "jwks_url",
            "algorithms",
            "audience",
            "claim",
            "max_age_s",
            "is_enabled",
        )

    def clean_jwks_url(self) -> str:
        url: str = self.cleaned_data["jwks_url"]
        try:
            return verification.parse_url(url, "/jwks_url").url
        except Invalid as error:
            raise forms.ValidationError([fault.message for fault in error.faults]) from None


@admin.register(Issuer)
class IssuerAdmin(HubAdmin[Issuer]):
    """An issuer is disabled, never deleted: the audit log names it."""

    form = IssuerForm
    list_display = ("name", "issuer", "state", "jwks_url", "updated_at")
    list_filter = ("is_enabled",)
    search_fields = ("name", "issuer", "id")
    readonly_fields = ("id", "see_also", "created_at", "updated_at")
    fields = (*IssuerForm.Meta.fields, *readonly_fields)

    def save_model(self, request: HttpRequest, obj: Issuer, form: AnyForm, change: bool) -> None:
        actor = actor_of(request)
        if change:
            values = {name: form.cleaned_data[name] for name in form.changed_data}
            verbs.update_issuer(actor, obj, values)
        else:
            obj.pk = verbs.create_issuer(actor, form.cleaned_data).pk

    @admin.display(description="state", ordering="is_enabled")
    def state(self, issuer: Issuer) -> SafeString:
        return badge("enabled" if issuer.is_enabled else "disabled")

    @admin.display(description="see also")
    def see_also(self, issuer: Issuer) -> SafeString:
        return links(
            [
                ("Subjects", TokenSubject, {"issuer__id__exact": issuer.pk}),
                ("Audit", AuditEvent, {"object_id__exact": issuer.pk}),
            ]
        )


class SubjectForm(AnyForm):
    """Whom a value of the claim stands for, and what it may do at most."""

    scopes = ScopesField(help_text="What its tokens may hold at most.")
    topics = forms.ModelMultipleChoiceField(
        Topic.objects.all(),
        required=False,
        help_text="Topics it is limited to; none chosen: all that the partner is granted.",
    )
    allowed_cidrs = NetworksField(
        required=False,
        label="Allowed networks",
        help_text="From where its tokens are good; empty: from everywhere.",
    )

    class Meta:
        model = TokenSubject
        fields = (
            "issuer",
            "value",
            "partner",
            "name",
            "mode",
            "scopes",
            "topics",
            "allowed_cidrs",
        )

    def clean_topics(self) -> list[str] | None:
        return sorted(topic.pk for topic in self.cleaned_data["topics"]) or None

    def clean_scopes(self) -> list[str]:
        scopes: list[str] = self.cleaned_data["scopes"]
        if KEY_MAKER in scopes:
            raise forms.ValidationError(f"A token cannot have {KEY_MAKER}.")
        return scopes


@admin.register(TokenSubject)
class SubjectAdmin(HubAdmin[TokenSubject]):
    """A token of nobody listed here opens nothing, however right its signature."""

    form = SubjectForm
    autocomplete_fields = ("issuer", "partner")
    list_display = ("name", "issuer", "value", "partner", "mode", "scope_names", "updated_at")
    list_filter = ("mode",)
    list_select_related = ("issuer", "partner")
    search_fields = ("name", "value", "id", "partner__name")
    readonly_fields = ("id", "created_at", "updated_at")
    fields = (*SubjectForm.Meta.fields, *readonly_fields)
    actions = ("forget",)
    dangerous_actions = frozenset({"forget"})

    def get_readonly_fields(
        self, request: HttpRequest, obj: TokenSubject | None = None
    ) -> tuple[str, ...]:
        fixed: tuple[Any, ...] = () if obj is None else ("issuer", "value", "partner")
        return (*fixed, *self.readonly_fields)

    def save_model(
        self, request: HttpRequest, obj: TokenSubject, form: AnyForm, change: bool
    ) -> None:
        actor = actor_of(request)
        if change:
            values = {name: form.cleaned_data[name] for name in form.changed_data}
            verbs.update_subject(actor, obj, values)
        else:
            obj.pk = verbs.create_subject(actor, form.cleaned_data).pk

    @admin.action(description="Forget", permissions=["remove"])
    def forget(
        self, request: HttpRequest, queryset: QuerySet[TokenSubject]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "forget",
            "Tokens of these subjects open nothing any more, within 5 seconds.",
            "Forget subjects",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda subject, reason: verbs.delete_subject(actor, subject, reason),
            done="forgotten",
        )

    @admin.display(description="scopes")
    def scope_names(self, subject: TokenSubject) -> str:
        return listed(subject.scopes)
