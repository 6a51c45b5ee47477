"""Small signed requests to one endpoint, outside deliveries: handshakes, probes, checks.

Blocking, each with its own deadline; for control jobs and the control API.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from delivery import signatures, tokens
from delivery.outcome import name_of
from kafkahub import clock, config, signing
from kafkahub.egress.curl import Answer, unsent
from kafkahub.egress.fetch import Exchange, Request, exchange, fetch
from kafkahub.egress.urls import Target
from kafkahub.errors import Invalid
from kafkahub.kafka.envelope import Body
from subscriptions import rows, verification
from subscriptions.identity import base62
from subscriptions.live import LiveEndpoint
from subscriptions.models import Endpoint, SigningSecret

TIMEOUT_MS = 10_000
VERIFICATION, PROBE = "kafkahub.verification", "kafkahub.probe"
JSON = "application/json"
CONSENT_PATH = "/webhooks/consent/"
REQUEST_RATE = 6_000
"""Requests a minute that consent is asked for where the partner set no rate itself."""
ANY_RATE = "*"
MAX_RATE = 1_000_000
CURE = (
    "Answer the POST whose type is kafkahub.verification with"
    ' {"challenge": "<its data.challenge>"} as JSON, or with that text alone'
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What an endpoint showed.

    detail        what was wrong and what is needed; "" where it is verified
    allowed_rate  requests a minute that it consents to; None for any
    is_refusal    whether it answered in full and did not consent
    """

    is_verified: bool
    answer: Answer
    detail: str = ""
    allowed_rate: int | None = None
    is_refusal: bool = False


def live(endpoint: Endpoint) -> LiveEndpoint:
    """Return an endpoint as engines know it, ready to sign for."""
    own = SigningSecret.objects.filter(endpoint=endpoint).signing().order_by("-id")
    return rows.live_endpoint(endpoint, list(own), None)


def challenge(endpoint: LiveEndpoint) -> Shown:
    """Ask an endpoint to repeat a text that only it can have read."""
    text = secrets.token_urlsafe(32)
    answer = post(endpoint, VERIFICATION, {"challenge": text})
    if answer.outcome is not None:
        return Shown(False, answer, f"The endpoint could not be reached: {answer.outcome}.")
    if name_of(answer.status) != "delivered":
        return Shown(False, answer, f"It answered {answer.status}. {CURE}.", is_refusal=True)
    if answer.note is None and _echoes(answer.body, text):
        return Shown(True, answer)
    detail = f"It answered {answer.status}, but not with the challenge. {CURE}."
    return Shown(False, answer, detail, is_refusal=True)


def ask_consent(endpoint: LiveEndpoint, callback: str, rate_per_s: float | None) -> Shown:
    """Ask by the validation of the CloudEvents webhook specification, section 4.

    callback    token of the URL by which a person may consent later
    rate_per_s  what the partner set; None for what we ask of all
    """
    base = config.load().base_url
    rate = REQUEST_RATE if rate_per_s is None else max(1, int(rate_per_s * 60))
    origin = urlsplit(base).netloc
    known = "webhook-request-origin" in dict(endpoint.headers)
    headers = (
        *(() if known else (f"webhook-request-origin: {origin}",)),
        f"webhook-request-callback: {base}{CONSENT_PATH}{callback}",
        f"webhook-request-rate: {rate}",
    )
    answer, found = transmit(endpoint, "OPTIONS", headers, b"")
    if answer.outcome is not None:
        return Shown(False, answer, f"The endpoint could not be reached: {answer.outcome}.")
    if found.get("webhook-allowed-origin", "").lower() not in {ANY_RATE, origin.lower()}:
        detail = f"It answered {answer.status} without WebHook-Allowed-Origin: {origin} (or *)."
        return Shown(False, answer, detail, is_refusal=True)
    return Shown(True, answer, allowed_rate=_rate(found.get("webhook-allowed-rate", ANY_RATE)))


def probe(endpoint: LiveEndpoint) -> Answer:
    """Ask an endpoint whether it takes deliveries again."""
    return post(endpoint, PROBE, {"probe": True})


def post(
    endpoint: LiveEndpoint, kind: str, data: Mapping[str, object], timeout_ms: int = TIMEOUT_MS
) -> Answer:
    """Send one signed envelope that is no delivery; return what came of it."""
    body = {"type": kind, "timestamp": clock.rfc3339(clock.now()), "data": data}
    content = json.dumps(body, separators=(",", ":")).encode()
    headers = signed(endpoint, content, unix_s=clock.unix_seconds())
    if headers is None:
        return unsent("secret_unreadable")
    return transmit(endpoint, "POST", headers, content, timeout_ms).answer


def signed(endpoint: LiveEndpoint, content: bytes, *, unix_s: int) -> tuple[str, ...] | None:
    """Return the header lines of a signed request; None where nothing can sign."""
    if endpoint.is_unreadable or not endpoint.keys:
        return None
    webhook_id = f"tst_{base62(secrets.token_bytes(16))}"
    keys = endpoint.keys
    signature = signing.signature_header([key.signer for key in keys], webhook_id, unix_s, content)
    lines = [
        f"content-type: {JSON}",
        f"webhook-id: {webhook_id}",
        f"webhook-timestamp: {unix_s}",
        f"webhook-signature: {signature}",
        "kafkahub-test: 1",
    ]
    if endpoint.signatures is not None:
        made = Body(content, (("content-type", JSON),))
        one = signatures.Signed(endpoint.url, made, webhook_id, unix_s, signature)
        lines += signatures.lines(endpoint.signatures, keys, one)
    return tuple(lines)


def transmit(
    endpoint: LiveEndpoint,
    method: str,
    headers: tuple[str, ...],
    content: bytes,
    timeout_ms: int = TIMEOUT_MS,
) -> Exchange:
    """Return what came of one request, sent as a delivery is: own headers, login, TLS."""
    target = _target(endpoint.url)
    if target is None:
        return Exchange(unsent("address_denied"), {})
    login = _login(endpoint)
    if login is None:
        return Exchange(unsent("auth_failed"), {})
    own = tuple(f"{name}: {value}" for name, value in endpoint.headers)
    request = Request(
        target,
        "OPTIONS" if method == "OPTIONS" else "POST",
        (*headers, *own, *login),
        content,
        timeout_ms=timeout_ms,
        connect_timeout_ms=min(endpoint.connect_timeout_ms, timeout_ms),
        tls=endpoint.tls,
    )
    return exchange(request, verification.profile(), verification.resolver())


def _login(endpoint: LiveEndpoint) -> tuple[str, ...] | None:
    """Return the line of a token that was fetched for this; None where it cannot be had."""
    if endpoint.oauth2 is None:
        return ()
    target = _target(endpoint.oauth2.token_url)
    if target is None:
        return None
    asked = tokens.request(endpoint.oauth2, target)
    answer = fetch(asked, verification.profile(), verification.resolver())
    if answer.outcome is not None or answer.status != tokens.OK:
        return None
    token = tokens.read(answer.body, time.monotonic())
    return None if token is None else (f"authorization: Bearer {token.value}",)


def _target(url: str) -> Target | None:
    try:
        return verification.parse_url(url)
    except Invalid:
        return None  # the rules of today forbid what was allowed when it was saved


def _echoes(body: bytes, text: str) -> bool:
    """Return whether a body is the challenge: alone, or as the member of a JSON object."""
    given = body.strip()
    if given == text.encode():
        return True
    try:
        value = json.loads(given)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("challenge") == text


def _rate(given: str) -> int | None:
    """Return a rate a minute; None for any. What is no number is taken for one a minute."""
    if given == ANY_RATE:
        return None
    is_number = given.isascii() and given.isdigit() and len(given) <= 9  # noqa: PLR2004 - 32 bits
    return min(MAX_RATE, max(1, int(given))) if is_number else 1
