"""The attempt log. Every list of it is bounded in time, so that PostgreSQL reads few days."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from delivery.admin.search import by_prefix
from delivery.models import DeliveryAttempt
from delivery.outcome import OutcomeClass
from kafkahub import clock, ids
from subscriptions.admin.base import ReadOnlyAdmin
from subscriptions.admin.display import badge, code, links, listed, payload
from subscriptions.models import Endpoint, Subscription

WINDOWS = {
    "15m": ("15 minutes", timedelta(minutes=15)),
    "1h": ("1 hour", timedelta(hours=1)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}
USUAL = "1h"
ALL = "all"
COLUMNS = {
    "msg": "delivery",
    "tst": "delivery",
    "sub": "subscription",
    "ep": "endpoint",
    "ptn": "partner",
    "": "topic",
}
INDEXED = ("msg_", "tst_", "att_")
"""Searches that are quick in the whole log: by attempt_of_delivery, or by primary key."""
STEPS = ("DNS", "TCP", "TLS", "sent", "first byte", "body")


class Window(admin.SimpleListFilter):
    """The newest part of the log; one hour unless asked, all of it for a delivery's id."""

    title = "time"
    parameter_name = "within"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [*((name, text) for name, (text, _) in WINDOWS.items()), (ALL, "All")]

    def choices(self, changelist: ChangeList) -> Any:
        for name, text in self.lookup_choices:
            yield {
                "selected": str(name) == (self.value() or _usual(changelist.query)),
                "query_string": changelist.get_query_string({self.parameter_name: name}),
                "display": text,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value() or _usual(request.GET.get(SEARCH_VAR, ""))
        if name not in WINDOWS:
            return queryset
        return queryset.filter(at__gte=clock.now() - WINDOWS[name][1])


def _usual(query: str) -> str:
    return ALL if query.strip().startswith(INDEXED) else USUAL


class ClassFilter(admin.SimpleListFilter):
    """What came of the attempt."""

    title = "outcome"
    parameter_name = "outcome_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(each.value, each.value.capitalize()) for each in OutcomeClass]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(outcome_class=self.value()) if self.value() else queryset


class Attempts(ChangeList):
    """Links by public id, because the number alone would be looked for in every day."""

    def url_for_result(self, result: Model) -> str:
        if isinstance(result, DeliveryAttempt):
            return f"{result.public_id}/change/"
        return super().url_for_result(result)


@admin.register(DeliveryAttempt)
class DeliveryAttemptAdmin(ReadOnlyAdmin[DeliveryAttempt]):
    """One line a request, newest first, by primary key (at, id)."""

    list_display = (
        "at",
        "delivery",
        "record",
        "number",
        "kind",
        "came_of_it",
        "http_status",
        "duration",
    )
    list_display_links = ("at", "delivery")
    list_filter = (Window, ClassFilter, "kind")
    search_fields = ("delivery",)
    search_help_text = "Exactly: a msg_…, att_…, sub_…, ep_… or ptn_… id, or a topic."
    sortable_by = ()
    fields = (
        "public_id_text",
        "at",
        "delivery",
        "came_of_it",
        "http_status",
        "duration",
        "steps",
        "reused",
        "number",
        "kind",
        "next_attempt_at",
        "retry_after_s",
        "topic",
        "partition",
        "offset",
        "record_time",
        "key_text",
        "request_bytes",
        "answer",
        "response_note",
        "secrets_used",
        "see_also",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Attempts

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeliveryAttempt], search_term: str
    ) -> tuple[QuerySet[DeliveryAttempt], bool]:
        if ids.is_id(search_term.strip(), DeliveryAttempt.PREFIX):
            return _with_id(queryset, search_term.strip()), False
        return by_prefix(queryset, search_term, COLUMNS), False

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> DeliveryAttempt | None:
        if not ids.is_id(object_id, DeliveryAttempt.PREFIX):
            return None
        return _with_id(self.get_queryset(request), object_id).first()

    @admin.display(description="id")
    def public_id_text(self, attempt: DeliveryAttempt) -> SafeString:
        return code(attempt.public_id)

    @admin.display(description="record")
    def record(self, attempt: DeliveryAttempt) -> str:
        return f"{attempt.topic}[{attempt.partition}] {attempt.offset}"

    @admin.display(description="outcome")
    def came_of_it(self, attempt: DeliveryAttempt) -> SafeString:
        return badge(attempt.outcome_class, attempt.outcome)

    @admin.display(description="ms")
    def duration(self, attempt: DeliveryAttempt) -> str:
        return f"{attempt.duration_us / 1000:.1f}"

    @admin.display(description="steps, ms since the start")
    def steps(self, attempt: DeliveryAttempt) -> str:
        pairs = zip(STEPS, attempt.timings_us, strict=False)
        return ", ".join(f"{name} {spent / 1000:.1f}" for name, spent in pairs) or "none"

    @admin.display(description="key")
    def key_text(self, attempt: DeliveryAttempt) -> SafeString | str:
        return payload(attempt.key)

    @admin.display(description="start of the answer")
    def answer(self, attempt: DeliveryAttempt) -> SafeString | str:
        return payload(attempt.response_excerpt)

    @admin.display(description="signed with")
    def secrets_used(self, attempt: DeliveryAttempt) -> str:
        return listed(attempt.secret_ids)

    @admin.display(description="see also")
    def see_also(self, attempt: DeliveryAttempt) -> SafeString:
        return links(
            [
                ("All attempts of it", DeliveryAttempt, {SEARCH_VAR: attempt.delivery}),
                ("Subscription", Subscription, {"id__exact": attempt.subscription}),
                ("Endpoint", Endpoint, {"id__exact": attempt.endpoint}),
            ]
        )


def _with_id(rows: QuerySet[DeliveryAttempt], public_id: str) -> QuerySet[DeliveryAttempt]:
    """Return the attempt with that id, by primary key in one day; none for an impossible time."""
    unix_ms, number = ids.decode(public_id)
    try:
        moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    except (OverflowError, ValueError):
        return rows.none()
    # The id holds whole milliseconds, found by a division that may round either way.
    around = (moment - timedelta(milliseconds=1), moment + timedelta(milliseconds=2))
    return rows.filter(at__range=around, pk=min(number, (1 << 63) - 1))
