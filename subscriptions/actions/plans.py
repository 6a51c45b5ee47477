"""Everything that is done to plans."""

from collections.abc import Mapping

from django.db import transaction

from kafkahub.errors import InUse
from subscriptions import audit
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.models import ApiKey, Partner, Plan

Rules = Mapping[str, Mapping[str, Mapping[str, float]]]


def create_plan(
    actor: Actor, name: str, rules: Rules, *, description: str = "", is_default: bool = False
) -> Plan:
    """Make a plan; the default one holds at once for every partner without a plan."""
    with transaction.atomic():
        plan = Plan.objects.create(
            name=name, description=description, is_default=is_default, rules=rules
        )
        shown = {"name": (None, name), "is_default": (None, is_default), "rules": (None, rules)}
        audit.append(actor, Verb.PLAN_CREATED, plan, shown)
    return plan


def delete_plan(actor: Actor, plan: Plan) -> None:
    """Delete a plan; raise InUse while a partner or a key has it."""
    with transaction.atomic():
        row = lock(plan)
        partners = Partner.objects.filter(plan=row).count()
        keys = ApiKey.objects.filter(plan=row).count()
        if partners or keys:
            raise InUse(f"{partners} partners and {keys} keys have this plan; give them another.")
        audit.append(actor, Verb.PLAN_DELETED, row, {"name": (row.name, None)})
        row.delete()


def set_plan(actor: Actor, key: ApiKey, *, plan: Plan | None) -> ApiKey:
    """Give a key a plan of its own, or its partner's again; holds at every door within 5 s."""
    with transaction.atomic():
        row = lock(key)
        if changes := apply(row, {"plan": plan}):
            audit.append(actor, Verb.KEY_UPDATED, row, changes)
    return row
