"""API keys: made, rotated and revoked here, never read."""

from django.contrib import admin
from django.utils.safestring import SafeString

from subscriptions.admin.base import HubAdmin
from subscriptions.admin.display import badge, code, listed
from subscriptions.models import ApiKey


@admin.register(ApiKey)
class ApiKeyAdmin(HubAdmin[ApiKey]):
    """A key is shown once, when it is made; what it may do is fixed from then on."""

    is_addable = False
    is_editable = False
    list_display = (
        "name",
        "partner",
        "prefix",
        "state",
        "scope_names",
        "expires_at",
        "last_used_at",
    )
    list_filter = ("mode", "partner")
    list_select_related = ("partner",)
    search_fields = ("name", "id", "public_id", "partner__name")
    fields = (
        "id",
        "partner",
        "name",
        "prefix",
        "state",
        "scope_names",
        "topic_names",
        "cidr_names",
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
