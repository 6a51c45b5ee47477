"""Partners and what they are granted."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from kafkahub.errors import Invalid
from subscriptions import cors
from subscriptions.actions import partners as verbs
from subscriptions.actions.support import RIGHT, open_visit
from subscriptions.admin.base import AnyForm, VersionedAdmin, actor_of, run_each
from subscriptions.admin.display import badge, links
from subscriptions.admin.pages import Question, ask, ask_then
from subscriptions.audit import Actor, Verb
from subscriptions.models import (
    ApiKey,
    AuditEvent,
    Endpoint,
    Grant,
    Invitation,
    Member,
    Partner,
    StreamTicket,
    Subscription,
    UsageHour,
)


class Origins(forms.CharField):
    """Web origins by comma; what is taken is their canonical form."""

    widget = forms.Textarea(attrs={"rows": 3})

    def prepare_value(self, value: object) -> object:
        return ", ".join(value) if isinstance(value, list) else value

    def has_changed(self, initial: object, data: object) -> bool:
        return super().has_changed(self.prepare_value(initial), data)

    def clean(self, value: str) -> Any:
        parts = [part.strip() for part in super().clean(value).split(",") if part.strip()]
        try:
            return list(dict.fromkeys(cors.canonical(part) for part in parts))
        except Invalid as error:
            raise forms.ValidationError(error.detail) from None


class VisitForm(forms.Form):
    """Why an operator looks at a partner's portal."""

    reason = forms.CharField(
        min_length=10, max_length=200, help_text="The partner reads it: at least 10 characters."
    )


CHOSEN = ("plan", "allowed_origins", "needs_second_factor")


class PartnerForm(AnyForm):
    """The members of a partner that operators set."""

    allowed_origins = Origins(
        required=False,
        help_text="Origins whose pages may open streams, such as https://shop.example.com, by "
        "comma. No wildcards.",
    )

    class Meta:
        model = Partner
        fields = ("name", "contact", *CHOSEN)


@admin.register(Partner)
class PartnerAdmin(VersionedAdmin[Partner]):
    """Partners are suspended, never deleted: what they did must stay explainable."""

    updated = Verb.PARTNER_UPDATED
    list_display = ("name", "status_badge", "contact", "id", "created_at")
    list_filter = ("status",)
    search_fields = ("name", "id", "contact")
    readonly_fields = ("id", "status_badge", "see_also", "created_at", "updated_at")
    fields = (
        "name",
        "contact",
        "plan",
        "allowed_origins",
        "needs_second_factor",
        "id",
        "status_badge",
        "see_also",
        "created_at",
        "updated_at",
    )
    form = PartnerForm
    actions = ("suspend", "resume", "view_as")
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
                ("Members", Member, own),
                ("Invitations", Invitation, own),
                ("Stream tickets", StreamTicket, own),
                ("Usage", UsageHour, own),
                ("Audit", AuditEvent, {"partner__exact": partner.pk}),
            ]
        )

    def create(self, actor: Actor, obj: Partner, form: AnyForm) -> Partner:
        made = verbs.create_partner(actor, obj.name, obj.contact)
        chosen = {
            name: form.cleaned_data[name]
            for name in ("plan", "allowed_origins", "needs_second_factor")
        }
        return verbs.update_partner(actor, made, chosen)

    @admin.action(description="Suspend", permissions=["operate"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Partner]) -> HttpResponseBase | None:
        actor = actor_of(request)
        return ask_then(
            request,
            queryset,
            Question(
                "suspend",
                "Their keys stop working and nothing is sent to them until they are resumed. "
                "Records wait in Kafka meanwhile.",
                "Suspend partners",
            ),
            lambda partner, reason: verbs.suspend_partner(actor, partner, reason),
            done="suspended",
        )

    def has_support_permission(self, request: HttpRequest) -> bool:
        """Whether the operator may look at portals."""
        return request.user.has_perm(RIGHT)

    @admin.action(description="View as partner", permissions=["support"])
    def view_as(self, request: HttpRequest, queryset: QuerySet[Partner]) -> HttpResponseBase | None:
        """Open the real portal of one partner, read only."""
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            messages.error(request, "Select one partner; a view shows one portal.")
            return None
        form, page = ask(
            request,
            queryset,
            Question(
                "view_as",
                "Their portal opens for 30 minutes, read only, with the values of records masked. "
                "They see that you looked, when, at which pages and why.",
                "View as partner",
            ),
            VisitForm,
        )
        if page is not None or not isinstance(request.user, User):
            return page
        reason = form.cleaned_data["reason"]
        open_visit(actor_of(request), request.user, chosen[0], reason)
        return HttpResponseRedirect(f"/portal/{chosen[0].pk}/start")

    @admin.action(description="Resume", permissions=["operate"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Partner]) -> None:
        actor = actor_of(request)
        run_each(request, queryset, lambda one: verbs.resume_partner(actor, one), "resumed")
