"""Partners' endpoints and their signing secrets."""

from django.contrib import admin
from django.utils.safestring import SafeString

from subscriptions.admin.base import HubAdmin, ReadOnlyAdmin
from subscriptions.admin.display import badge, code, links
from subscriptions.models import AuditEvent, Endpoint, SigningSecret, Subscription


@admin.register(Endpoint)
class EndpointAdmin(HubAdmin[Endpoint]):
    """Partners make and edit their endpoints by the API; operators stop and start them."""

    is_addable = False
    is_editable = False
    list_display = ("name", "partner", "state", "url", "max_in_flight", "updated_at")
    list_filter = ("status", "status_reason", "partner")
    list_select_related = ("partner",)
    search_fields = ("name", "id", "url", "partner__name")
    fields = (
        "id",
        "partner",
        "name",
        "description",
        "url",
        "state",
        "see_also",
        "timeout_ms",
        "connect_timeout_ms",
        "max_in_flight",
        "max_body_bytes",
        "custom_headers",
        "created_at",
        "updated_at",
    )

    @admin.display(description="state", ordering="status")
    def state(self, endpoint: Endpoint) -> SafeString:
        text = f"{endpoint.status} ({endpoint.status_reason})" if endpoint.status_reason else ""
        return badge(endpoint.status, text)

    @admin.display(description="custom headers")
    def custom_headers(self, endpoint: Endpoint) -> str:
        return "set, not shown" if endpoint.headers is not None else "none"

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
    fields = ("id", "endpoint", "kind", "state", "public_part", "created_at", "expires_at")

    @admin.display(description="state")
    def state(self, secret: SigningSecret) -> SafeString:
        return badge(secret.status)

    @admin.display(description="public key")
    def public_part(self, secret: SigningSecret) -> SafeString | str:
        return code(secret.public_key) if secret.public_key else "none: the kind has no public half"
