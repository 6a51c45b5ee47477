"""Everything that is done to partners."""

from collections.abc import Mapping

from django.db import transaction

from subscriptions import audit
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.models import Partner


def create_partner(actor: Actor, name: str, contact: str = "") -> Partner:
    """Make a partner, who sees nothing until there is a grant."""
    with transaction.atomic():
        partner = Partner.objects.create(name=name, contact=contact)
        audit.append(actor, Verb.PARTNER_CREATED, partner, {"name": (None, name)})
    return partner


def update_partner(actor: Actor, partner: Partner, values: Mapping[str, object]) -> Partner:
    """Change a partner's own profile."""
    with transaction.atomic():
        row = lock(partner)
        changes = apply(row, values)
        if changes:
            audit.append(actor, Verb.PARTNER_UPDATED, row, changes)
    return row


def suspend_partner(actor: Actor, partner: Partner, reason: str = "") -> Partner:
    """Stop a partner: its keys fail and nothing is sent; what it is owed waits in Kafka."""
    return _move(actor, partner, Partner.Status.SUSPENDED, Verb.PARTNER_SUSPENDED, reason)


def resume_partner(actor: Actor, partner: Partner, reason: str = "") -> Partner:
    """Let a suspended partner go on."""
    return _move(actor, partner, Partner.Status.ACTIVE, Verb.PARTNER_RESUMED, reason)


def _move(
    actor: Actor, partner: Partner, status: Partner.Status, verb: Verb, reason: str
) -> Partner:
    with transaction.atomic():
        row = lock(partner)
        changes = apply(row, {"status": status})
        if changes:
            audit.append(actor, verb, row, changes, reason)
    return row
