"""Keys of issuers that are not ours: fetched over the guarded way out, kept for a while."""

import functools
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from jwt import PyJWK, PyJWKClient, PyJWKSet
from jwt.exceptions import PyJWKClientError, PyJWTError

from kafkahub import strictjson
from kafkahub.egress.curl import Profile
from kafkahub.egress.fetch import Request, fetch
from kafkahub.errors import Invalid, IssuerUnavailable
from kafkahub.observability import metrics
from subscriptions import verification

FETCH_MS = 3_000
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
FRESH_S = 300.0
"""How long a set of keys is used before it is fetched again."""
RETRY_S = 30.0
"""Pause after a fetch that failed, and between two for key ids that nobody knows."""
STALE_S = 86_400.0
"""How long the last good keys serve while the issuer is away."""
OK = 200

KEY_KINDS: Mapping[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Algorithm to the type and curve of the keys that fit it; no other algorithm is ever taken."""
KINDS = tuple({kind for kind, _ in KEY_KINDS.values()})

log = structlog.get_logger()
fetches = metrics.counter(
    "issuer_key_fetches_total", "Fetches of issuers' key sets, by how they went.", ["result"]
)


class Unusable(Exception):
    """The issuer did not answer with a set of keys."""


class IssuerKeys(PyJWKClient):
    """The keys of one issuer. Shared by threads; one of them fetches, the others wait for it.

    issuer       id of its row, for the log
    monotonic_s  the clock that says how old the last good keys are
    """

    def __init__(
        self, issuer: str, url: str, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(url, lifespan=FRESH_S, cooldown_duration=RETRY_S)
        self._issuer = issuer
        self._monotonic_s = monotonic_s
        self._good: PyJWKSet | None = None
        self._good_s = 0.0
        self._retry_s = float("-inf")

    def key(self, kid: str) -> PyJWK | None:
        """Return the key of this id, or None; raise IssuerUnavailable."""
        try:
            return self.get_signing_key(kid)
        except PyJWKClientError:
            return None

    def fetch_data(self) -> PyJWKSet:
        """Return the keys as they are now, or the last good ones while the issuer is away."""
        now_s = self._monotonic_s()
        if now_s >= self._retry_s:
            try:
                self._good, self._good_s = fetched(self.uri), now_s
            except (Unusable, Invalid) as error:
                self._retry_s = now_s + RETRY_S
                fetches.labels("failed").inc()
                log.warning("issuer.keys_not_fetched", issuer=self._issuer, reason=str(error))
            else:
                fetches.labels("fetched").inc()
                self._last_successful_fetch = time.monotonic()
        if self._good is None or now_s - self._good_s > STALE_S:
            raise IssuerUnavailable("The keys of this token's issuer cannot be had right now.")
        return self._good


def fetched(url: str) -> PyJWKSet:
    """Return the key set at a URL; raise Unusable, or Invalid for one that must not be dialled."""
    request = Request(
        verification.parse_url(url),
        headers=("accept: application/json",),
        timeout_ms=FETCH_MS,
        connect_timeout_ms=FETCH_MS,
        body_cap=MAX_BYTES,
    )
    answer = fetch(request, profile(), verification.resolver())
    if answer.outcome is not None or answer.status != OK or answer.note is not None:
        raise Unusable(answer.outcome or answer.note or f"status {answer.status}")
    value = strictjson.loads(answer.body)
    if not isinstance(value, dict) or not isinstance(value.get("keys"), list):
        raise Unusable("no key set")
    if len(value["keys"]) > MAX_KEYS:
        raise Unusable(f"more than {MAX_KEYS} keys")
    try:
        return PyJWKSet.from_dict({"keys": [key for key in value["keys"] if is_public(key)]})
    except PyJWTError as error:
        raise Unusable("no usable key") from error


def is_public(key: object) -> bool:
    """Return whether a member of a key set is a public key that some token could be proven with.

    The library fails on others instead of leaving them out: a shared secret whose algorithm is
    ``none``, or a private key that was published by mistake.
    """
    if not isinstance(key, dict) or "d" in key:
        return False
    return key.get("kty") in KINDS and key.get("alg", "RS256") in tuple(KEY_KINDS)


@functools.cache
def profile() -> Profile:
    """Return how addresses that operators set are dialled."""
    return verification.profile()


class Keyrings:
    """The keys of all issuers that tokens came from, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_issuer: dict[str, IssuerKeys] = {}

    def of(self, issuer: str, url: str) -> IssuerKeys:
        """Return the keys of an issuer; those of another URL are forgotten."""
        with self._lock:
            found = self._by_issuer.get(issuer)
            if found is None or found.uri != url:
                found = self._by_issuer[issuer] = IssuerKeys(issuer, url)
            return found


process_keyrings = Keyrings()
"""The ones of this process."""
