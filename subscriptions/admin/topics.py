"""Topics that are open to partners."""

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from subscriptions import audit
from subscriptions.admin.base import AuditedAdmin, actor_of, run_each, update_row
from subscriptions.admin.display import badge, links
from subscriptions.admin.pages import Question, ask, is_too_many
from subscriptions.models import AuditEvent, Grant, Topic


@admin.register(Topic)
class TopicAdmin(AuditedAdmin[Topic]):
    """A topic is disabled, never deleted: subscriptions name it."""

    noun = "topic"
    list_display = ("name", "state", "format", "is_sandbox", "is_sensitive", "updated_at")
    list_filter = ("is_enabled", "format", "is_sandbox", "is_sensitive")
    search_fields = ("name", "description")
    readonly_fields = ("state", "see_also", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("name", "description", "state", "see_also")}),
        ("Records", {"fields": ("format", "content_type", "type_source", "type_value", "example")}),
        ("Protection", {"fields": ("is_sandbox", "is_sensitive")}),
        ("Times", {"fields": ("created_at", "updated_at")}),
    )
    actions = ("enable", "disable")
    dangerous_actions = frozenset({"disable"})

    def get_readonly_fields(
        self, request: HttpRequest, obj: Topic | None = None
    ) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("name", *self.readonly_fields)

    @admin.display(description="state", ordering="is_enabled")
    def state(self, topic: Topic) -> SafeString:
        return badge("enabled" if topic.is_enabled else "disabled")

    @admin.display(description="see also")
    def see_also(self, topic: Topic) -> SafeString:
        return links(
            [
                ("Grants", Grant, {"topic__name__exact": topic.pk}),
                ("Audit", AuditEvent, {"object_id__exact": topic.pk}),
            ]
        )

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Topic]) -> None:
        if not is_too_many(request, queryset):
            run_each(request, queryset, lambda one: _move(request, one, is_enabled=True), "enabled")

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Topic]) -> HttpResponseBase | None:
        if is_too_many(request, queryset):
            return None
        form, page = ask(
            request,
            queryset,
            Question(
                "disable",
                "For partners these topics stop to exist, and nothing of them is sent until "
                "they are enabled again.",
                "Disable topics",
            ),
        )
        if page is not None:
            return page
        reason = form.cleaned_data["reason"]
        run_each(
            request,
            queryset,
            lambda one: _move(request, one, is_enabled=False, reason=reason),
            "disabled",
        )
        return None


@transaction.atomic
def _move(request: HttpRequest, topic: Topic, *, is_enabled: bool, reason: str = "") -> bool:
    """Return whether the state changed; only then is there an audit row."""
    if not Topic.objects.filter(pk=topic.pk).exclude(is_enabled=is_enabled).exists():
        return False
    update_row(topic, is_enabled=is_enabled)
    verb = audit.Verb.TOPIC_ENABLED if is_enabled else audit.Verb.TOPIC_DISABLED
    changes = {"is_enabled": (not is_enabled, is_enabled)}
    audit.append(actor_of(request), verb, topic, changes, reason)
    return True
