"""OAuth clients: registered, given a second secret and revoked here; secrets are shown once."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from subscriptions.actions import clients as verbs
from subscriptions.admin.base import AnyForm, HubAdmin, actor_of
from subscriptions.admin.display import badge, code, listed
from subscriptions.admin.fields import NetworksField, ScopesField, ThumbprintField
from subscriptions.admin.pages import Question, Shown, ask_then, keep, show_each, show_once, take
from subscriptions.models import OAuthClient, Topic

USUAL_SCOPES = ("topic:*:read",)
FIXED = ("partner", "mode")
"""What is never changed: another client is made."""


class ClientForm(AnyForm):
    """What a client may ask for."""

    scopes = ScopesField(
        initial=USUAL_SCOPES,
        help_text="What its tokens may hold, such as webhooks:read or topic:orders:read.",
    )
    default_scopes = ScopesField(
        required=False, help_text="What a token holds when none is asked for; empty: no token."
    )
    topics = forms.ModelMultipleChoiceField(
        Topic.objects.all(),
        required=False,
        help_text="Topics it is limited to; none chosen: all that the partner is granted.",
    )
    allowed_cidrs = NetworksField(
        required=False,
        label="Allowed networks",
        help_text="From where it may call; empty: from everywhere.",
    )

    certificate_sha256 = ThumbprintField(
        required=False,
        label="Client certificate",
        help_text="SHA-256 in hex of the certificate it is good with only, behind a trusted proxy "
        "that tells it; empty: any or none.",
    )

    class Meta:
        model = OAuthClient
        fields = (
            "partner",
            "name",
            "mode",
            "scopes",
            "default_scopes",
            "topics",
            "allowed_cidrs",
            "certificate_sha256",
            "may_introspect",
        )

    def clean_topics(self) -> list[str] | None:
        return sorted(topic.pk for topic in self.cleaned_data["topics"]) or None

    def clean(self) -> dict[str, Any]:
        held = self.cleaned_data.get("scopes", [])
        beyond = set(self.cleaned_data.get("default_scopes", [])) - set(held)
        if beyond:
            self.add_error("default_scopes", f"{min(beyond)} is not among the scopes.")
        if verbs.KEY_MAKER in held:
            self.add_error("scopes", f"A token cannot have {verbs.KEY_MAKER}.")
        return self.cleaned_data


@admin.register(OAuthClient)
class ClientAdmin(HubAdmin[OAuthClient]):
    """A client's rights may change; its tokens follow within 5 seconds."""

    form = ClientForm
    autocomplete_fields = ("partner",)
    list_display = ("name", "partner", "shown_id", "state", "scope_names", "secrets", "created_at")
    list_filter = ("mode", "may_introspect")
    list_select_related = ("partner",)
    search_fields = ("name", "client_id", "partner__name")
    actions = ("rotate", "revoke")
    dangerous_actions = frozenset({"revoke"})

    def get_fields(self, request: HttpRequest, obj: OAuthClient | None = None) -> tuple[str, ...]:
        return ClientForm.Meta.fields if obj is None else (*ClientForm.Meta.fields, *SHOWN)

    def get_readonly_fields(
        self, request: HttpRequest, obj: OAuthClient | None = None
    ) -> tuple[str, ...]:
        return () if obj is None else (*FIXED, *SHOWN)

    def has_change_permission(self, request: HttpRequest, obj: OAuthClient | None = None) -> bool:
        is_over = obj is not None and obj.revoked_at is not None
        return not is_over and super().has_change_permission(request, obj)

    def save_model(
        self, request: HttpRequest, obj: OAuthClient, form: AnyForm, change: bool
    ) -> None:
        chosen = form.cleaned_data
        if change:
            values = {name: chosen[name] for name in form.changed_data}
            verbs.update_client(actor_of(request), obj, values)
            return
        rights = verbs.ClientRights(
            mode=obj.mode,
            scopes=frozenset(chosen["scopes"]),
            default_scopes=frozenset(chosen["default_scopes"]),
            topics=None if chosen["topics"] is None else frozenset(chosen["topics"]),
            cidrs=frozenset(chosen["allowed_cidrs"]),
            may_introspect=obj.may_introspect,
            certificate_sha256=chosen["certificate_sha256"],
        )
        made, secret = verbs.create_client(
            actor_of(request), obj.partner_id, name=obj.name, rights=rights
        )
        obj.pk = made.pk
        keep(request, Shown(f"{made} of {made.partner}", secret))

    def response_add(
        self, request: HttpRequest, obj: OAuthClient, post_url_continue: str | None = None
    ) -> HttpResponse:
        return show_once(request, OAuthClient, "The new client's secret", [take(request)])

    @admin.action(description="Second secret", permissions=["operate"])
    def rotate(
        self, request: HttpRequest, queryset: QuerySet[OAuthClient]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "rotate",
            "A second secret is made and shown; the one before ends in 24 hours.",
            "Make second secrets",
        )
        return show_each(
            request,
            queryset,
            question,
            lambda client: Shown(str(client), verbs.rotate_client_secret(actor, client)[1]),
            done="rotated",
        )

    @admin.action(description="Revoke", permissions=["operate"])
    def revoke(
        self, request: HttpRequest, queryset: QuerySet[OAuthClient]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "revoke",
            "The clients and all their tokens end for good, within 5 seconds. "
            "This cannot be undone.",
            "Revoke clients",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda client, reason: verbs.revoke_client(actor, client, reason),
            done="revoked",
        )

    @admin.display(description="client id", ordering="client_id")
    def shown_id(self, client: OAuthClient) -> SafeString:
        return code(client.client_id)

    @admin.display(description="state")
    def state(self, client: OAuthClient) -> SafeString:
        return badge(client.status)

    @admin.display(description="scopes")
    def scope_names(self, client: OAuthClient) -> str:
        return listed(client.scopes)

    @admin.display(description="secrets")
    def secrets(self, client: OAuthClient) -> str:
        return "two" if client.has_two_secrets else "one"


SHOWN = (
    "shown_id",
    "state",
    "secrets",
    "revoked_at",
    "revoke_reason",
    "created_by",
    "created_at",
)
"""What the page of a client shows beside its rights."""
