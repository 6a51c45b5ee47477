"""Tokens of registered issuers. Every check is named, and what it expected is told to nobody."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import jwt
from jwt import PyJWK
from jwt import exceptions as faults

from kafkahub import strictjson
from kafkahub.errors import Invalid, InvalidToken
from subscriptions import plans, scopes
from subscriptions.authentication import issuer_keys
from subscriptions.authentication.issuer_keys import KEY_KINDS
from subscriptions.authentication.known import Known
from subscriptions.grants import Principal
from subscriptions.models import Issuer, Partner, TokenSubject

MAX_KID = 128
LEEWAY_S = 60
MAX_NUMBER = 2**53
TYPES = frozenset({"at+jwt", "application/at+jwt"})

REFUSALS: Mapping[type[Exception], str] = {
    faults.ExpiredSignatureError: "exp",
    faults.ImmatureSignatureError: "nbf",
    faults.InvalidIssuedAtError: "iat",
    faults.InvalidAudienceError: "aud",
    faults.InvalidIssuerError: "iss",
    faults.InvalidSignatureError: "signature",
    faults.InvalidKeyError: "key",
    faults.InvalidAlgorithmError: "alg",
    faults.InvalidSubjectError: "sub",
    faults.InvalidJTIError: "jti",
}
"""PyJWT's refusals by the check that they stand for."""

_PART = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_NUMBERS = ("exp", "iat", "nbf")


@dataclass(frozen=True, slots=True)
class Parts:
    """A token taken apart; nothing of it is proven."""

    header: Mapping[str, object]
    claims: Mapping[str, object]


def is_form(text: str) -> bool:
    """Return whether a text is meant as a JWT."""
    return text.startswith("ey") and text.count(".") == 2  # noqa: PLR2004 - header, claims, signature


def verify(text: str) -> Known:
    """Return the token as a value.

    Raises InvalidToken naming the check that failed, IssuerUnavailable.
    """
    parts = _take_apart(text)
    algorithm, kid = _check_header(parts.header)
    _check_claims(parts.claims)
    issuer = _issuer(parts.claims)
    if algorithm not in issuer.algorithms:
        raise refused("alg")
    key = issuer_keys.process_keyrings.of(issuer.pk, issuer.jwks_url).key(kid)
    if key is None:
        raise refused("kid")
    _check_key(key, algorithm)
    claims = _prove(text, key, algorithm, issuer)
    _check_age(claims, issuer)
    return known(_subject(issuer, claims), claims)


def refused(check: str) -> InvalidToken:
    """Return the error that names a check."""
    return InvalidToken(f"The token fails the check of {check}.")


def known(row: TokenSubject, claims: Mapping[str, Any]) -> Known:
    """Return whom a proven token stands for, as a frozen value."""
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    principal = principal_of(row, plans.read(), expires_at)
    asked = frozenset(_asked(claims))
    return Known(
        principal=_narrowed(principal, asked),
        networks=tuple(ip_network(text) for text in row.allowed_cidrs),
        not_before=datetime.fromtimestamp(claims.get("nbf", claims["iat"]) - LEEWAY_S, UTC),
        expires_at=expires_at,
        refusal=refusal(row),
        certificate=_bound_to(claims),
    )


def principal_of(row: TokenSubject, all_plans: plans.Plans, expires_at: datetime) -> Principal:
    """Return what a subject may do at most."""
    return Principal(
        partner=row.partner_id,
        kind="subject",
        id=row.pk,
        name=row.name,
        mode="test" if row.mode == "test" else "live",
        scopes=frozenset(row.scopes),
        topics=None if row.topics is None else frozenset(row.topics),
        expires_at_ms=int(expires_at.timestamp() * 1000),
        limits=all_plans.limits_of_partner(row.partner),
    )


def refusal(row: TokenSubject) -> str:
    """Return why a subject's tokens open nothing now, or ""."""
    if not row.issuer.is_enabled:
        return "The issuer of this token is disabled."
    if row.partner.status != Partner.Status.ACTIVE:
        return "The partner of this token is suspended."
    return ""


def _narrowed(principal: Principal, asked: frozenset[str]) -> Principal:
    return replace(principal, scopes=scopes.common(asked, principal.scopes))


def _take_apart(text: str) -> Parts:
    raw = [_decoded(part) for part in text.split(".")]
    return Parts(_object(raw[0]), _object(raw[1]))


def _decoded(part: str) -> bytes:
    """Return the bytes of a part, of which there is one spelling only."""
    if not _PART.fullmatch(part):
        raise refused("shape")
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise refused("shape") from None
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != part:
        raise refused("shape")
    return content


def _object(content: bytes) -> Mapping[str, object]:
    try:
        value = strictjson.loads(content)
    except Invalid:
        raise refused("shape") from None
    if not isinstance(value, dict):
        raise refused("shape")
    return value


def _check_header(header: Mapping[str, object]) -> tuple[str, str]:
    """Return algorithm and key id. Keys that the token brings itself are never looked at."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in KEY_KINDS:
        raise refused("alg")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise refused("typ")
    if "crit" in header or "b64" in header:
        raise refused("crit")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise refused("kid")
    return algorithm, kid


def _check_claims(claims: Mapping[str, object]) -> None:
    """Raise InvalidToken for claims of a kind that the library would convert, or not expect."""
    for name in _NUMBERS:
        value = claims.get(name)
        if value is None and name == "nbf":
            continue
        if type(value) not in {int, float} or not 0 <= value < MAX_NUMBER:  # type: ignore[operator]  # a number, as just seen
            raise refused(name)
    if not isinstance(claims.get("aud"), str):
        raise refused("aud")
    _bound_to(claims)


def _bound_to(claims: Mapping[str, object]) -> str:
    """Return the thumbprint of the certificate a token is bound to, in hex; "" for none.

    Source: RFC 8705, section 3.1. Raises InvalidToken for any other way of being bound.
    """
    confirmation = claims.get("cnf")
    if confirmation is None:
        return ""
    if not isinstance(confirmation, dict) or set(confirmation) != {"x5t#S256"}:
        raise refused("cnf")
    text = confirmation["x5t#S256"]
    thumbprint = _decoded(text) if isinstance(text, str) else b""
    if len(thumbprint) != sha256().digest_size:
        raise refused("cnf")
    return thumbprint.hex()


def _issuer(claims: Mapping[str, object]) -> Issuer:
    """Return the enabled issuer of exactly this name; one query, by unique index."""
    name = claims.get("iss")
    if not isinstance(name, str) or "\x00" in name:
        raise refused("iss")
    found = Issuer.objects.filter(issuer=name, is_enabled=True).first()
    if found is None:
        raise refused("iss")
    return found


def _check_key(key: PyJWK, algorithm: str) -> None:
    """Raise InvalidToken for a key of another kind, or one published for something else."""
    data = key._jwk_data  # noqa: SLF001 - PyJWK shows type and id only, not the curve
    kind, curve = KEY_KINDS[algorithm]
    if data.get("kty") != kind or (curve is not None and data.get("crv") != curve):
        raise refused("key")
    if data.get("alg", algorithm) != algorithm:
        raise refused("key")


def _prove(text: str, key: PyJWK, algorithm: str, issuer: Issuer) -> Mapping[str, Any]:
    try:
        claims: Mapping[str, Any] = jwt.decode(
            text,
            key.key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY_S,
            options={
                "require": ["exp", "iat", "aud", "iss"],
                "strict_aud": True,
                "enforce_minimum_key_length": True,
            },
        )
    except faults.PyJWTError as error:
        raise refused(_check_of(error)) from None
    return claims


def _check_of(error: Exception) -> str:
    if isinstance(error, faults.MissingRequiredClaimError):
        return str(error.claim)
    return next((name for kind, name in REFUSALS.items() if isinstance(error, kind)), "shape")


def _check_age(claims: Mapping[str, Any], issuer: Issuer) -> None:
    if not 0 < claims["exp"] - claims["iat"] <= issuer.max_age_s:
        raise refused("exp")


def _subject(issuer: Issuer, claims: Mapping[str, Any]) -> TokenSubject:
    """Return whom the claim means; one query, by unique index. Nobody is made here."""
    value = claims.get(issuer.claim)
    if not isinstance(value, str) or "\x00" in value:
        raise refused("mapping")
    rows = TokenSubject.objects.select_related("partner", "issuer")
    found = rows.filter(issuer=issuer, value=value).first()
    if found is None:
        raise refused("mapping")
    return found


def _asked(claims: Mapping[str, Any]) -> list[str]:
    """Return the scopes in a token: RFC 9068's text, or the list that some issuers write."""
    given = claims.get("scope", claims.get("scp", ""))
    if isinstance(given, str):
        return given.split()
    if isinstance(given, list):
        return [each for each in given if isinstance(each, str)]
    return []
