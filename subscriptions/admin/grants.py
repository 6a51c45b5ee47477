"""Who may see what: grants with their rules, tried on real records before they are saved."""

from typing import Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from kafkahub import clock
from kafkahub.errors import HubError
from kafkahub.kafka import envelope
from kafkahub.kafka.record import Record
from subscriptions import audit, grant_csv, grant_preview, grant_rules, newest, starts
from subscriptions.actions.topics import create_grant, withdraw_grant
from subscriptions.admin.base import AnyForm, VersionedAdmin, actor_of
from subscriptions.admin.display import badge, links, payload
from subscriptions.admin.grant_form import GrantForm
from subscriptions.audit import Actor, Subject, Verb
from subscriptions.grant_preview import Seen
from subscriptions.models import AuditEvent, Grant

RECORDS = 20
"""Records a preview shows."""
TOO_LARGE = 413


class Shown(NamedTuple):
    """One record of a preview, as its row of the table."""

    time: str
    key: SafeString | str
    verdict: SafeString
    before: SafeString | str
    after: SafeString | str
    others: list[tuple[str, SafeString]]


class ImportForm(forms.Form):
    """A CSV file, or its text once it was looked at."""

    file = forms.FileField(required=False, label="CSV file")
    text = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)


@admin.register(Grant)
class GrantAdmin(VersionedAdmin[Grant]):
    """A partner sees no topic without a grant, and of its records what the rules show."""

    updated = Verb.GRANT_UPDATED
    is_deletable = True
    form = GrantForm
    change_form_template = "admin/grant_form.html"
    change_list_template = "admin/grant_list.html"
    list_display = ("partner", "topic", "action", "state", "shows", "valid_until", "created_at")
    list_display_links = ("partner", "topic")
    list_filter = ("action",)
    list_select_related = ("partner", "topic")
    search_fields = ("partner__name", "topic__name", "id")
    autocomplete_fields = ("partner", "topic")
    readonly_fields = ("id", "version", "spent_until", "see_also", "created_at", "updated_at")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "partner",
                    "topic",
                    "action",
                    "valid_until",
                    "quota",
                    "spent_until",
                    "see_also",
                )
            },
        ),
        ("Which records", {"fields": ("key_rule", "row_filter", "history_from", "max_bytes")}),
        ("What of them", {"fields": ("fields", "masks", "headers", "key_visible")}),
        ("Writing", {"fields": ("allow_unconfirmed", "hide_offsets")}),
        ("Times", {"fields": ("id", "version", "created_at", "updated_at")}),
    )

    def get_readonly_fields(
        self, request: HttpRequest, obj: Grant | None = None
    ) -> tuple[str, ...]:
        fixed = () if obj is None else ("partner", "topic", "action")
        return (*fixed, *self.readonly_fields)

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "import/",
            self.admin_site.admin_view(self.import_view),
            name="subscriptions_grant_import",
        )
        return [own, *super().get_urls()]

    @admin.display(description="state")
    def state(self, grant: Grant) -> SafeString:
        if grant.valid_until is not None and grant.valid_until <= clock.now():
            return badge("expired")
        if grant.spent_until is not None and grant.spent_until > clock.now():
            return badge("paused", "quota used up")
        return badge("active")

    @admin.display(description="shows")
    def shows(self, grant: Grant) -> SafeString | str:
        if grant.action == Grant.Action.WRITE:
            return "-"
        value = (
            badge("part", "part of the value") if grant.is_masked else badge("dead", "all of it")
        )
        return badge("hidden", "some records") + " " + value if grant.is_filtered else value

    @admin.display(description="see also")
    def see_also(self, grant: Grant) -> SafeString:
        return links([("Audit", AuditEvent, {"object_id__exact": grant.pk})])

    def create(self, actor: Actor, obj: Grant, form: AnyForm) -> Grant:
        names = ("quota", *grant_rules.MEMBERS, *grant_rules.WRITE_MEMBERS)
        rules = {name: form.cleaned_data[name] for name in names}
        action = Grant.Action(obj.action)
        return create_grant(actor, obj.partner, obj.topic, action, obj.valid_until, **rules)

    def delete_model(self, request: HttpRequest, obj: Grant) -> None:
        withdraw_grant(actor_of(request), obj)

    # Tried before it is saved.

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        if request.method == "POST" and "_preview" in request.POST:
            page = self._preview(request, object_id)
            if page is not None:
                return page
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _preview(self, request: HttpRequest, object_id: str | None) -> HttpResponseBase | None:
        """Return the page of a preview; None where the form has faults, or nobody may see it."""
        grant = None if object_id is None else self.get_object(request, object_id)
        if not self.has_change_permission(request, grant):
            return None
        form = self.get_form(request, grant, change=grant is not None)(request.POST, instance=grant)
        if not isinstance(form, GrantForm) or not form.is_valid():
            return None
        tried, _ = form.tried()
        if tried.action == Grant.Action.WRITE:
            messages.info(request, "A grant to write shows no record; nothing was saved.")
            return HttpResponseRedirect(request.get_full_path())
        try:
            records = newest.whole(tried.topic.pk, RECORDS, starts.process_admin())
            seen = grant_preview.preview(tried, records)
        except HubError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.get_full_path())
        return self._page(request, tried, seen)

    def _page(self, request: HttpRequest, tried: Grant, seen: list[Seen]) -> TemplateResponse:
        sees_payload = request.user.has_perm("delivery.see_payload")
        if sees_payload:
            subject = Subject("topic", tried.topic.pk, tried.partner.pk)
            reason = "preview of a grant"
            audit.record(actor_of(request), Verb.PAYLOAD_VIEWED, subject, {}, reason)
        context = {
            **self.admin_site.each_context(request),
            "title": f"What {tried.partner} would see of {tried.topic}",
            "opts": self.opts,
            "counts": [(badge(name), count) for name, count in grant_preview.counts(seen).items()],
            "records": [_shown(one, sees_payload=sees_payload) for one in seen],
            "sees_payload": sees_payload,
            "posted": [
                (name, value)
                for name in request.POST
                if name not in {"csrfmiddlewaretoken", "_preview"}
                for value in request.POST.getlist(name)
            ],
            "action_url": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/grant_preview.html", context)

    # Many at once.

    def import_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show what a CSV file would change, and do it once that is confirmed."""
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            return HttpResponseRedirect(reverse("admin:index"))
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": "Import grants",
            "opts": self.opts,
            "form": ImportForm(),
            "columns": grant_csv.COLUMNS,
        }
        status = 200
        if request.method == "POST":
            text = _uploaded(request)
            if text is None:
                status = TOO_LARGE
                most = f"{grant_csv.MAX_BYTES // 2**20} MiB"
                messages.error(request, f"A file of up to {most} in UTF-8 is needed.")
            else:
                plan = grant_csv.plan(text)
                if "confirmed" in request.POST and not plan.faults:
                    return self._import(request, plan)
                context |= {
                    "plan": plan,
                    "form": ImportForm(initial={"text": text}),
                    "changing": sum(one.kind != grant_csv.SAME for one in plan.changes),
                }
        return TemplateResponse(request, "admin/grant_import.html", context, status=status)

    def _import(self, request: HttpRequest, plan: grant_csv.Plan) -> HttpResponseBase:
        try:
            done = grant_csv.carry_out(actor_of(request), plan.changes)
        except HubError as error:
            messages.error(request, f"{error.detail} Nothing was changed.")
            return HttpResponseRedirect(request.get_full_path())
        messages.success(request, f"{done} grants changed.")
        return HttpResponseRedirect(reverse("admin:subscriptions_grant_changelist"))


def _shown(seen: Seen, *, sees_payload: bool) -> Shown:
    before, after = seen.before, seen.after
    return Shown(
        time=envelope.timestamp_text(before.timestamp_ms) or "-",
        key=payload(before.key) if sees_payload else "-",
        verdict=badge(seen.verdict),
        before=_written(before) if sees_payload else "",
        after=_written(after) if sees_payload and after is not None else "",
        others=[(name, badge(verdict)) for name, verdict in sorted(seen.others.items())],
    )


def _written(record: Record) -> SafeString | str:
    """Return what a partner would see of a record: key, headers and value as text."""
    names = ", ".join(name for name, _ in record.headers) or "none"
    key = "none" if record.key is None else record.key.decode("utf-8", "backslashreplace")
    value = b"none" if record.value is None else record.value
    head = f"key: {key}\nheaders: {names}\n".encode()
    return payload(head + value)


def _uploaded(request: HttpRequest) -> str | None:
    """Return the text of the file, or of the form; None for too much and for no UTF-8."""
    file = request.FILES.get("file")
    if file is None:
        return request.POST.get("text", "")
    if file.size is None or file.size > grant_csv.MAX_BYTES:
        return None
    try:
        content: bytes = file.read()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
