"""Plans: how much partners and keys may use."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.safestring import SafeString

from kafkahub.limits import policies
from subscriptions import audit
from subscriptions.actions import plans as verbs
from subscriptions.actions.rows import apply, lock
from subscriptions.admin.base import AnyForm, VersionedAdmin, actor_of
from subscriptions.admin.display import badge, links
from subscriptions.audit import Actor, Verb
from subscriptions.models import ApiKey, AuditEvent, Partner, Plan

SECTIONS = {
    policies.KEY: "Each key",
    policies.TOPIC: "Each key on each topic",
    policies.PARTNER: "The partner, all keys together",
    policies.DEPLOYMENT: "The whole installation (of the default plan only)",
}
STREAM_SCOPES = (policies.KEY, policies.PARTNER, policies.ADDRESS)
MAX_UNITS = 10**12
BYTES = " Bytes."


class RateWidget(forms.MultiWidget):
    """Two numbers side by side: a second, and at once."""

    def __init__(self) -> None:
        number = {"step": "any", "class": "rate"}
        widgets: dict[str, forms.Widget | type[forms.Widget]] = {
            "per_s": forms.NumberInput({**number, "aria-label": "a second"}),
            "burst": forms.NumberInput({**number, "aria-label": "burst"}),
        }
        super().__init__(widgets)

    def decompress(self, value: Any) -> list[Any]:
        return [value["per_s"], value["burst"]] if value else [None, None]


class RateField(forms.MultiValueField):
    """A rate a second with its burst, or nothing for the standard one."""

    widget = RateWidget

    def __init__(self, policy: str, scope: str) -> None:
        standard = policies.STANDARD_RATES[policy] if scope == policies.KEY else None
        empty = f"{standard.per_s:g} a second, {standard.burst} at once" if standard else "no limit"
        unit = BYTES if policy in policies.UNITS else ""
        super().__init__(
            fields=(
                forms.FloatField(min_value=0.001, max_value=MAX_UNITS, required=False),
                forms.IntegerField(min_value=1, max_value=MAX_UNITS, required=False),
            ),
            label=policy,
            required=False,
            require_all_fields=False,
            help_text=f"A second, and at once.{unit} Empty: {empty}.",
        )

    def compress(self, data_list: list[Any]) -> dict[str, float] | None:
        given = [value for value in data_list if value is not None]
        if len(given) == 1:
            raise ValidationError("Both numbers are needed, or none.")
        return {"per_s": given[0], "burst": given[1]} if given else None


def _field(scope: str, policy: str) -> str:
    return f"{scope}_{policy}".replace("-", "_")


RATES = {
    _field(scope, policy): (scope, policy)
    for scope in SECTIONS
    for policy in policies.POLICIES
    if scope == policies.KEY or policy != policies.CONTROL
}
CAPS = {_field(scope, policies.OPEN_STREAMS): scope for scope in STREAM_SCOPES}


class PlanForm(AnyForm):
    """A plan's rules, each in a field of its own."""

    class Meta:
        model = Plan
        fields = ("name", "description", "is_default")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rules = self.instance.rules
        for name, (scope, policy) in RATES.items():
            self.initial[name] = rules.get(scope, {}).get(policy)
        for name, scope in CAPS.items():
            self.initial[name] = rules.get(scope, {}).get(policies.OPEN_STREAMS, {}).get("burst")

    def rules(self) -> verbs.Rules:
        """Return what the fields say, as a plan keeps it."""
        rules: dict[str, dict[str, dict[str, float]]] = {}
        for name, (scope, policy) in RATES.items():
            if rate := self.cleaned_data[name]:
                rules.setdefault(scope, {})[policy] = rate
        for name, scope in CAPS.items():
            if cap := self.cleaned_data[name]:
                rules.setdefault(scope, {})[policies.OPEN_STREAMS] = {"burst": cap}
        return rules


def _cap(scope: str) -> forms.Field:
    standard = policies.STANDARD_STREAMS[scope]
    return forms.IntegerField(
        label=f"open at once by {scope}",
        min_value=1,
        max_value=1_000_000,
        required=False,
        help_text=f"Empty: {standard}.",
    )


# Declared like fields that are written out: the admin asks the class for its fields.
for _name, (_scope, _policy) in RATES.items():
    PlanForm.declared_fields[_name] = PlanForm.base_fields[_name] = RateField(_policy, _scope)
for _name, _scope in CAPS.items():
    PlanForm.declared_fields[_name] = PlanForm.base_fields[_name] = _cap(_scope)


@admin.register(Plan)
class PlanAdmin(VersionedAdmin[Plan]):
    """What a plan does not name keeps the standard value; a change holds within 5 seconds."""

    updated = Verb.PLAN_UPDATED
    is_deletable = True
    form = PlanForm
    list_display = ("name", "default_badge", "description", "id", "updated_at")
    search_fields = ("name", "id")
    readonly_fields = ("id", "see_also", "created_at", "updated_at")

    def get_fieldsets(self, request: HttpRequest, obj: Plan | None = None) -> Any:
        rates = [
            (title, {"fields": [name for name, (of, _) in RATES.items() if of == scope]})
            for scope, title in SECTIONS.items()
        ]
        return [
            (None, {"fields": ["name", "description", "is_default", "see_also"]}),
            *rates,
            ("Streams", {"fields": list(CAPS)}),
            ("Times", {"fields": ["id", "created_at", "updated_at"]}),
        ]

    @admin.display(description="default", ordering="is_default")
    def default_badge(self, plan: Plan) -> SafeString | str:
        return badge("active", "default") if plan.is_default else "-"

    @admin.display(description="see also")
    def see_also(self, plan: Plan) -> SafeString:
        own = {"plan__id__exact": plan.pk}
        history = {"object_id__exact": plan.pk}
        return links(
            [("Partners", Partner, own), ("API keys", ApiKey, own), ("Audit", AuditEvent, history)]
        )

    def create(self, actor: Actor, obj: Plan, form: AnyForm) -> Plan:
        return verbs.create_plan(
            actor,
            obj.name,
            _rules(form),
            description=obj.description,
            is_default=obj.is_default,
        )

    def save_model(self, request: HttpRequest, obj: Plan, form: AnyForm, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        values = {name: form.cleaned_data[name] for name in PlanForm.Meta.fields}
        row = lock(obj)
        if changes := apply(row, {**values, "rules": _rules(form)}):
            audit.append(actor_of(request), self.updated, row, changes)

    def delete_model(self, request: HttpRequest, obj: Plan) -> None:
        verbs.delete_plan(actor_of(request), obj)


def _rules(form: AnyForm) -> verbs.Rules:
    if not isinstance(form, PlanForm):
        raise TypeError("the page of plans has the form of plans")
    return form.rules()
