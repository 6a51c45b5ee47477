"""Everything that is done to endpoints and their secrets."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import QuerySet

from kafkahub import certificates, clock, config, signing
from kafkahub.crypto import SealBroken
from kafkahub.errors import Conflict, Fault, InUse, Invalid, LimitReached
from kafkahub.fields import Sealed
from subscriptions import audit, notices, verification
from subscriptions.actions import verification as verification_actions
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, ActorKind, Verb
from subscriptions.models import Endpoint, Partner, SigningSecret, Subscription
from subscriptions.notice_types import Kind
from subscriptions.signatures import Signatures

DEFAULT_OVERLAP_S = 86_400
MAX_OVERLAP_S = 604_800
MAX_RETIRING = 10
"""Secrets of a kind that still sign beside the active one; a header must stay small."""

DIALLED_BY = ("url", "auth", "tls")
"""Members whose change makes it another endpoint, as far as its proof goes."""
Method = Endpoint.Method

SecretKind = Literal["hmac", "ed25519"]


def create_endpoint(
    actor: Actor,
    partner: str,
    *,
    name: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    auth: Mapping[str, object] | None = None,
    tls: Mapping[str, str] | None = None,
    **settings: object,
) -> tuple[Endpoint, str]:
    """Make an endpoint with its first secret; return both, the secret as ``whsec_…``.

    Where its host is not trusted it is ``unverified``, and nothing is sent to it before its
    handshake.

    url       in canonical form, admitted by ``verification.admit_url``
    auth      what we log in with, as ``endpoint_forms.as_auth`` gave it
    tls       PEM texts, as ``tls_forms.as_tls`` gave them
    settings  description and limits; absent ones have their default

    Raises LimitReached.
    """
    _check_names(settings.get("signatures"), headers or {}, has_ed25519=False)
    with transaction.atomic():
        lock(Partner(pk=partner))
        limit = config.load().max_endpoints
        if Endpoint.objects.filter(partner_id=partner).count() >= limit:
            raise LimitReached(f"A partner may have {limit} endpoints.")
        endpoint = Endpoint.objects.create(
            partner_id=partner,
            name=name,
            url=url,
            headers=_sealed_form(headers or {}),
            auth=_sealed_form(auth or {}),
            tls=_sealed_form(tls or {}),
            tls_expires_at=_first_end(tls),
            **_proof(url, Method.CHALLENGE),
            **settings,
        )
        if not endpoint.is_verified:
            verification_actions.begin(endpoint, clock.now())
        secret = signing.new_secret()
        _add_secret(endpoint, "hmac", secret)
        shown = {"name": (None, name), "url": (None, url)}
        audit.append(actor, Verb.ENDPOINT_CREATED, endpoint, shown)
    return endpoint, secret


def update_endpoint(
    actor: Actor,
    endpoint: Endpoint,
    values: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Endpoint:
    """Change an endpoint's fields; ``headers`` replaces all of them, None leaves them.

    values  by name; ``auth`` and ``tls`` in the clear
    """
    with transaction.atomic():
        row = lock(endpoint)
        wanted = dict(values)
        if headers is not None and headers != header_values(row):
            wanted["headers"] = _sealed_form(headers)
        for name in ("auth", "tls"):
            wanted |= _sealed_change(row, name, wanted.pop(name)) if name in wanted else {}
        if "tls" in wanted:
            wanted["tls_expires_at"] = _first_end(values["tls"])
        if headers is not None or "signatures" in values:
            chosen = values.get("signatures", row.signatures)
            names = header_values(row) if headers is None else headers
            _check_names(chosen, names, has_ed25519=_has_ed25519(row))
        is_dialled_otherwise = any(
            name in wanted and wanted[name] != getattr(row, name) for name in DIALLED_BY
        )
        if is_dialled_otherwise:
            wanted |= _proof_anew(row, wanted.get("url", row.url))
        changes = apply(row, wanted)
        if is_dialled_otherwise and not row.is_verified:
            verification_actions.begin(row, clock.now())
        if changes:
            audit.append(actor, Verb.ENDPOINT_UPDATED, row, changes)
    return row


def _proof(url: str, method: Endpoint.Method) -> dict[str, object]:
    """Return how an endpoint of this URL begins: ready where its host is trusted."""
    is_trusted = verification.is_trusted(urlsplit(url).hostname or "")
    return {
        "is_verified": is_trusted,
        "verification_method": Method.TRUSTED if is_trusted else method,
        "status": Endpoint.Status.ACTIVE if is_trusted else Endpoint.Status.UNVERIFIED,
    }


def _proof_anew(endpoint: Endpoint, url: str) -> dict[str, object]:
    """Return how an endpoint goes on that is dialled otherwise; one disabled stays so."""
    was_trusted = endpoint.verification_method == Method.TRUSTED
    method = Method.CHALLENGE if was_trusted else Method(endpoint.verification_method)
    proof = _proof(url, method)
    if endpoint.status == Endpoint.Status.DISABLED:
        del proof["status"]
    return {**proof, "allowed_rate_per_min": None}


def _check_names(chosen: object, headers: Mapping[str, str], *, has_ed25519: bool) -> None:
    """Refuse signatures that nothing can make, and header names that stand twice."""
    if not isinstance(chosen, dict):
        return
    signatures = Signatures.of(chosen)
    if signatures.rfc9421 and not has_ed25519:
        text = "RFC 9421 signatures need an ed25519 secret; rotate to one first."
        raise Invalid([Fault("/signatures/rfc9421", "bad_combination", text)])
    if name := signatures.doubled_name(headers):
        text = f"The header {name} would be there twice."
        raise Invalid([Fault("/signatures", "bad_combination", text)])


def _has_ed25519(endpoint: Endpoint) -> bool:
    kind = SigningSecret.Kind.ED25519
    return endpoint.secrets.filter(kind=kind, expires_at__isnull=True).exists()


def header_values(endpoint: Endpoint) -> dict[str, str]:
    """Return the custom headers in the clear; raise SealBroken when they do not open."""
    return sealed_values(endpoint.headers)


def sealed_values(sealed: Sealed | str | None) -> dict[str, str]:
    """Return a sealed JSON object in the clear; raise SealBroken when it does not open."""
    if sealed is None:
        return {}
    text = sealed.reveal() if isinstance(sealed, Sealed) else sealed
    values: dict[str, str] = json.loads(text)
    return values


def _sealed_change(
    row: Endpoint, name: str, value: Mapping[str, object] | None
) -> dict[str, str | None]:
    """Return what to write; nothing where the row holds that value already."""
    try:
        if sealed_values(getattr(row, name)) == (value or {}):
            return {}
    except SealBroken:
        pass  # what cannot be read is no value; the new one replaces it
    return {name: _sealed_form(value or {})}


def _first_end(tls: Mapping[str, str] | None) -> datetime | None:
    """Return when the first certificate ends; the material was checked when it came in."""
    return certificates.first_end([tls.get("client_certificate"), tls.get("ca")]) if tls else None


def _sealed_form(values: Mapping[str, object]) -> str | None:
    return json.dumps(dict(values)) if values else None


def disable_endpoint(actor: Actor, endpoint: Endpoint, reason: str = "") -> Endpoint:
    """Stop sending to an endpoint; what it is owed waits. One that is disabled stays as it is.

    An operator's word stands above a partner's: it also covers what the partner disabled.
    """
    by_operator = actor.kind == ActorKind.OPERATOR
    why = Endpoint.StatusReason.OPERATOR if by_operator else Endpoint.StatusReason.MANUAL
    return _disable(actor, endpoint, why, reason)


def disable_gone_endpoint(endpoint: str) -> None:
    """Stop sending to an endpoint that answered 410; only a person enables it again.

    endpoint  its id; one that is gone by now, or disabled already, stays as it is
    """
    row = Endpoint.objects.filter(id=endpoint).first()
    if row is not None:
        actor = Actor(ActorKind.SYSTEM, "delivery", partner=row.partner_id)
        _disable(actor, row, Endpoint.StatusReason.GONE, "it answered 410 Gone")


def _disable(actor: Actor, endpoint: Endpoint, why: Endpoint.StatusReason, reason: str) -> Endpoint:
    with transaction.atomic():
        row = lock(endpoint)
        by_operator = why == Endpoint.StatusReason.OPERATOR
        if row.status == Endpoint.Status.DISABLED and not by_operator:
            return row
        changes = apply(row, {"status": Endpoint.Status.DISABLED, "status_reason": why})
        if changes:
            tell_switched(actor, row, Kind.ENDPOINT_DISABLED, str(why))
            audit.append(actor, Verb.ENDPOINT_DISABLED, row, changes, reason)
    return row


def enable_endpoint(actor: Actor, endpoint: Endpoint, reason: str = "") -> Endpoint:
    """Send to an endpoint again; one that is active stays as it is.

    Raises Conflict when an operator disabled it and somebody else asks, or it is not verified.
    """
    with transaction.atomic():
        row = lock(endpoint)
        by_operator = row.status_reason == Endpoint.StatusReason.OPERATOR
        if by_operator and actor.kind != ActorKind.OPERATOR:
            raise Conflict("The endpoint is disabled (operator); only an operator can enable it.")
        if not row.is_verified:
            raise Conflict(
                "The endpoint has not shown yet that it wants what it is sent;"
                f" POST /endpoints/{row.pk}/verify, and it is enabled by that."
            )
        changes = apply(
            row,
            {"status": Endpoint.Status.ACTIVE, "status_reason": Endpoint.StatusReason.NONE},
        )
        if changes:
            tell_switched(actor, row, Kind.ENDPOINT_ENABLED, reason or "manual")
            audit.append(actor, Verb.ENDPOINT_ENABLED, row, changes, reason)
    return row


def tell_switched(actor: Actor, endpoint: Endpoint, kind: Kind, reason: str) -> None:
    """Write the notice of a change of state, in the transaction of the change."""
    # An operator's name is no partner's business.
    by = actor.kind if actor.kind == ActorKind.OPERATOR else actor.id
    members = {"endpoint": endpoint.pk, "reason": reason, "by": by}
    notices.write(kind, endpoint.partner_id, members, endpoint=endpoint.pk)


def delete_endpoint(actor: Actor, endpoint: Endpoint) -> None:
    """Remove an endpoint and its secrets; raise InUse while a subscription sends to it."""
    with transaction.atomic():
        row = lock(endpoint)
        users = (
            Subscription.objects.filter(endpoint=row).order_by("id").values_list("id", flat=True)
        )
        if names := list(users[:10]):
            raise InUse(f"These subscriptions send to it: {', '.join(names)}.")
        gone = audit.Subject("endpoint", row.pk, row.partner_id)
        row.delete()
        audit.append(actor, Verb.ENDPOINT_DELETED, gone, {"url": (row.url, None)})


def rotate_secret(
    actor: Actor,
    endpoint: Endpoint,
    kind: SecretKind,
    secret: str | None = None,
    overlap: timedelta = timedelta(seconds=DEFAULT_OVERLAP_S),
) -> tuple[SigningSecret, str | None]:
    """Make a new active secret of that kind; the one before signs on for the overlap.

    secret  one that the partner brings along (hmac only), checked here; None: we make one

    Returns the row, and what the partner must know: the ``whsec_…``, or None for ed25519, whose
    public key stands in the row. Raises Invalid ``invalid_secret``, LimitReached.
    """
    made = secret if secret is not None else _new_secret(kind)
    _check_secret(kind, made)
    with transaction.atomic():
        row = lock(endpoint)
        now = clock.now()
        of_kind = SigningSecret.objects.filter(endpoint=row, kind=kind)
        if of_kind.filter(expires_at__gt=now).count() >= MAX_RETIRING:
            raise LimitReached(f"{MAX_RETIRING} secrets are retiring already; wait or retire one.")
        of_kind.filter(expires_at__isnull=True).update(expires_at=now + overlap)
        fresh = _add_secret(row, kind, made)
        _tell_rotated(row, of_kind.filter(expires_at=now + overlap))
        changes = {"kind": (None, kind), "secret": audit.SECRET}
        audit.append(actor, Verb.SECRET_ROTATED, fresh, changes)
    return fresh, made if kind == "hmac" else None


def _tell_rotated(endpoint: Endpoint, retiring: QuerySet[SigningSecret]) -> None:
    for old in retiring:
        members = {"object": old.pk, "expires_at": old.expires_at}
        notices.write(Kind.SECRET_ROTATED, endpoint.partner_id, members)


def retire_secret(actor: Actor, secret: SigningSecret) -> None:
    """End a secret at once; raise InUse for an active one that signatures need.

    One that is retired already stays as it is.
    """
    with transaction.atomic():
        row = lock(secret)
        if row.status == SigningSecret.Status.RETIRED:
            return
        if row.kind == SigningSecret.Kind.HMAC and row.expires_at is None:
            raise InUse("It is the only active HMAC secret; rotate it first.")
        is_needed = Signatures.of(row.endpoint.signatures or {}).rfc9421
        if row.kind == SigningSecret.Kind.ED25519 and row.expires_at is None and is_needed:
            raise InUse("RFC 9421 signatures are made with it; rotate it, or end them first.")
        before, row.expires_at = row.expires_at, clock.now()
        row.save(update_fields=["expires_at"])
        changes = {"expires_at": (before, row.expires_at)}
        audit.append(actor, Verb.SECRET_RETIRED, row, changes)


def _new_secret(kind: SecretKind) -> str:
    return signing.new_secret() if kind == "hmac" else signing.new_ed25519()[0]


def _check_secret(kind: SecretKind, secret: str) -> None:
    if kind != "hmac":
        return
    try:
        signing.parse_secret(secret)
    except ValueError as error:
        raise Invalid([Fault("/secret", "invalid_secret", str(error))]) from None


def _add_secret(endpoint: Endpoint, kind: SecretKind, secret: str) -> SigningSecret:
    public = signing.public_key(secret) if kind == "ed25519" else ""
    return SigningSecret.objects.create(
        endpoint=endpoint, kind=kind, secret=secret, public_key=public
    )
