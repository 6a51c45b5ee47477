"""Partners' endpoints and their signing secrets."""

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from subscriptions.actions import endpoints as verbs
from subscriptions.actions import verification as verifying
from subscriptions.admin.base import HubAdmin, ReadOnlyAdmin, actor_of, run_each
from subscriptions.admin.display import badge, code, links
from subscriptions.admin.pages import Question, Shown, ask_then, show_each
from subscriptions.endpoint_forms import shown_verification
from subscriptions.models import AuditEvent, Endpoint, SigningSecret, Subscription
from subscriptions.signatures import Signatures


@admin.register(Endpoint)
class EndpointAdmin(HubAdmin[Endpoint]):
    """Partners make and edit their endpoints by the API; operators stop and start them."""

    is_addable = False
    is_editable = False
    list_display = ("name", "partner", "state", "url", "max_in_flight", "updated_at")
    list_filter = ("status", "status_reason", "verification_method")
    list_select_related = ("partner",)
    search_fields = ("name", "id", "url", "partner__name")
    actions = ("enable", "trust", "rotate_secret", "disable", "remove")
    dangerous_actions = frozenset({"disable", "remove"})
    fields = (
        "id",
        "partner",
        "name",
        "description",
        "url",
        "state",
        "proof",
        "see_also",
        "timeout_ms",
        "connect_timeout_ms",
        "max_in_flight",
        "rate_per_s",
        "max_body_bytes",
        "custom_headers",
        "login",
        "client_tls",
        "tls_expires_at",
        "signed_beside",
        "created_at",
        "updated_at",
    )

    @admin.action(description="Enable", permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        actor = actor_of(request)
        run_each(request, queryset, lambda one: verbs.enable_endpoint(actor, one), "enabled")

    @admin.action(description="Trust", permissions=["operate"])
    def trust(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "trust",
            "They are sent to without having shown that they want it: you vouch for them.",
            "Trust endpoints",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda one, reason: verifying.trust(actor, one, reason),
            done="trusted",
        )

    @admin.action(description="Rotate secret", permissions=["operate"])
    def rotate_secret(
        self, request: HttpRequest, queryset: QuerySet[Endpoint]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "rotate_secret",
            "A new secret is made and shown; the one before signs beside it for 24 hours.",
            "Rotate secrets",
        )
        return show_each(
            request,
            queryset,
            question,
            lambda one: Shown(str(one), verbs.rotate_secret(actor, one, "hmac")[1] or ""),
            done="rotated",
        )

    @admin.action(description="Disable", permissions=["operate"])
    def disable(
        self, request: HttpRequest, queryset: QuerySet[Endpoint]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "disable",
            "Nothing is sent to them until an operator enables them. What they are owed waits.",
            "Disable endpoints",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda one, reason: verbs.disable_endpoint(actor, one, reason),
            done="disabled",
        )

    @admin.action(description="Delete", permissions=["remove"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "remove",
            "The endpoints and their secrets are removed. Refused while a subscription uses one.",
            "Delete endpoints",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda one, _: verbs.delete_endpoint(actor, one),
            done="deleted",
            form_class=Form,
        )

    @admin.display(description="state", ordering="status")
    def state(self, endpoint: Endpoint) -> SafeString:
        text = f"{endpoint.status} ({endpoint.status_reason})" if endpoint.status_reason else ""
        return badge(endpoint.status, text)

    @admin.display(description="verification")
    def proof(self, endpoint: Endpoint) -> str:
        shown = shown_verification(endpoint)
        rate = (
            f", {endpoint.allowed_rate_per_min} a minute" if endpoint.allowed_rate_per_min else ""
        )
        detail = f": {shown['detail']}" if shown["detail"] else ""
        return f"{shown['state']} ({shown['method']}{rate}){detail}"

    @admin.display(description="custom headers")
    def custom_headers(self, endpoint: Endpoint) -> str:
        return "set, not shown" if endpoint.headers is not None else "none"

    @admin.display(description="login")
    def login(self, endpoint: Endpoint) -> str:
        return "set, not shown" if endpoint.auth is not None else "none"

    @admin.display(description="TLS material")
    def client_tls(self, endpoint: Endpoint) -> str:
        return "set, not shown" if endpoint.tls is not None else "none"

    @admin.display(description="more signatures")
    def signed_beside(self, endpoint: Endpoint) -> str:
        chosen = Signatures.of(endpoint.signatures or {})
        names = ["RFC 9421"] if chosen.rfc9421 else []
        return ", ".join([*names, *chosen.names]) or "none"

    @admin.display(description="see also")
    def see_also(self, endpoint: Endpoint) -> SafeString:
        own = {"endpoint__id__exact": endpoint.pk}
        return links(
            [
                ("Subscriptions", Subscription, own),
                ("Signing secrets", SigningSecret, own),
                ("Audit", AuditEvent, {"object_id__exact": endpoint.pk}),
            ]
        )


@admin.register(SigningSecret)
class SigningSecretAdmin(ReadOnlyAdmin[SigningSecret]):
    """That a secret exists, since when and until when; never the secret."""

    list_display = ("id", "endpoint", "kind", "state", "created_at", "expires_at")
    list_filter = ("kind",)
    list_select_related = ("endpoint",)
    search_fields = ("=id", "=endpoint__id", "endpoint__name")
    actions = ("retire",)
    dangerous_actions = frozenset({"retire"})
    fields = ("id", "endpoint", "kind", "state", "public_part", "created_at", "expires_at")

    @admin.action(description="Retire now", permissions=["operate"])
    def retire(
        self, request: HttpRequest, queryset: QuerySet[SigningSecret]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "retire",
            "They stop signing at once; a receiver that knows no other refuses what we send.",
            "Retire secrets",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda one, _: verbs.retire_secret(actor, one),
            done="retired",
            form_class=Form,
        )

    @admin.display(description="state")
    def state(self, secret: SigningSecret) -> SafeString:
        return badge(secret.status)

    @admin.display(description="public key")
    def public_part(self, secret: SigningSecret) -> SafeString | str:
        return code(secret.public_key) if secret.public_key else "none: the kind has no public half"
