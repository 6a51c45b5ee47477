"""Everything that is done to OAuth clients. A secret leaves these functions once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction
from oauth2_provider.generators import generate_client_secret

from kafkahub import clock, ids
from kafkahub.errors import Conflict, LimitReached
from subscriptions import audit, inputs
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.authentication.client_secret import SaltedSha256
from subscriptions.models import OAuthClient, Partner

MAX_CLIENTS = 20
"""Live clients of one partner."""
SHOWN = (
    "name",
    "mode",
    "scopes",
    "default_scopes",
    "topics",
    "allowed_cidrs",
    "certificate_sha256",
    "may_introspect",
)
"""What the audit log keeps of a new client."""
OVERLAP = timedelta(days=1)
KEY_MAKER = "keys:manage"
"""The one scope that a token cannot have: what a key may make is bound by that key's own rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRights:
    """What a client may ask for, and what its tokens hold when it does not ask.

    topics  None: all that the partner's grants allow
    cidrs   empty: from everywhere
    certificate_sha256  client certificate its tokens are good with only; None for any or none
    """

    mode: str
    scopes: frozenset[str]
    default_scopes: frozenset[str]
    topics: frozenset[str] | None
    cidrs: frozenset[str]
    may_introspect: bool
    certificate_sha256: str | None = None


def create_client(
    actor: Actor, partner: str, *, name: str, rights: ClientRights
) -> tuple[OAuthClient, str]:
    """Register a client; return its row and its secret, which is kept nowhere.

    Raises Invalid for scopes that it cannot have, Conflict for a name in use, LimitReached.
    """
    check_scopes(rights.scopes, rights.default_scopes)
    secret = generate_client_secret()
    client_id = ids.new("cli")
    with transaction.atomic():
        lock(Partner(pk=partner))
        live = OAuthClient.objects.filter(partner_id=partner, revoked_at__isnull=True)
        if live.filter(name=name).exists():
            raise Conflict("A live client has this name; revoke it, or take another name.")
        if live.count() >= MAX_CLIENTS:
            raise LimitReached(f"A partner may have {MAX_CLIENTS} live clients.")
        row = OAuthClient.objects.create(
            id=client_id,
            client_id=client_id,
            client_secret=_hashed(secret),
            client_type=OAuthClient.CLIENT_CONFIDENTIAL,
            authorization_grant_type=OAuthClient.GRANT_CLIENT_CREDENTIALS,
            partner_id=partner,
            name=name,
            mode=rights.mode,
            scopes=sorted(rights.scopes),
            default_scopes=sorted(rights.default_scopes),
            topics=None if rights.topics is None else sorted(rights.topics),
            allowed_cidrs=sorted(rights.cidrs),
            may_introspect=rights.may_introspect,
            certificate_sha256=rights.certificate_sha256,
            created_by=actor.id[:100],
        )
        audit.append(actor, Verb.CLIENT_CREATED, row, _shown(row))
    return row, secret


def update_client(actor: Actor, client: OAuthClient, values: Mapping[str, object]) -> OAuthClient:
    """Change what a client may ask for; its tokens keep no scope that it has lost.

    Raises Invalid for scopes that it cannot have, Conflict for one that is revoked.
    """
    with transaction.atomic():
        row = lock(client)
        _check_is_live(row)
        changes = apply(row, values)
        check_scopes(frozenset(row.scopes), frozenset(row.default_scopes))
        if changes:
            audit.append(actor, Verb.CLIENT_UPDATED, row, changes)
    return row


def rotate_client_secret(
    actor: Actor, client: OAuthClient, overlap: timedelta = OVERLAP
) -> tuple[OAuthClient, str]:
    """Make a second secret; the one before is good for the overlap. Raises Conflict for a third."""
    secret = generate_client_secret()
    with transaction.atomic():
        row = lock(client)
        _check_is_live(row)
        if row.has_two_secrets:
            raise Conflict("Two secrets are live; wait for the first to end.")
        apply(
            row,
            {
                "older_secret": row.client_secret,
                "older_secret_until": clock.now() + overlap,
                "client_secret": _hashed(secret),
            },
        )
        changes = {
            "client_secret": audit.SECRET,
            "older_secret_until": (None, row.older_secret_until),
        }
        audit.append(actor, Verb.CLIENT_SECRET_ROTATED, row, changes)
    return row, secret


def revoke_client(actor: Actor, client: OAuthClient, reason: str = "") -> OAuthClient:
    """End a client and its tokens for good, at every door within 5 s."""
    with transaction.atomic():
        row = lock(client)
        if row.revoked_at is not None:
            return row
        changes = apply(row, {"revoked_at": clock.now(), "revoke_reason": reason[:200]})
        audit.append(actor, Verb.CLIENT_REVOKED, row, changes, reason)
    return row


def check_scopes(scopes: frozenset[str], defaults: frozenset[str]) -> None:
    """Raise Invalid for a scope that no token can have, and for a default beyond the others."""
    for scope in sorted(scopes | defaults):
        inputs.as_scope(scope)
    if KEY_MAKER in scopes:
        raise inputs.wrong("not_one_of", f"A token cannot have {KEY_MAKER}.", "/scopes")
    if beyond := defaults - scopes:
        text = f"The default scope {min(beyond)} is not among the scopes."
        raise inputs.wrong("bad_combination", text, "/default_scopes")


def _hashed(secret: str) -> str:
    return make_password(secret, hasher=SaltedSha256.algorithm)


def _check_is_live(client: OAuthClient) -> None:
    if client.revoked_at is not None:
        raise Conflict("The client is revoked; register a new one.")


def _shown(row: OAuthClient) -> audit.Changes:
    return {name: (None, getattr(row, name)) for name in SHOWN}
