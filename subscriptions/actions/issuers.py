"""Everything that is done to issuers of foreign tokens, and to whom their tokens mean."""

from collections.abc import Mapping

from django.db import transaction

from kafkahub.errors import Fault, Invalid
from subscriptions import audit, verification
from subscriptions.actions.clients import check_scopes
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.models import Issuer, TokenSubject
from subscriptions.models.clients import MAX_AGE_S


def create_issuer(actor: Actor, values: Mapping[str, object]) -> Issuer:
    """Register an issuer; raise Invalid for a URL that must not be dialled, among others."""
    row = Issuer(**values)
    _check_issuer(row)
    with transaction.atomic():
        row.save(force_insert=True)
        audit.append(actor, Verb.ISSUER_CREATED, row, _made(values))
    return row


def update_issuer(actor: Actor, issuer: Issuer, values: Mapping[str, object]) -> Issuer:
    """Change an issuer; its tokens are verified anew at every door within 5 s."""
    with transaction.atomic():
        row = lock(issuer)
        changes = apply(row, values)
        _check_issuer(row)
        if changes:
            audit.append(actor, Verb.ISSUER_UPDATED, row, changes)
    return row


def create_subject(actor: Actor, values: Mapping[str, object]) -> TokenSubject:
    """Say whom a value of an issuer's claim means; raise Invalid for scopes no token can have."""
    row = TokenSubject(**values)
    check_scopes(frozenset(row.scopes), frozenset())
    with transaction.atomic():
        row.save(force_insert=True)
        audit.append(actor, Verb.SUBJECT_CREATED, row, _made(values))
    return row


def update_subject(
    actor: Actor, subject: TokenSubject, values: Mapping[str, object]
) -> TokenSubject:
    """Change what a subject may do at most."""
    with transaction.atomic():
        row = lock(subject)
        changes = apply(row, values)
        check_scopes(frozenset(row.scopes), frozenset())
        if changes:
            audit.append(actor, Verb.SUBJECT_UPDATED, row, changes)
    return row


def delete_subject(actor: Actor, subject: TokenSubject, reason: str = "") -> None:
    """Forget a subject: its tokens open nothing any more, at every door within 5 s."""
    with transaction.atomic():
        row = lock(subject)
        gone = audit.Subject("tokensubject", row.pk, row.partner_id)
        shown = {"name": (row.name, None), "value": (row.value, None)}
        row.delete()
        audit.append(actor, Verb.SUBJECT_DELETED, gone, shown, reason)


def _check_issuer(row: Issuer) -> None:
    verification.parse_url(row.jwks_url, "/jwks_url")
    unknown = set(row.algorithms) - set(Issuer.Algorithm.values)
    if unknown or not row.algorithms:
        allowed = ", ".join(Issuer.Algorithm.values)
        raise Invalid([Fault("/algorithms", "not_one_of", f"One or more of {allowed}.")])
    if not 1 <= row.max_age_s <= MAX_AGE_S:
        text = f"A token lives from 1 to {MAX_AGE_S} seconds."
        raise Invalid([Fault("/max_age_s", "out_of_range", text)])


def _made(values: Mapping[str, object]) -> audit.Changes:
    return {name: (None, getattr(value, "pk", value)) for name, value in values.items()}
