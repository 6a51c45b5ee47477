"""Endpoints that are disabled because nothing gets through, and enabled when it does again."""

from django.db import transaction

from subscriptions import audit
from subscriptions.actions.endpoints import tell_switched
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.models import Endpoint
from subscriptions.notice_types import Kind

SYSTEM = Actor(ActorKind.SYSTEM, "endpoint_health")
Status, Reason = Endpoint.Status, Endpoint.StatusReason


def disable_failing(endpoint: Endpoint) -> bool:
    """Send nothing more to an endpoint that nothing got through to; False if it is not active."""
    with transaction.atomic():
        row = lock(endpoint)
        if row.status != Status.ACTIVE or not row.is_auto_disabled:
            return False
        changes = apply(row, {"status": Status.DISABLED, "status_reason": Reason.FAILING})
        tell_switched(SYSTEM, row, Kind.ENDPOINT_DISABLED, Reason.FAILING)
        audit.append(SYSTEM, Verb.ENDPOINT_DISABLED, row, changes, "nothing got through")
    return True


def recover(endpoint: Endpoint) -> bool:
    """Send again to an endpoint that was disabled for failing and answers; False if it was not."""
    with transaction.atomic():
        row = lock(endpoint)
        if row.status_reason != Reason.FAILING or not row.is_verified:
            return False
        changes = apply(row, {"status": Status.ACTIVE, "status_reason": Reason.NONE})
        tell_switched(SYSTEM, row, Kind.ENDPOINT_ENABLED, "its probes were answered")
        audit.append(SYSTEM, Verb.ENDPOINT_ENABLED, row, changes, "its probes were answered")
    return True
