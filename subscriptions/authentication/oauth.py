"""Our own access tokens: made, and verified against their rows."""

import hashlib
import re
import secrets
from ipaddress import ip_network

from oauth2_provider.models import AccessToken

from kafkahub import config
from subscriptions import plans, scopes
from subscriptions.authentication.known import Known
from subscriptions.grants import Principal
from subscriptions.models import OAuthClient, Partner

PREFIX = "kho_"
"""What tokens of ours begin with: the form says who verifies, and scanners find a lost one."""
RANDOM_BYTES = 32

_FORM = re.compile(r"kho_[A-Za-z0-9_-]{43}", re.ASCII)


def new_text(request: object, refresh_token: object = None) -> str:  # noqa: ARG001 - oauthlib's signature
    """Return the text of a fresh token; django-oauth-toolkit calls it for each."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def is_form(text: str) -> bool:
    """Return whether a text can be a token of ours; says nothing of whether it is one."""
    return _FORM.fullmatch(text) is not None


def look_up(text: str) -> Known | None:
    """Return the token as a value, or None where there is none or it is for another resource.

    Two queries, by the unique index on its hash and of all plans.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    rows = AccessToken.objects.select_related("application__partner")
    row = rows.filter(token_checksum=digest).first()
    if row is None or row.application is None:
        return None
    if not row.allows_audience(config.load().base_url):
        return None
    return known(row)


def known(row: AccessToken, all_plans: plans.Plans | None = None) -> Known:
    """Return a token, with its client and that one's partner, as a frozen value."""
    client: OAuthClient = row.application
    principal = Principal(
        partner=client.partner_id,
        kind="client",
        id=client.pk,
        name=client.name,
        mode="test" if client.mode == "test" else "live",
        # What was given once is narrowed with its client, and never widened.
        scopes=scopes.common(frozenset(row.scope.split()), frozenset(client.scopes)),
        topics=None if client.topics is None else frozenset(client.topics),
        expires_at_ms=int(row.expires.timestamp() * 1000),
        limits=(all_plans or plans.read()).limits_of_partner(client.partner),
        token=f"tok_{row.pk}",
    )
    return Known(
        principal=principal,
        networks=tuple(ip_network(text) for text in client.allowed_cidrs),
        not_before=row.created,
        expires_at=row.expires,
        refusal=_refusal(client),
        certificate=client.certificate_sha256 or "",
    )


def _refusal(client: OAuthClient) -> str:
    if client.revoked_at is not None:
        return "The client of this token was revoked."
    if client.partner.status != Partner.Status.ACTIVE:
        return "The partner of this token's client is suspended."
    return ""
