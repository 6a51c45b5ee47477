"""What partners were told, and what is the matter with their things now."""

from django.contrib import admin
from django.utils.safestring import SafeString

from subscriptions import notices
from subscriptions.admin.base import ReadOnlyAdmin
from subscriptions.admin.display import as_json, badge
from subscriptions.models import Episode, Notice


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin[Notice]):
    """Newest first; each is written in the transaction of its cause."""

    list_display = ("created_at", "type", "partner", "text", "state")
    list_display_links = ("created_at", "type")
    list_filter = ("type",)
    list_select_related = ("partner",)
    search_fields = ("=id", "=endpoint", "partner__name")
    sortable_by = ()
    fields = ("id", "created_at", "type", "partner", "text", "body", "sent_at", "mailed_at")

    @admin.display(description="state")
    def state(self, notice: Notice) -> SafeString:
        return badge("active", "sent") if notice.sent_at else badge("pending", "waits")

    @admin.display(description="data")
    def body(self, notice: Notice) -> SafeString | str:
        return as_json(notices.data(notice))


@admin.register(Episode)
class EpisodeAdmin(ReadOnlyAdmin[Episode]):
    """What has begun and is not over: endpoints that fail, subscriptions that are behind."""

    list_display = ("type", "subject", "partner", "since", "detail", "step")
    list_filter = ("type",)
    list_select_related = ("partner",)
    search_fields = ("=subject", "partner__name")
    fields = list_display
