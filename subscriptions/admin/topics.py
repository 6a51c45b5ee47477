"""Topics that are open to partners."""

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from subscriptions.actions import topics as verbs
from subscriptions.admin.base import AnyForm, VersionedAdmin, actor_of, run_each
from subscriptions.admin.display import badge, links
from subscriptions.admin.pages import Question, ask_then
from subscriptions.audit import Actor, Verb
from subscriptions.models import AuditEvent, Grant, Topic


@admin.register(Topic)
class TopicAdmin(VersionedAdmin[Topic]):
    """A topic is disabled, never deleted: subscriptions name it."""

    updated = Verb.TOPIC_UPDATED
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

    def create(self, actor: Actor, obj: Topic, form: AnyForm) -> Topic:
        settings = {name: value for name, value in form.cleaned_data.items() if name != "name"}
        return verbs.create_topic(actor, obj.name, **settings)

    @admin.action(description="Enable", permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Topic]) -> None:
        actor = actor_of(request)
        run_each(request, queryset, lambda topic: verbs.enable_topic(actor, topic), "enabled")

    @admin.action(description="Disable", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Topic]) -> HttpResponseBase | None:
        actor = actor_of(request)
        return ask_then(
            request,
            queryset,
            Question(
                "disable",
                "For partners these topics cease to exist, and nothing of them is sent until "
                "they are enabled again.",
                "Disable topics",
            ),
            lambda topic, _: verbs.disable_topic(actor, topic),
            done="disabled",
            form_class=Form,
        )
