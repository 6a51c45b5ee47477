"""What all changes of rows have in common: only what differs is written, under a lock."""

from collections.abc import Mapping
from typing import TypeVar

from django.db.models import Model

from kafkahub import clock
from kafkahub.errors import NotFound
from subscriptions import audit
from subscriptions.models import (
    ApiKey,
    Endpoint,
    Grant,
    Issuer,
    OAuthClient,
    Partner,
    Plan,
    Subscription,
    TokenSubject,
    Topic,
)

Versioned = TypeVar(
    "Versioned",
    Partner,
    Plan,
    ApiKey,
    OAuthClient,
    Issuer,
    TokenSubject,
    Topic,
    Grant,
    Endpoint,
    Subscription,
)
Row = TypeVar("Row", bound=Model)


def lock(row: Row) -> Row:
    """Return the row as it is now, held to the end of the transaction; NotFound when it is gone."""
    kind = type(row)
    fresh = kind._default_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
    if fresh is None:
        raise NotFound
    return fresh


def apply(row: Versioned, values: Mapping[str, object]) -> audit.Changes:
    """Write the values that differ, and raise the version if there are any.

    ``row`` is locked by the caller. Returns what changed, for the audit row; empty: nothing did,
    nothing was written, and nobody is to be told.
    """
    before = {name: getattr(row, name) for name in values}
    changes: audit.Changes = audit.differences(before, values)
    if not changes:
        return {}
    for name in changes:
        setattr(row, name, values[name])
    row.version += 1
    row.updated_at = clock.now()
    row.save(update_fields=[*changes, "version", "updated_at"])
    return changes
