"""Members of an endpoint that are objects themselves: what is taken, and what is shown."""

import re
from collections.abc import Mapping
from typing import Any

from kafkahub import clock
from kafkahub.crypto import SealBroken
from kafkahub.drf.fields import OneOf, Strict, Text, Truth, Values, Whole
from kafkahub.errors import Fault, Invalid
from subscriptions import headers
from subscriptions.actions.endpoints import sealed_values
from subscriptions.credentials import BASIC, BEARER, OAUTH2, shown
from subscriptions.inputs import wrong
from subscriptions.models import Endpoint, Handshake
from subscriptions.models.endpoints import MAX_URL
from subscriptions.signatures import BODY, DEFAULT_HEADER, TIMESTAMPED, Signatures

MAX_USERNAME = 256
MAX_PASSWORD = 256
MAX_TOKEN = 4_096
MAX_CLIENT_SECRET = 1_024
MAX_SCOPE = 1_024
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
MAX_PREFIX = 16
MAX_HEADER_PREFIX = 32
STANDARD: Mapping[str, object] = {"rfc9421": False, "legacy": None, "header_prefix": None}
"""What is signed when nothing was asked for."""


class BasicIn(Strict):
    """A user name and a password, RFC 7617."""

    type = OneOf(choices=[BASIC])
    username = Text(max_length=MAX_USERNAME)
    password = Text(max_length=MAX_PASSWORD, allow_blank=True)

    def checked(self, values: Values) -> Values:
        if ":" in values["username"]:
            raise wrong("not_a_name", "A user name has no colon.", "/username")
        if names := [name for name, value in values.items() if not value.isprintable()]:
            raise wrong("not_visible", "Visible characters are needed here.", f"/{names[0]}")
        return values


class BearerIn(Strict):
    """A token that never changes, RFC 6750."""

    type = OneOf(choices=[BEARER])
    token = Text(max_length=MAX_TOKEN)

    def checked(self, values: Values) -> Values:
        if not _TOKEN.fullmatch(values["token"]):
            text = "A token is of A-Z, a-z, 0-9, - . _ ~ + / with = at its end."
            raise wrong("not_a_token", text, "/token")
        return values


class OAuth2In(Strict):
    """Client credentials that a token is had for, RFC 6749 section 4.4."""

    type = OneOf(choices=[OAUTH2])
    token_url = Text(max_length=MAX_URL)
    client_id = Text(max_length=MAX_USERNAME)
    client_secret = Text(max_length=MAX_CLIENT_SECRET)
    scope = Text(max_length=MAX_SCOPE, required=False)
    audience = Text(max_length=MAX_SCOPE, required=False)
    client_auth = OneOf(choices=["basic", "post"], default="basic")

    def checked(self, values: Values) -> Values:
        if names := [name for name, value in values.items() if not value.isprintable()]:
            raise wrong("not_visible", "Visible characters are needed here.", f"/{names[0]}")
        return values


AUTH_FORMS: Mapping[str, type[Strict]] = {BASIC: BasicIn, BEARER: BearerIn, OAUTH2: OAuth2In}


def as_auth(value: object) -> dict[str, Any]:
    """Return what we log in with, as it is sealed. No text repeats a value."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in AUTH_FORMS:
        allowed = sorted(AUTH_FORMS)
        text = f"An object whose type is one of {', '.join(allowed)} is needed here."
        raise wrong("not_one_of", text, "/type", allowed=allowed)
    chosen: dict[str, Any] = AUTH_FORMS[kind]().run_validation(value)
    return chosen


def shown_auth(endpoint: Endpoint) -> dict[str, str] | None:
    """Return what we log in with, its secrets as ``set``; None for nothing.

    What does not open is shown as it is: there, and of a kind that nobody knows.
    """
    try:
        auth = sealed_values(endpoint.auth)
    except SealBroken:
        return {"type": "unreadable"}
    return shown(auth) if auth else None


class AutoDisableIn(Strict):
    """Whether, and when, an endpoint is disabled that nothing gets through to."""

    enabled = Truth(required=False)
    after_h = Whole(min_value=24, max_value=720, required=False)


COLUMNS: Mapping[str, str] = {"enabled": "is_auto_disabled", "after_h": "disable_after_h"}


def as_columns(values: Values) -> Values:
    """Return an endpoint's members by the columns they are kept in."""
    kept = dict(values)
    if "auto_recover" in kept:
        kept["is_auto_recovered"] = kept.pop("auto_recover")
    auto = kept.pop("auto_disable", {})
    return {**kept, **{COLUMNS[name]: value for name, value in auto.items()}}


def shown_auto_disable(endpoint: Endpoint) -> dict[str, object]:
    """Return when an endpoint is disabled that nothing gets through to."""
    return {"enabled": endpoint.is_auto_disabled, "after_h": endpoint.disable_after_h}


def shown_verification(endpoint: Endpoint) -> dict[str, object]:
    """Return how an endpoint's proof stands; ``detail`` says what is wrong and how to mend it."""
    row: Handshake | None = getattr(endpoint, "handshake", None)
    state = Handshake.State.VERIFIED if endpoint.is_verified else Handshake.State.PENDING
    return {
        "method": endpoint.verification_method,
        "state": str(state if row is None else row.state),
        "detail": (row.detail if row is not None else "") or None,
        "last_at": clock.rfc3339(row.last_at) if row is not None and row.last_at else None,
        "allowed_rate_per_min": endpoint.allowed_rate_per_min,
    }


def shown_reason(endpoint: Endpoint) -> str | None:
    """Return why an endpoint is not active; None where it is."""
    if endpoint.status != Endpoint.Status.UNVERIFIED:
        return endpoint.status_reason or None
    row: Handshake | None = getattr(endpoint, "handshake", None)
    is_over = row is not None and row.state == Handshake.State.FAILED
    return "handshake_failed" if is_over else "handshake_pending"


AUTO_DISABLE_SHOWN: dict[str, Any] = {
    "type": "object",
    "properties": {"enabled": {"type": "boolean"}, "after_h": {"type": "integer"}},
}
VERIFICATION_SHOWN: dict[str, Any] = {
    "type": "object",
    "description": "Nothing is sent to an endpoint before it has shown that it wants it.",
    "properties": {
        "method": {"type": "string", "enum": Endpoint.Method.values},
        "state": {"type": "string", "enum": Handshake.State.values},
        "detail": {"type": ["string", "null"], "description": "What is wrong, and what is needed."},
        "last_at": {"type": ["string", "null"], "format": "date-time"},
        "allowed_rate_per_min": {"type": ["integer", "null"]},
    },
}

AUTH: Mapping[str, object] = {
    "description": "What we log in with. A patch replaces it as a whole.",
    "oneOf": [
        {"type": "null"},
        {
            "type": "object",
            "required": ["type", "username", "password"],
            "properties": {
                "type": {"type": "string", "enum": [BASIC]},
                "username": {"type": "string", "maxLength": MAX_USERNAME},
                "password": {"type": "string", "maxLength": MAX_PASSWORD},
            },
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["type", "token"],
            "properties": {
                "type": {"type": "string", "enum": [BEARER]},
                "token": {"type": "string", "maxLength": MAX_TOKEN},
            },
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["type", "token_url", "client_id", "client_secret"],
            "properties": {
                "type": {"type": "string", "enum": [OAUTH2]},
                "token_url": {"type": "string", "maxLength": MAX_URL},
                "client_id": {"type": "string", "maxLength": MAX_USERNAME},
                "client_secret": {"type": "string", "maxLength": MAX_CLIENT_SECRET},
                "scope": {"type": "string", "maxLength": MAX_SCOPE},
                "audience": {"type": "string", "maxLength": MAX_SCOPE},
                "client_auth": {"type": "string", "enum": ["basic", "post"], "default": "basic"},
            },
            "additionalProperties": False,
        },
    ],
}
AUTH_SHOWN: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "What we log in with; every secret is shown as `set`.",
    "required": ["type"],
    "properties": {"type": {"type": "string"}},
    "additionalProperties": {"type": "string"},
}


class LegacyIn(Strict):
    """A scheme that the receiver knows from another sender."""

    style = OneOf(choices=[TIMESTAMPED, BODY])  # type: ignore[assignment]  # Field has a style, too
    header = Text(max_length=headers.MAX_NAME, default=DEFAULT_HEADER)
    algorithm = OneOf(choices=["sha256", "sha512"], required=False)
    encoding = OneOf(choices=["hex", "base64"], required=False)
    prefix = Text(max_length=MAX_PREFIX, allow_blank=True, required=False)

    def checked(self, values: Values) -> Values:
        if not headers.is_name(values["header"]):
            raise wrong("not_a_name", "A header name is needed here.", "/header")
        if not headers.is_value(values.get("prefix", "")):
            raise wrong("not_visible", "Visible ASCII is needed here.", "/prefix")
        values["header"] = values["header"].lower()
        if values["style"] == BODY:
            return {"algorithm": "sha256", "encoding": "hex", "prefix": "", **values}
        text = "Only the style body has it."
        chosen = [name for name in ("algorithm", "encoding", "prefix") if name in values]
        if chosen:
            raise Invalid([Fault(f"/{name}", "bad_combination", text) for name in chosen])
        return values


class SignaturesIn(Strict):
    """What is signed beside the three standard headers."""

    rfc9421 = Truth(default=False)
    legacy = LegacyIn(allow_null=True, default=None)
    header_prefix = Text(max_length=MAX_HEADER_PREFIX, allow_null=True, default=None)

    def checked(self, values: Values) -> Values:
        if (prefix := values["header_prefix"]) is not None:
            if not headers.is_name(prefix):
                text = "The first part of a header name is needed here."
                raise wrong("not_a_name", text, "/header_prefix")
            values["header_prefix"] = prefix.lower()
        if refused := Signatures.of(values).refused_names:
            text = f"{refused[0]} is ours to set or changes what the request is."
            raise wrong(headers.CODE, text)
        return values


def as_signatures(value: object) -> dict[str, Any] | None:
    """Return the choices as they are stored; None for none."""
    form = SignaturesIn(allow_null=True)
    chosen: dict[str, Any] | None = form.run_validation(value)
    return None if chosen is None or chosen == STANDARD else chosen


def shown_signatures(endpoint: Endpoint) -> dict[str, Any]:
    """Return the choices as a partner sees them: with what can be sent again marked."""
    shown = dict(endpoint.signatures or STANDARD)
    if shown["legacy"]:
        shown["legacy"] = {**shown["legacy"], "replayable": shown["legacy"]["style"] == BODY}
    return shown


_LEGACY = {
    "style": {"type": "string", "enum": [TIMESTAMPED, BODY]},
    "header": {"type": "string", "maxLength": headers.MAX_NAME, "default": DEFAULT_HEADER},
    "algorithm": {"type": "string", "enum": ["sha256", "sha512"]},
    "encoding": {"type": "string", "enum": ["hex", "base64"]},
    "prefix": {"type": "string", "maxLength": MAX_PREFIX},
}
_REPLAYABLE = {
    "type": "boolean",
    "description": "Whether a request that was overheard can be sent again with its signature.",
}


def _schema(legacy: Mapping[str, object]) -> dict[str, object]:
    scheme = {
        "type": ["object", "null"],
        "required": ["style"],
        "properties": legacy,
        "additionalProperties": False,
    }
    return {
        "type": ["object", "null"],
        "description": "What is signed beside webhook-id, webhook-timestamp, webhook-signature.",
        "properties": {
            "rfc9421": {"type": "boolean", "description": "Needs an ed25519 secret."},
            "legacy": scheme,
            "header_prefix": {"type": ["string", "null"], "maxLength": MAX_HEADER_PREFIX},
        },
        "additionalProperties": False,
    }


SIGNATURES = _schema(_LEGACY)
SIGNATURES_SHOWN = _schema({**_LEGACY, "replayable": _REPLAYABLE})
