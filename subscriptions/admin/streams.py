"""Stream tickets, and the streams that are open now, on all web processes."""

import itertools
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from kafkahub import clock
from subscriptions import streams
from subscriptions.actions import tickets as verbs
from subscriptions.actions.streams import CLOSINGS, close_stream
from subscriptions.admin.base import ReadOnlyAdmin, actor_of
from subscriptions.admin.display import badge, listed
from subscriptions.admin.pages import Question, ask_then
from subscriptions.admin_site import Figure, panel
from subscriptions.models import Partner, StreamTicket
from subscriptions.streams import Listing, OpenStream

LIST = "subscriptions_open_streams"
ONE = "subscriptions_open_stream"
MAX_LISTED = 500
"""Streams on the page, the ones furthest behind: enough to find what is wrong."""


class ClosingForm(forms.Form):
    """How a stream is closed, and why."""

    action = forms.ChoiceField(
        choices=[
            ("reconnect", "Tell its client to come again at once"),
            ("stop", "Tell its client to stay away"),
        ],
        help_text="It bars nobody for long: to keep a client out, revoke its key or ticket.",
    )
    reason = forms.CharField(max_length=200, required=False, help_text="Kept in the audit log.")


@admin.register(StreamTicket)
class StreamTicketAdmin(ReadOnlyAdmin[StreamTicket]):
    """Tickets are made by pages' own servers; here they are seen and revoked."""

    list_display = ("id", "partner", "issuer", "topic_names", "state", "origin", "expires_at")
    list_select_related = ("partner", "issuer")
    search_fields = ("=id", "=partner__id", "=issuer__id")
    search_help_text = "Exactly: the id of a ticket, a partner or a key."
    actions = ("revoke",)
    dangerous_actions = frozenset({"revoke"})
    exclude = ("secret_hash", "topics")
    readonly_fields = ("topic_names", "state")

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        return [
            path("open/", guarded(self.open_streams), name=LIST),
            path("open/<str:stream>/", guarded(self.open_stream), name=ONE),
            *super().get_urls(),
        ]

    @admin.display(description="topics")
    def topic_names(self, ticket: StreamTicket) -> str:
        return listed(ticket.topics)

    @admin.display(description="state")
    def state(self, ticket: StreamTicket) -> SafeString:
        if ticket.revoked_at is not None:
            return badge("revoked")
        is_late = ticket.opened_at is None and ticket.open_before <= clock.now()
        if is_late or ticket.expires_at <= clock.now():
            return badge("expired")
        return badge("waiting" if ticket.opened_at is None else "active")

    @admin.action(description="Revoke", permissions=["operate"])
    def revoke(
        self, request: HttpRequest, queryset: QuerySet[StreamTicket]
    ) -> HttpResponseBase | None:
        actor = actor_of(request)
        question = Question(
            "revoke",
            "The tickets end for good, and their streams are closed within 5 seconds.",
            "Revoke tickets",
        )
        return ask_then(
            request,
            queryset,
            question,
            lambda ticket, _: verbs.revoke_ticket(actor, ticket),
            done="revoked",
        )

    def open_streams(self, request: HttpRequest) -> HttpResponse:
        """Show what is open now, the furthest behind first."""
        _require(may=self.has_view_permission(request))
        found = streams.listing()
        ordered = sorted(found.streams, key=lambda each: each.lag_records or 0, reverse=True)
        shown = ordered[:MAX_LISTED]
        names = _partner_names(shown)
        context = {
            "title": "Open streams",
            "rows": [(each, names.get(each.partner, each.partner)) for each in shown],
            "count": len(ordered),
            "is_complete": found.complete,
        }
        return self._page(request, "admin/open_streams.html", context)

    def open_stream(self, request: HttpRequest, stream: str) -> HttpResponse:
        """Show one stream, and close it when asked to."""
        _require(may=self.has_view_permission(request))
        found = next((each for each in streams.listing().streams if each.id == stream), None)
        if found is None:
            raise Http404
        form = ClosingForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            _require(may=self.has_operate_permission(request))
            return self._close(request, found, form.cleaned_data)
        context = {
            "title": stream,
            "stream": found,
            "partner_name": _partner_names([found]).get(found.partner, found.partner),
            "members": _members(found),
            "form": form if self.has_operate_permission(request) else None,
        }
        return self._page(request, "admin/open_stream.html", context)

    def _close(
        self, request: HttpRequest, stream: OpenStream, chosen: dict[str, Any]
    ) -> HttpResponse:
        close_stream(actor_of(request), stream, chosen["action"], chosen["reason"])
        told = CLOSINGS[chosen["action"]]
        messages.success(request, f"{stream.id} is closed within 2 seconds; it is told {told!r}.")
        return HttpResponseRedirect(reverse(f"admin:{LIST}"))

    def _page(
        self, request: HttpRequest, template: str, context: dict[str, object]
    ) -> TemplateResponse:
        base = self.admin_site.each_context(request)
        return TemplateResponse(request, template, {**base, "opts": self.opts, **context})


def _require(*, may: bool) -> None:
    if not may:
        raise PermissionDenied


@panel("Streams")
def open_now() -> Sequence[Figure]:
    """Return how many streams are open, and how far the last of them is behind."""
    found = streams.listing()
    url = reverse(f"admin:{LIST}")
    lag = max((each.lag_records or 0 for each in found.streams), default=0)
    return [
        Figure("Open streams", _count(found), "" if found.complete else "warn", url),
        Figure("Furthest behind", f"{lag} records", "warn" if lag > LAG_WORTH_A_LOOK else "ok"),
    ]


LAG_WORTH_A_LOOK = 10_000
"""Records: more than a log keeps warm, so the stream is being caught up from Kafka."""


def _count(found: Listing) -> str:
    return str(len(found.streams)) + ("" if found.complete else " on this process")


def _partner_names(found: Sequence[OpenStream]) -> dict[str, str]:
    ids = {each.partner for each in found}
    return dict(Partner.objects.filter(pk__in=ids).values_list("id", "name"))


def _members(stream: OpenStream) -> list[tuple[str, str]]:
    """Return what a page shows of a stream, as label and text."""
    pairs = itertools.chain(
        [("Transport", stream.transport), ("Topics", listed(stream.topics))],
        [("State", stream.state), ("Records behind", stream.lag_records)],
        [("Seconds behind", stream.lag_seconds), ("Records sent", stream.records)],
        [("Bytes sent", stream.bytes), ("Paused, ms", stream.paused_ms)],
        [("Filter", stream.filter), ("Format", stream.format), ("Cursor", stream.cursor)],
        [("Key", stream.key_id), ("Ticket", stream.ticket_id), ("Address", stream.ip)],
        [("Origin", stream.origin), ("Agent", stream.user_agent), ("Process", stream.process)],
    )
    return [(label, "-" if value is None else str(value)) for label, value in pairs]
