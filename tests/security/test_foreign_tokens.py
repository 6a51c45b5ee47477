"""T4: tokens of registered issuers, and each forged one refused by name."""

import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection
from django.test import Client

from kafkahub.errors import HubError, Invalid, InvalidToken, IssuerUnavailable
from subscriptions.actions.issuers import (
    create_issuer,
    create_subject,
    delete_subject,
    update_issuer,
    update_subject,
)
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import issuer_keys, standing
from subscriptions.authentication.chain import POLL_S, Chain
from subscriptions.authentication.issuer_keys import RETRY_S, STALE_S, IssuerKeys
from subscriptions.models import AuditEvent, Issuer, Partner, TokenSubject
from tests import factories
from tests.fakes import endpoint
from tests.fakes.endpoint import Endpoint

SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")
HERE = "192.0.2.10"
ISSUER = "https://login.example.com/"
AUDIENCE = "https://hub.example.com"
LEFT_OUT = object()

RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
WEAK_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)  # noqa: S505 - too weak on purpose
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {
    "rsa": RSA_KEY,
    "weak": WEAK_RSA,
    "ec": EC_KEY,
    "ec384": EC_384,
    "ed": ED_KEY,
}
ALGORITHMS: dict[str, Any] = {
    "rsa": jwt.algorithms.RSAAlgorithm,
    "weak": jwt.algorithms.RSAAlgorithm,
    "ec": jwt.algorithms.ECAlgorithm,
    "ec384": jwt.algorithms.ECAlgorithm,
    "ed": jwt.algorithms.OKPAlgorithm,
}


def jwk(kid: str, **members: Any) -> dict[str, Any]:
    made: dict[str, Any] = ALGORITHMS[kid].to_jwk(KEYS[kid].public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig", **members}


def key_set(*kids: str) -> bytes:
    return json.dumps({"keys": [jwk(kid) for kid in kids or KEYS]}).encode()


@dataclass(slots=True)
class World:
    """An issuer with its key server, and a partner whom it vouches for."""

    server: Endpoint
    issuer: Issuer
    partner: Partner
    subject: TokenSubject
    chain: Chain = field(default_factory=Chain)

    def check(self, token: str, address: str = HERE) -> Any:
        return self.chain.authenticate(f"Bearer {token}", address)

    def refusal(self, token: str) -> HubError:
        with pytest.raises(HubError) as caught:
            self.check(token)
        return caught.value


@pytest.fixture(autouse=True)
def _no_keys_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "process_keyrings", issuer_keys.Keyrings())


@pytest.fixture
def world(db: None) -> Iterator[World]:
    with Endpoint(endpoint.ok(key_set())) as server:
        issuer = create_issuer(SYSTEM, issuer_values(server.url))
        partner = factories.partner()
        factories.grant(partner)
        subject = create_subject(SYSTEM, subject_values(issuer, partner))
        yield World(server, issuer, partner, subject)


def issuer_values(url: str, **members: object) -> dict[str, object]:
    return {
        "name": "Example login",
        "issuer": ISSUER,
        "jwks_url": url,
        "algorithms": ["RS256", "PS256", "ES256", "EdDSA"],
        "audience": AUDIENCE,
        "claim": "azp",
        **members,
    }


def subject_values(issuer: Issuer, partner: Partner, **members: object) -> dict[str, object]:
    return {
        "issuer": issuer,
        "value": "acme-prod",
        "partner": partner,
        "name": "Acme production",
        "scopes": ["topic:orders:read", "webhooks:read"],
        **members,
    }


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    made: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "azp": "acme-prod",
        "sub": "service",
        "iat": now,
        "exp": now + 600,
        "scope": "topic:*:read deliveries:read",
        **changed,
    }
    return {name: value for name, value in made.items() if value is not LEFT_OUT}


def token(
    kid: str = "rsa",
    algorithm: str = "RS256",
    header: dict[str, object] | None = None,
    key: Any = None,
    **changed: object,
) -> str:
    named = {"kid": kid, "typ": "at+jwt", **(header or {})}
    kept = {name: value for name, value in named.items() if value is not LEFT_OUT}
    return jwt.encode(claims(**changed), key or KEYS[kid], algorithm, headers=kept)


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw(header: object, body: object, signature: bytes = b"x" * 256) -> str:
    return f"{part(header)}.{part(body)}.{part(signature)}"


HEADER = {"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}


@pytest.mark.parametrize(
    ("kid", "algorithm"), [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")]
)
def test_a_right_token_opens_what_all_three_allow(world: World, kid: str, algorithm: str) -> None:
    principal = world.check(token(kid, algorithm))

    assert (principal.partner, principal.kind) == (world.partner.id, "subject")
    assert principal.id == world.subject.pk
    # Of topic:*:read and deliveries:read what the ceiling has, too.
    assert principal.scopes == frozenset({"topic:orders:read"})


def test_the_long_type_and_a_list_of_scopes_are_taken(world: World) -> None:
    made = token(header={"typ": "application/at+JWT"}, scope=LEFT_OUT, scp=["webhooks:read", 7])

    assert world.check(made).scopes == frozenset({"webhooks:read"})


def hmac_with_the_public_key() -> str:
    """Return a token whose HMAC key is the issuer's public RSA key, which everybody has."""
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    front = f"{part({**HEADER, 'alg': 'HS256'})}.{part(claims())}"
    return f"{front}.{part(hmac.digest(public, front.encode(), 'sha256'))}"


def weak() -> str:
    """Return a token that a key of 1,024 bits signs, rightly."""
    with warnings.catch_warnings(action="ignore"):
        return token("weak")


def with_its_own_key() -> str:
    """Return a token that brings the key it was signed with, and names another one's URL."""
    own: Any = jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True)
    header = {"jwk": own, "jku": "https://evil.example/keys", "x5c": ["MIIB"], "x5u": "https://e"}
    return token(key=OTHER_RSA, header=header)


NOW = int(time.time())
HOUR = 3_600


@pytest.mark.parametrize(
    ("forged", "check"),
    [
        (lambda: "ey..", "shape"),
        (lambda: token() + "=", "shape"),
        (lambda: token().replace(".", "!.", 1), "shape"),
        (lambda: raw(b'{"alg" no json', claims()), "shape"),
        (lambda: raw(HEADER, [1]), "shape"),
        (lambda: raw(HEADER, b'{"exp":1,"exp":2}'), "shape"),
        (lambda: raw(HEADER, b'{"exp":NaN}'), "shape"),
        (lambda: raw(HEADER, b"{" * 100_0), "shape"),
        (lambda: raw({**HEADER, "alg": "none"}, claims(), b""), "shape"),
        (lambda: raw({**HEADER, "alg": "none"}, claims()), "alg"),
        (lambda: raw({**HEADER, "alg": "HS256"}, claims()), "alg"),
        (lambda: raw({**HEADER, "alg": ["RS256"]}, claims()), "alg"),
        (hmac_with_the_public_key, "alg"),
        (lambda: token("ec384", "ES384"), "alg"),
        (lambda: token(header={"typ": "JWT"}), "typ"),
        (lambda: token(header={"typ": LEFT_OUT}), "typ"),
        (lambda: raw({**HEADER, "kid": None}, claims()), "kid"),
        (lambda: raw({**HEADER, "kid": "k" * 129}, claims()), "kid"),
        (lambda: token(header={"kid": "../../etc/passwd"}), "kid"),
        (lambda: token(header={"crit": ["exp"]}), "crit"),
        (weak, "key"),
        (lambda: token("rsa", key=OTHER_RSA), "signature"),
        (lambda: token(header={"kid": "ec"}), "key"),
        (lambda: token("ec", "ES256", header={"kid": "ec384"}), "key"),
        (with_its_own_key, "signature"),
        (lambda: token(iss="https://evil.example/"), "iss"),
        (lambda: token(iss=ISSUER.rstrip("/")), "iss"),
        (lambda: token(iss=LEFT_OUT), "iss"),
        (lambda: raw(HEADER, claims(iss=[ISSUER])), "iss"),
        (lambda: raw(HEADER, claims(iss="\x00")), "shape"),
        (lambda: token(exp=NOW - 120, iat=NOW - 600), "exp"),
        (lambda: token(exp=LEFT_OUT), "exp"),
        (lambda: raw(HEADER, claims(exp=True)), "exp"),
        (lambda: raw(HEADER, claims(exp=str(NOW + 60))), "exp"),
        (lambda: token(exp=NOW + 25 * HOUR), "exp"),
        (lambda: token(iat=LEFT_OUT), "iat"),
        (lambda: token(iat=NOW + 300), "nbf"),
        (lambda: token(nbf=NOW + 300), "nbf"),
        (lambda: token(aud="https://other.example"), "aud"),
        (lambda: token(aud=[AUDIENCE]), "aud"),
        (lambda: token(aud=LEFT_OUT), "aud"),
        (lambda: token(cnf={"jkt": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"}), "cnf"),
        (lambda: token(cnf={"x5t#S256": "c2hvcnQ"}), "cnf"),
        (lambda: token(cnf={"x5t#S256": 7}), "cnf"),
        (lambda: token(cnf="text"), "cnf"),
        (lambda: token(azp="stranger"), "mapping"),
        (lambda: token(azp=LEFT_OUT), "mapping"),
        (lambda: token(azp=["acme-prod"]), "mapping"),
    ],
)
def test_a_forged_token_is_refused_by_the_name_of_the_check(
    world: World, forged: Any, check: str
) -> None:
    refused = world.refusal(forged())

    assert isinstance(refused, InvalidToken)
    assert refused.detail == f"The token fails the check of {check}."


def test_a_token_that_is_bound_to_a_certificate_needs_it_shown(world: World) -> None:
    der = b"der of a certificate"
    digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    made = f"Bearer {token(cnf={'x5t#S256': digest})}"
    shown = f":{base64.b64encode(der).decode()}:"

    assert world.chain.authenticate(made, HERE, certificate=shown).partner == world.partner.id
    with pytest.raises(InvalidToken, match="client certificate"):
        world.chain.authenticate(made, HERE)


def test_a_token_over_8_kib_is_not_read(world: World) -> None:
    assert world.refusal(token(pad="x" * 8_192)).code == "unauthenticated"
    assert world.check(token(pad="x" * 4_000))


def test_a_key_of_one_issuer_signs_nothing_of_another(world: World) -> None:
    with Endpoint(endpoint.ok(key_set("ec"))) as server:
        values = issuer_values(server.url, issuer="https://two.example/", name="Two")
        other = create_issuer(SYSTEM, values)
        create_subject(SYSTEM, subject_values(other, world.partner))

        assert world.refusal(token(iss="https://two.example/")).detail.endswith("of kid.")
        assert world.check(token("ec", "ES256", iss="https://two.example/"))


def test_a_refused_token_fetches_no_keys_of_its_own_choice(world: World) -> None:
    world.refusal(token(iss="https://evil.example/"))
    world.refusal(with_its_own_key())

    assert len(world.server.received) == 1


def test_a_known_token_costs_no_query_and_no_fetch(
    world: World, django_assert_num_queries: Any
) -> None:
    made = token()
    principal = world.check(made)

    with django_assert_num_queries(0):
        assert world.check(made) == principal == world.chain.glance(f"Bearer {made}", HERE)
    assert len(world.server.received) == 1


def test_a_subject_is_good_only_from_its_networks(world: World) -> None:
    update_subject(SYSTEM, world.subject, {"allowed_cidrs": ["198.51.100.0/24"]})

    assert world.refusal(token()).code == "unauthenticated"
    assert world.check(token(), "198.51.100.7")


@pytest.mark.parametrize("change", ["issuer", "subject", "gone"])
def test_an_issuer_or_subject_that_ends_ends_its_tokens(world: World, change: str) -> None:
    now = 1_000.0
    world.chain = Chain(monotonic_s=lambda: now)
    made = token()
    principal = world.check(made)
    if change == "issuer":
        update_issuer(SYSTEM, world.issuer, {"is_enabled": False})
    elif change == "gone":
        delete_subject(SYSTEM, world.subject)
    else:
        update_subject(SYSTEM, world.subject, {"scopes": []})
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    now += POLL_S

    if change == "subject":
        assert world.check(made).scopes == frozenset()
    else:
        assert isinstance(world.refusal(made), InvalidToken)
        assert standing.alive([principal.credential]) == {}


def test_streams_are_told_which_credentials_still_stand(world: World) -> None:
    principal = world.check(token())

    assert standing.alive([principal.credential, "tok_0", "key_x"]).keys() == {world.subject.pk}


def test_a_partner_reaches_its_own_rows_only(world: World) -> None:
    stranger = factories.partner()
    foreign = factories.endpoint(stranger)
    own = factories.endpoint(world.partner)
    headers = {"authorization": f"Bearer {token(scope='webhooks:read')}"}

    listed: Any = Client().get("/api/v1/endpoints", headers=headers)
    refused: Any = Client().get(f"/api/v1/endpoints/{foreign.pk}", headers=headers)

    assert [row["id"] for row in listed.json()["data"]] == [own.pk]
    assert refused.status_code == 404


def test_the_door_says_which_check_failed(world: World) -> None:
    headers = {"authorization": f"Bearer {token(aud='https://other.example')}"}

    answer: Any = Client().get("/api/v1/topics", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert AUDIENCE not in answer.content.decode()
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


BAD_SETS = {
    "down": endpoint.reset(),
    "html": endpoint.status(200, b"<html></html>"),
    "error": endpoint.status(500, key_set()),
    "redirect": endpoint.redirect("http://localhost:1/keys"),
    "huge": endpoint.raw(endpoint.answers(200, "\r\n") + b'{"keys":[' + b" " * 400_000),
    "many": endpoint.ok(json.dumps({"keys": [jwk("rsa")] * 101}).encode()),
    "empty": endpoint.ok(b'{"keys":[]}'),
    "list": endpoint.ok(b"[]"),
    "private": endpoint.ok(json.dumps({"keys": [{**jwk("rsa"), "d": "AQAB"}]}).encode()),
    "odd": endpoint.ok(b'{"keys":[1,{"kty":["RSA"]},{"kty":"RSA","alg":[]},{"kty":"RSA"}]}'),
    "secret": endpoint.ok(b'{"keys":[{"kty":"oct","kid":"rsa","k":"AAAA","alg":"none"}]}'),
}


@pytest.mark.parametrize("name", sorted(BAD_SETS))
def test_without_keys_it_is_503_and_the_issuer_is_left_in_peace(world: World, name: str) -> None:
    world.server.script(BAD_SETS[name])

    first, second = world.refusal(token()), world.refusal(token(sub="again"))

    assert isinstance(first, IssuerUnavailable)
    assert first.code == second.code == "issuer_unavailable"
    assert len(world.server.received) == 1


class Hand:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_last_good_keys_serve_a_day_while_the_issuer_is_away() -> None:
    hand = Hand()
    with Endpoint(endpoint.ok(key_set("rsa"))) as server:
        keys = IssuerKeys("iss_1", server.url, hand)
        assert keys.key("rsa") is not None
        server.script(endpoint.reset())

        hand.now_s += STALE_S
        assert keys.fetch_data().keys
        hand.now_s += 1
        with pytest.raises(IssuerUnavailable):
            keys.fetch_data()


def test_an_issuer_that_comes_back_is_asked_again_after_a_pause() -> None:
    hand = Hand()
    with Endpoint(endpoint.reset()) as server:
        keys = IssuerKeys("iss_1", server.url, hand)
        for _ in range(3):
            with pytest.raises(IssuerUnavailable):
                keys.key("rsa")
        assert len(server.received) == 1

        server.script(endpoint.ok(key_set("rsa")))
        hand.now_s += RETRY_S
        assert keys.key("rsa") is not None


def test_an_unknown_key_id_fetches_once_in_a_pause(world: World) -> None:
    keys = IssuerKeys("iss_1", world.server.url)
    assert keys.key("rsa") is not None
    keys._last_successful_fetch = time.monotonic() - RETRY_S

    assert [keys.key(f"no-{number}") for number in range(5)] == [None] * 5
    assert len(world.server.received) == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/keys",
        "https://169.254.169.254/latest",
        "https://user@login.example.com/keys",
        "ftp://login.example.com/keys",
        "https://localhost.localdomain:6379/",
        "",
    ],
)
def test_a_url_that_must_not_be_dialled_is_no_jwks_url(db: None, url: str) -> None:
    with pytest.raises(Invalid):
        create_issuer(SYSTEM, issuer_values(url))

    assert not Issuer.objects.exists()


@pytest.mark.parametrize(
    "members",
    [{"algorithms": []}, {"algorithms": ["HS256"]}, {"max_age_s": 0}, {"max_age_s": 86_401}],
)
def test_an_issuer_that_would_weaken_a_check_is_refused(db: None, members: Any) -> None:
    with pytest.raises(Invalid):
        create_issuer(SYSTEM, issuer_values("https://login.example.com/keys", **members))


def test_issuers_and_subjects_are_audited(world: World) -> None:
    update_issuer(SYSTEM, world.issuer, {"max_age_s": 600})
    update_subject(SYSTEM, world.subject, {"name": "Acme"})
    delete_subject(SYSTEM, world.subject, "left")

    verbs = list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))
    assert verbs == [
        "issuer.created",
        "subject.created",
        "issuer.updated",
        "subject.updated",
        "subject.deleted",
    ]
