"""The operators' site: Django's admin with our overview and audited sign-in.

Outside of ``admin`` because that package registers its pages with the site when it is imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.db import OperationalError, connection, transaction
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from psycopg.errors import QueryCanceled

from kafkahub.observability import logs
from subscriptions import audit
from subscriptions.audit import ActorKind, Subject, Verb
from subscriptions.models import AuditEvent, Issue, Partner

T = TypeVar("T")

PANEL_MS = 700
"""Longest a panel of the overview may ask PostgreSQL, in ms: the page is for bad moments too."""
APPS = {"auth": "Operators and roles"}
NAMES = {
    "ApiKey": "API keys",
    "AuditEvent": "Audit",
    "DeliveryAttempt": "Attempts",
    "Group": "Roles",
    "OAuthClient": "OAuth clients",
    "TokenSubject": "Token subjects",
    "User": "Operators",
}
"""Names of the side bar where Django's own are not ours."""
LAST = frozenset({"auth"})
MAX_NEEDS = 20
"""Issues on the overview; the list has them all."""
LATEST = 8
"""Audit rows on the overview."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the overview.

    state  ``ok``, ``warn``, ``bad``, ``info`` or ``""``: its colour and mark
    url    the list it counts, or ``""``
    """

    label: str
    value: str
    state: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A row of figures on the overview; ``figures`` is empty when PostgreSQL was too slow."""

    title: str
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Need:
    """An issue on the overview; ``affected`` is its partner's name."""

    issue: Issue
    affected: str


Figures = Callable[[], Sequence[Figure]]
_PANELS: list[tuple[str, Figures]] = []


def panel(title: str) -> Callable[[Figures], Figures]:
    """Put a function's figures on the overview; it is called when the page is opened."""

    def register(figures: Figures) -> Figures:
        _PANELS.append((title, figures))
        return figures

    return register


class HubSite(admin.AdminSite):
    """Django's site with our overview and audited sign-in."""

    site_header = "KafkaHub"
    site_title = "KafkaHub operators"
    index_title = "Overview"
    site_url = None

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.disable_action("delete_selected")

    def register(  # the stub knows neither generic pages nor several models
        self, model_or_iterable: Any, admin_class: Any = None, **options: Any
    ) -> None:
        """Take no page of the OAuth package: what is changed there would have no audit row."""
        if admin_class is None or not admin_class.__module__.startswith("oauth2_provider."):
            super().register(model_or_iterable, admin_class, **options)

    def get_app_list(
        self, request: HttpRequest, app_label: str | None = None
    ) -> list[dict[str, Any]]:
        """Return Django's list in the house's words and the order of daily use."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            app["name"] = APPS.get(app["app_label"], app["name"])
            for model in app["models"]:
                model["name"] = NAMES.get(model["object_name"], model["name"])
        return sorted(apps, key=lambda app: app["app_label"] in LAST)

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        panels = [Panel(title, _within(figures) or ()) for title, figures in _PANELS]
        needs = _within(_needs) if request.user.has_perm("subscriptions.view_issue") else ()
        latest = AuditEvent.objects.order_by("-id")[:LATEST]  # by primary key
        context = {
            **(extra_context or {}),
            "panels": panels,
            "needs": needs if needs is None else needs[:MAX_NEEDS],
            "has_more_needs": needs is not None and len(needs) > MAX_NEEDS,
            "last_resolved": None if needs else _last_resolved(),
            "latest": latest,
        }
        return super().index(request, context)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send everybody to the one page where people sign in, and back."""
        after = request.GET.get(REDIRECT_FIELD_NAME) or reverse("admin:index")
        if request.user.is_authenticated and not self.has_permission(request):
            return super().login(request, extra_context)
        return HttpResponseRedirect(
            f"{reverse('account_login')}?{urlencode({REDIRECT_FIELD_NAME: after})}"
        )

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        name = request.user.get_username()
        response = super().logout(request, extra_context)
        if name and request.method == "POST":
            _record(request, Verb.OPERATOR_SIGNED_OUT, name)
        return response


def _record(request: HttpRequest, verb: Verb, name: str) -> None:
    actor = audit.Actor(
        ActorKind.OPERATOR,
        name,
        address=request.META.get("REMOTE_ADDR"),
        request_id=logs.request_id(),
    )
    audit.record(actor, verb, Subject("user", name), {})


def _needs() -> Sequence[Need]:
    """Return the worst live issues, one more than is shown where there are more."""
    issues = list(Issue.objects.live().worst_first()[: MAX_NEEDS + 1])
    names = dict(
        Partner.objects.filter(pk__in={one.partner for one in issues}).values_list("pk", "name")
    )
    return [
        Need(one, names.get(one.partner, one.partner) or "the whole installation") for one in issues
    ]


def _last_resolved() -> datetime | None:
    """Return when the last issue ended; issues are few, so none is looked for by an index."""
    ended: datetime | None = Issue.objects.aggregate(last=Max("resolved_at"))["last"]
    return ended


def _within(figures: Callable[[], Sequence[T]]) -> Sequence[T] | None:
    """Return what was asked for, or None when the database took longer than ``PANEL_MS``."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(PANEL_MS)])
            return figures()
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            return None
        raise
