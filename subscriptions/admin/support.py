"""Visits of support: who looked at which portal, why and for how long."""

from django.contrib import admin
from django.utils.safestring import SafeString

from kafkahub import clock
from subscriptions.admin.base import ReadOnlyAdmin
from subscriptions.admin.display import badge
from subscriptions.models import SupportVisit


@admin.register(SupportVisit)
class SupportVisitAdmin(ReadOnlyAdmin[SupportVisit]):
    """Begun on a partner's page, by *View as partner*."""

    list_display = ("partner", "user", "state", "reason", "opened_at", "until")
    list_select_related = ("partner", "user")
    search_fields = ("partner__name", "user__username", "reason", "id")
    fields = ("id", *list_display, "pages")
    readonly_fields = fields

    @admin.display(description="state")
    def state(self, visit: SupportVisit) -> SafeString:
        is_open = visit.ended_at is None and visit.expires_at > clock.now()
        return badge("active", "open") if is_open else badge("retired", "over")
