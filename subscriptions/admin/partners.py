"""Partners and what they are granted."""

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from kafkahub import clock
from subscriptions import audit
from subscriptions.admin.base import AuditedAdmin, actor_of, run_each, update_row
from subscriptions.admin.display import badge, links
from subscriptions.admin.pages import Question, ask, is_too_many
from subscriptions.models import ApiKey, AuditEvent, Endpoint, Grant, Partner, Subscription


@admin.register(Partner)
class PartnerAdmin(AuditedAdmin[Partner]):
    """Partners are suspended, never deleted: what they did must stay explainable."""

    noun = "partner"
    list_display = ("name", "status_badge", "contact", "id", "created_at")
    list_filter = ("status",)
    search_fields = ("name", "id", "contact")
    readonly_fields = ("id", "status_badge", "see_also", "created_at", "updated_at")
    fields = ("name", "contact", "id", "status_badge", "see_also", "created_at", "updated_at")
    actions = ("suspend", "resume")
    dangerous_actions = frozenset({"suspend"})

    @admin.display(description="status", ordering="status")
    def status_badge(self, partner: Partner) -> SafeString:
        return badge(partner.status)

    @admin.display(description="see also")
    def see_also(self, partner: Partner) -> SafeString:
        own = {"partner__id__exact": partner.pk}
        return links(
            [
                ("Grants", Grant, own),
                ("API keys", ApiKey, own),
                ("Endpoints", Endpoint, own),
                ("Subscriptions", Subscription, own),
                ("Audit", AuditEvent, {"partner__exact": partner.pk}),
            ]
        )

    @admin.action(description="Suspend", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Partner]) -> HttpResponseBase | None:
        if is_too_many(request, queryset):
            return None
        form, page = ask(
            request,
            queryset,
            Question(
                "suspend",
                "Their keys stop working and nothing is sent to them until they are resumed. "
                "Records wait in Kafka meanwhile.",
                "Suspend partners",
            ),
        )
        if page is not None:
            return page
        reason = form.cleaned_data["reason"]
        run_each(request, queryset, lambda one: _suspend(request, one, reason), "suspended")
        return None

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Partner]) -> None:
        if not is_too_many(request, queryset):
            run_each(request, queryset, lambda one: _resume(request, one), "resumed")


def _suspend(request: HttpRequest, partner: Partner, reason: str) -> bool:
    return _move(request, partner, Partner.Status.SUSPENDED, audit.Verb.PARTNER_SUSPENDED, reason)


def _resume(request: HttpRequest, partner: Partner) -> bool:
    return _move(request, partner, Partner.Status.ACTIVE, audit.Verb.PARTNER_RESUMED, "")


@transaction.atomic
def _move(
    request: HttpRequest, partner: Partner, status: Partner.Status, verb: audit.Verb, reason: str
) -> bool:
    """Return whether the status changed; only then is there an audit row."""
    if not Partner.objects.filter(pk=partner.pk).exclude(status=status).exists():
        return False
    update_row(partner, status=status)
    audit.append(actor_of(request), verb, partner, {"status": (partner.status, status)}, reason)
    return True


@admin.register(Grant)
class GrantAdmin(AuditedAdmin[Grant]):
    """A partner sees no topic without a grant."""

    noun = "grant"
    is_deletable = True
    list_display = ("partner", "topic", "action", "state", "valid_until", "created_at")
    list_display_links = ("partner", "topic")
    list_filter = ("action", "partner", "topic")
    list_select_related = ("partner", "topic")
    search_fields = ("partner__name", "topic__name", "id")
    autocomplete_fields = ("partner", "topic")
    readonly_fields = ("id", "created_at", "updated_at")
    fields = ("partner", "topic", "action", "valid_until", "id", "created_at", "updated_at")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Grant | None = None
    ) -> tuple[str, ...]:
        fixed = () if obj is None else ("partner", "topic", "action")
        return (*fixed, *self.readonly_fields)

    @admin.display(description="state")
    def state(self, grant: Grant) -> SafeString:
        if grant.valid_until is not None and grant.valid_until <= clock.now():
            return badge("expired")
        return badge("active")
