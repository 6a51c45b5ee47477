"""What needs an operator: issues, and what is done about them."""

from collections.abc import Sequence
from datetime import timedelta

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from kafkahub import clock
from kafkahub.errors import NotFound
from subscriptions.actions import issues as verbs
from subscriptions.actions.keys import revoke_key, slow_key
from subscriptions.admin import runbook
from subscriptions.admin.base import ReadOnlyAdmin, actor_of
from subscriptions.admin.display import as_json, badge, object_url
from subscriptions.admin.pages import Question, ReasonForm, ask_then
from subscriptions.issues import Kind
from subscriptions.models import ApiKey, Issue

RUNBOOK = "subscriptions_issue_runbook"
KEY = "key_"


class QuietForm(ReasonForm):
    """For how long an issue is known, and why."""

    hours = forms.IntegerField(
        min_value=1, max_value=168, initial=24, help_text="Hours it stays quiet, 168 at most."
    )


class LiveFilter(admin.SimpleListFilter):
    """Shows what lasts unless all is asked for."""

    title = "state"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: object) -> Sequence[tuple[str, str]]:
        return [("all", "all"), ("resolved", "resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Issue]) -> QuerySet[Issue]:
        match self.value():
            case "all":
                return queryset
            case "resolved":
                return queryset.filter(state=Issue.State.RESOLVED)
            case _:
                return queryset.exclude(state=Issue.State.RESOLVED)


@admin.register(Issue)
class IssueAdmin(ReadOnlyAdmin[Issue]):
    """An issue resolves when its cause is gone; a person can say more of it."""

    list_display = (
        "shown_severity",
        "shown_state",
        "kind",
        "text",
        "partner",
        "opened_at",
        "times",
    )
    list_display_links = ("kind",)
    list_filter = (LiveFilter, "severity", "kind")
    search_fields = ("subject", "partner", "text")
    fields = (
        "kind",
        "shown_state",
        "shown_severity",
        "text",
        "subject_link",
        "partner",
        "shown_evidence",
        "opened_at",
        "seen_at",
        "times",
        "acknowledged_until",
        "resolved_at",
        "muted_until",
        "by",
        "note",
        "runbook_link",
    )
    readonly_fields = fields
    actions = ("acknowledge", "resolve", "limit", "revoke", "expected")
    dangerous_actions = frozenset({"revoke"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Issue]:
        return Issue.objects.worst_first()

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        own = path("runbook/<str:kind>/", guarded(self.runbook_page), name=RUNBOOK)
        return [own, *super().get_urls()]

    def runbook_page(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Show what to do about issues of one kind."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = runbook.page(kind)
        if page is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": page.title,
            "sections": page.sections,
        }
        return TemplateResponse(request, "admin/runbook.html", context)

    @admin.action(description="Acknowledge", permissions=["operate"])
    def acknowledge(
        self, request: HttpRequest, queryset: QuerySet[Issue]
    ) -> HttpResponseBase | None:
        question = Question(
            "acknowledge", "The issue stays quiet for a while, unless it gets worse.", "Acknowledge"
        )
        hours = int(request.POST.get("hours") or 0)
        return ask_then(
            request,
            queryset,
            question,
            lambda issue, reason: verbs.acknowledge(
                actor_of(request),
                issue,
                until=clock.now() + timedelta(hours=hours),
                note=reason,
            ),
            done="acknowledged",
            form_class=QuietForm,
        )

    @admin.action(description="Resolve", permissions=["operate"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Issue]) -> HttpResponseBase | None:
        text = "The issue is called resolved; it opens again when its cause is there in 5 minutes."
        return ask_then(
            request,
            queryset,
            Question("resolve", text, "Resolve"),
            lambda issue, reason: verbs.resolve(actor_of(request), issue, reason),
            done="resolved",
        )

    @admin.action(description="Expected: be silent for 30 days", permissions=["operate"])
    def expected(self, request: HttpRequest, queryset: QuerySet[Issue]) -> HttpResponseBase | None:
        text = "The same rule says nothing of the same key or network for 30 days."
        return ask_then(
            request,
            queryset.filter(kind=Kind.UNUSUAL_USE),
            Question("expected", text, "Expected"),
            lambda issue, reason: verbs.expect(actor_of(request), issue, reason),
            done="muted",
        )

    @admin.action(description="Limit the key to a tenth", permissions=["operate"])
    def limit(self, request: HttpRequest, queryset: QuerySet[Issue]) -> HttpResponseBase | None:
        hours = int(request.POST.get("hours") or 0)
        text = "The key gets a tenth of its rates for some hours, at every door within 5 seconds."
        return ask_then(
            request,
            queryset.filter(evidence__subject__startswith=KEY),
            Question("limit", text, "Limit key"),
            lambda issue, reason: slow_key(
                actor_of(request), _key_of(issue), clock.now() + timedelta(hours=hours), reason
            ),
            done="limited",
            form_class=QuietForm,
        )

    @admin.action(description="Revoke the key", permissions=["operate"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Issue]) -> HttpResponseBase | None:
        text = "The key opens nothing any more, at every door within 5 seconds; for good."
        return ask_then(
            request,
            queryset.filter(evidence__subject__startswith=KEY),
            Question("revoke", text, "Revoke key"),
            lambda issue, reason: revoke_key(actor_of(request), _key_of(issue), reason),
            done="revoked",
        )

    @admin.display(description="severity", ordering="severity")
    def shown_severity(self, issue: Issue) -> SafeString:
        return badge(issue.severity)

    @admin.display(description="state", ordering="state")
    def shown_state(self, issue: Issue) -> SafeString:
        return badge(issue.state)

    @admin.display(description="evidence")
    def shown_evidence(self, issue: Issue) -> SafeString | str:
        return as_json(issue.evidence)

    @admin.display(description="about")
    def subject_link(self, issue: Issue) -> SafeString | str:
        about = str(issue.evidence.get("subject", issue.subject))
        if not about.startswith(KEY):
            return about
        return format_html('<a href="{}">{}</a>', object_url(ApiKey, about), about)

    @admin.display(description="runbook")
    def runbook_link(self, issue: Issue) -> SafeString:
        url = reverse(f"admin:{RUNBOOK}", args=[issue.kind])
        return format_html('<a href="{}">What to do</a>', url)


def _key_of(issue: Issue) -> ApiKey:
    key = ApiKey.objects.filter(pk=str(issue.evidence.get("subject"))).first()
    if key is None:
        raise NotFound
    return key
