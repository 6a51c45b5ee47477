"""What the signature doctor knows of a partner: its secrets, its ids, the bodies it was sent."""

from collections.abc import Mapping

from delivery import ownership
from delivery.actions import Place, remade_at
from delivery.diagnosis import Evidence, Secret, Verdict, diagnose
from kafkahub import clock
from kafkahub.crypto import SealBroken
from kafkahub.errors import HubError
from kafkahub.kafka.record import Position
from subscriptions import ownership as owners
from subscriptions.grants import Principal
from subscriptions.models import Endpoint, SigningSecret

MAX_OTHERS = 50
"""Other endpoints whose secrets are tried, the newest."""


def examine(
    principal: Principal, endpoint: Endpoint, headers: Mapping[str, str], body: bytes
) -> Verdict:
    """Return what is wrong with what an endpoint received; nothing of it is kept.

    Asks Kafka for the body that was sent, so it must not run inside a transaction.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    webhook_id = lower.get("webhook-id", "").strip()
    attempt = ownership.find_last_attempt(principal, webhook_id)
    parked = ownership.find_parked(principal, webhook_id)
    seen = Evidence(
        headers=lower,
        body=body,
        now_s=clock.unix_seconds(),
        secrets=_secrets(endpoint),
        is_known=attempt is not None or parked is not None,
        sent=_sent(principal, webhook_id),
    )
    return diagnose(seen)


def _secrets(endpoint: Endpoint) -> list[Secret]:
    """Return what may have signed, the endpoint's own first; what does not open is left out."""
    own = owners.secrets_of(endpoint).order_by("-id")
    others = owners.endpoints_of(endpoint.partner_id).exclude(pk=endpoint.pk).order_by("-id")
    rows = [*own, *SigningSecret.objects.filter(endpoint__in=list(others[:MAX_OTHERS]))]
    return [one for row in rows for one in _opened(row, endpoint)]


def _opened(row: SigningSecret, endpoint: Endpoint) -> list[Secret]:
    owner = "" if row.endpoint_id == endpoint.pk else row.endpoint.name
    is_over = row.status == SigningSecret.Status.RETIRED and row.expires_at is not None
    ended = f"{row.expires_at:%d %b %Y %H:%M} UTC" if is_over else ""
    try:
        text = row.public_key or row.secret.reveal()
    except SealBroken:
        return []
    return [Secret(text, ended, owner)]


def _sent(principal: Principal, webhook_id: str) -> bytes | None:
    """Return the body of a delivery as it was sent; None where nobody can say any more."""
    parked = ownership.find_parked(principal, webhook_id)
    if parked is not None and parked.content is not None:
        return parked.content
    attempt = ownership.find_last_attempt(principal, webhook_id)
    if attempt is None or attempt.partition < 0:
        return None
    position = Position(attempt.topic, attempt.partition, attempt.offset)
    try:
        subscription = owners.get_subscription(principal.partner, attempt.subscription)
        return remade_at(subscription, Place(position, webhook_id, attempt.number)).content
    except HubError:
        return None  # gone from Kafka, or not granted any more: the repairs alone must do
