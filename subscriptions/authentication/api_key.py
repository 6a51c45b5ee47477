"""API keys: made, and verified against their rows."""

import functools
import hmac
import secrets
from ipaddress import ip_network

from kafkahub import config, crypto
from subscriptions import keys, plans
from subscriptions.authentication.known import Known
from subscriptions.grants import Principal
from subscriptions.models import ApiKey, Partner


@functools.cache
def peppers() -> crypto.KeyRing:
    """Return the ring that keys are hashed under."""
    return crypto.parse_ring(config.load().key_peppers.get_secret_value())


def generate(mode: keys.Mode) -> keys.Parsed:
    """Return a fresh key from the system's randomness."""
    return keys.make(mode, secrets.randbelow)


def digest(whole: keys.WholeKey, pepper_id: str) -> bytes:
    """Return the hash of a key as its row keeps it."""
    return crypto.digest(peppers().keys[pepper_id], whole.encode())


def look_up(parsed: keys.Parsed) -> Known | None:
    """Return the key's row as a value, or None when there is none or the secret is wrong.

    Two queries, by the unique index on ``public_id`` and of all plans.
    """
    row = ApiKey.objects.select_related("partner").filter(public_id=parsed.public_id).first()
    if row is None or row.pepper_id not in peppers().keys:
        return None
    if not hmac.compare_digest(bytes(row.digest), digest(parsed.whole, row.pepper_id)):
        return None
    if row.pepper_id != peppers().writer:
        _rehash(row, parsed)
    return known(row)


def known(row: ApiKey, all_plans: plans.Plans | None = None) -> Known:
    """Return a row, with its partner, as a frozen value.

    all_plans  None: they are read now; whoever has many rows reads them once
    """
    principal = Principal(
        partner=row.partner_id,
        kind="key",
        id=row.id,
        name=row.name,
        mode="test" if row.mode == ApiKey.Mode.TEST else "live",
        scopes=frozenset(row.scopes),
        topics=None if row.topics is None else frozenset(row.topics),
        expires_at_ms=int(row.expires_at.timestamp() * 1000),
        limits=(all_plans or plans.read()).limits_of(row),
    )
    return Known(
        principal=principal,
        networks=tuple(ip_network(text) for text in row.allowed_cidrs),
        not_before=row.not_before,
        expires_at=row.expires_at,
        refusal=_refusal(row),
        certificate=row.certificate_sha256 or "",
    )


def _refusal(row: ApiKey) -> str:
    if row.revoked_at is not None:
        return "The API key was revoked."
    if row.partner.status != Partner.Status.ACTIVE:
        return "The partner of this API key is suspended."
    return ""


def _rehash(row: ApiKey, parsed: keys.Parsed) -> None:
    """Hash a key anew under the first pepper, so that an old one can leave the ring."""
    writer = peppers().writer
    ApiKey.objects.filter(pk=row.pk, pepper_id=row.pepper_id).update(
        digest=digest(parsed.whole, writer), pepper_id=writer
    )
