"""What every admin page of ours has in common: who acts, bounded lists, an audit row a change."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename
from django.core.paginator import Paginator
from django.db import OperationalError, models
from django.db.models import QuerySet
from django.forms import BaseModelFormSet, ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode
from psycopg.errors import QueryCanceled

from kafkahub.errors import HubError
from kafkahub.observability import logs
from subscriptions import audit
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Subject, Verb
from subscriptions.models import Grant, Partner, Plan, Topic

M = TypeVar("M", bound=models.Model)
V = TypeVar("V", Partner, Plan, Topic, Grant)

if TYPE_CHECKING:

    class ModelAdmin(admin.ModelAdmin[M]):
        """Django's, which takes its model as a parameter for the type checker only."""

    RowPaginator = Paginator[Any]
    AnyForm = ModelForm[Any]
    AnyFormSets = Iterable[BaseModelFormSet[Any, Any]]
else:
    RowPaginator = Paginator
    AnyForm = ModelForm
    AnyFormSets = Iterable

    class ModelAdmin(admin.ModelAdmin, Generic[M]):
        """Django's, which takes its model as a parameter for the type checker only."""


MAX_COUNT = 10_000
"""Rows a list counts and pages through: 200 pages, and never a count of a whole log."""
MAX_SELECTED = 100
"""Objects one action takes; larger jobs run in the background, with a preview."""


def actor_of(request: HttpRequest) -> Actor:
    """Return the operator who is signed in, with address and request id."""
    return Actor(
        kind=audit.ActorKind.OPERATOR,
        id=request.user.get_username(),
        address=request.META.get("REMOTE_ADDR"),
        request_id=logs.request_id(),
    )


class CappedPaginator(RowPaginator):
    """Counts at most ``limit`` rows, so that a page of a huge table costs what others do."""

    limit: ClassVar[int] = MAX_COUNT

    @cached_property
    def is_capped(self) -> bool:
        """Whether there are more rows than are counted."""
        return self._counted > self.limit

    @cached_property
    def count(self) -> int:
        return min(self._counted, self.limit)

    @cached_property
    def _counted(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return rows.order_by()[: self.limit + 1].count()


class HubAdmin(ModelAdmin[M]):
    """A page of ours: bounded lists, history from the audit log, errors of ours in words."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    paginator = CappedPaginator
    dangerous_actions: ClassVar[frozenset[str]] = frozenset()
    """Actions whose button is red on the object's page."""
    is_addable: ClassVar[bool] = True
    is_editable: ClassVar[bool] = True
    is_deletable: ClassVar[bool] = False
    """What the page offers at all, to those who have the permission."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.is_addable and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return self.is_editable and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return self.is_deletable and super().has_delete_permission(request, obj)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the operator may take actions, also on rows whose fields nobody edits."""
        return self._has(request, "change")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Whether the operator may delete by an action, where the page itself offers none."""
        return self._has(request, "delete")

    def _has(self, request: HttpRequest, verb: str) -> bool:
        name = get_permission_codename(verb, self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{name}")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = self.opts.verbose_name_plural
        context = {**(extra_context or {}), "title": str(title).capitalize()}
        try:
            return super().changelist_view(request, context)
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
        messages.error(request, "The search took too long. Narrow the time or add a filter.")
        return HttpResponseRedirect(reverse("admin:index"))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show a refusal of ours as a sentence on the same page; the transaction is rolled back."""
        context = {**(extra_context or {}), "hub_actions": self.object_actions(request)}
        try:
            return super().changeform_view(request, object_id, form_url, context)
        except HubError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.get_full_path())

    def object_actions(self, request: HttpRequest) -> list[dict[str, object]]:
        """Return the actions this operator may take, as buttons of one object's page."""
        return [
            {"name": name, "label": label, "is_dangerous": name in self.dangerous_actions}
            for _, name, label in filter(None, self.get_actions(request).values())
        ]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send to the object's audit rows: there is one history, and it cannot be changed."""
        rows = reverse("admin:subscriptions_auditevent_changelist")
        return HttpResponseRedirect(f"{rows}?{urlencode({'object_id__exact': object_id})}")


class ReadOnlyAdmin(HubAdmin[M]):
    """Rows that engines or the audit log own: to be looked at, never edited."""

    is_addable = False
    is_editable = False


class VersionedAdmin(HubAdmin[V]):
    """A model of ours that operators edit: what they change goes through actions, audited there."""

    updated: ClassVar[Verb]
    """Verb of an edit."""

    def create(self, actor: Actor, obj: V, form: AnyForm) -> V:
        """Make the object that the form describes; only where the page has an *Add*."""
        raise NotImplementedError

    def save_model(self, request: HttpRequest, obj: V, form: AnyForm, change: bool) -> None:
        if not change:
            obj.pk = self.create(actor_of(request), obj, form).pk
            return
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        row = lock(obj)
        if changes := apply(row, values):
            audit.append(actor_of(request), self.updated, row, changes)


class AuditedAdmin(HubAdmin[M]):
    """A model of Django's: its own way of saving, with an audit row in the same transaction."""

    noun: ClassVar[str]
    """First half of the verbs: ``role`` gives role.created, role.updated, role.deleted."""
    is_deletable = True

    def save_related(
        self, request: HttpRequest, form: AnyForm, formsets: AnyFormSets, change: bool
    ) -> None:
        # Many-to-many rows are written first: the lock of the audit chain is taken last.
        super().save_related(request, form, formsets, change)
        verb = f"{self.noun}.updated" if change else f"{self.noun}.created"
        audit.append(actor_of(request), verb, form.instance, _changes(form))

    def delete_model(self, request: HttpRequest, obj: M) -> None:
        gone = Subject(self.noun, str(obj.pk))
        name = str(obj)
        super().delete_model(request, obj)
        audit.append(actor_of(request), f"{self.noun}.deleted", gone, {"name": (name, None)})


def _changes(form: AnyForm) -> audit.Changes:
    """Return what the form changed; of a password only that it did."""
    return {
        name: audit.SECRET
        if name.startswith("password")
        else (_shown(form.initial.get(name)), _shown(form.cleaned_data.get(name)))
        for name in form.changed_data
    }


def _shown(value: object) -> object:
    if isinstance(value, QuerySet | list):
        return sorted(str(each) for each in value)
    return value


def run_each(
    request: HttpRequest, objects: QuerySet[M], act: Callable[[M], object], done: str
) -> None:
    """Take one action on each object, each in its own transaction, and say how it went.

    done  what happened, for the sentence "2 suspended."
    """
    count = 0
    for obj in list(objects):
        try:
            act(obj)
        except HubError as error:
            messages.error(request, f"{obj}: {error.detail}")
        else:
            count += 1
    if count:
        messages.success(request, f"{count} {done}.")
