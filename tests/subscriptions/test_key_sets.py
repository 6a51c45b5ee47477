"""The public keys of an endpoint, as any receiver gets them."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.http import HttpResponse
from django.test import Client

from kafkahub import clock, ids, signing
from subscriptions.models import Endpoint, SigningSecret
from tests import factories
from tests.api import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(alice: Caller) -> Endpoint:
    return factories.endpoint(alice.partner)


def ask(endpoint: str) -> HttpResponse:
    found: Any = Client().get(f"/.well-known/kafkahub/keys/{endpoint}.json")
    answer: HttpResponse = found
    return answer


def add(endpoint: Endpoint, expires_in_s: int | None = None) -> SigningSecret:
    private, public = signing.new_ed25519()
    until = None if expires_in_s is None else clock.now() + timedelta(seconds=expires_in_s)
    return SigningSecret.objects.create(
        endpoint=endpoint, kind="ed25519", secret=private, public_key=public, expires_at=until
    )


def test_a_receiver_without_a_login_verifies_with_the_key_it_finds(endpoint: Endpoint) -> None:
    secret = add(endpoint)

    answer = ask(endpoint.id)

    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    found = jwt.PyJWKSet.from_json(answer.content.decode())[secret.id]
    signer = signing.signer(secret.secret.reveal())
    assert isinstance(signer, signing.Ed25519Signer)
    found.key.verify(signer.signature(b"content"), b"content")


def test_the_set_follows_a_rotation(endpoint: Endpoint) -> None:
    add(endpoint, expires_in_s=-1)
    retiring = add(endpoint, expires_in_s=60)
    active = add(endpoint)

    keys = json.loads(ask(endpoint.id).content)["keys"]

    assert [key["kid"] for key in keys] == [active.id, retiring.id]
    assert {key["kty"] for key in keys} == {"OKP"}


def test_no_private_half_and_no_hmac_secret_is_shown(endpoint: Endpoint) -> None:
    secret = add(endpoint)

    shown = ask(endpoint.id).content

    private = base64.b64decode(secret.secret.reveal().removeprefix("whsk_"))
    assert base64.urlsafe_b64encode(private).rstrip(b"=") not in shown
    assert [set(key) for key in json.loads(shown)["keys"]] == [
        {"kty", "crv", "use", "alg", "kid", "x"}
    ]


def test_an_endpoint_without_such_a_key_is_as_unknown_as_none(endpoint: Endpoint) -> None:
    known, unknown = ask(endpoint.id), ask(ids.new("ep"))

    assert known.status_code == unknown.status_code == 404


def test_the_set_can_only_be_read(endpoint: Endpoint) -> None:
    add(endpoint)

    refused: Any = Client().post(f"/.well-known/kafkahub/keys/{endpoint.id}.json")

    assert refused.status_code == 405
