"""2.6: a credential that is bound to a client certificate opens nothing without it."""

import base64
import hashlib
from ipaddress import ip_network

import pytest

from kafkahub.dispatch import as_trusted
from kafkahub.errors import InvalidToken
from subscriptions.actions.keys import rotate_key, update_key
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication.chain import Chain
from subscriptions.authentication.known import thumbprint_of
from subscriptions.models import ApiKey
from tests import factories
from tests.api import Caller, json_of

HERE = "192.0.2.7"
SYSTEM = Actor(kind=ActorKind.SYSTEM, id="tests")
OURS, OTHER = b"der of ours", b"der of another"


def shown(der: bytes) -> str:
    return f":{base64.b64encode(der).decode()}:"


def bound(owner_name: str = "acme") -> tuple[ApiKey, str]:
    row, key = factories.api_key(factories.partner(owner_name))
    thumbprint = hashlib.sha256(OURS).hexdigest()
    return update_key(SYSTEM, row, {"certificate_sha256": thumbprint}), f"Bearer {key}"


@pytest.mark.django_db
def test_a_bound_key_is_good_with_its_certificate_only() -> None:
    row, header = bound()
    chain = Chain()

    assert chain.authenticate(header, HERE, certificate=shown(OURS)).id == row.id
    assert chain.glance(header, HERE, certificate=shown(OURS)) is not None
    for other in ("", shown(OTHER), shown(OURS)[1:], ":%%:", "::"):
        assert chain.glance(header, HERE, certificate=other) is None
        with pytest.raises(InvalidToken, match="client certificate"):
            chain.authenticate(header, HERE, certificate=other)


@pytest.mark.django_db
def test_a_rotated_key_stays_bound() -> None:
    row, _ = bound()

    fresh, _ = rotate_key(SYSTEM, row)

    assert fresh.certificate_sha256 == row.certificate_sha256


@pytest.mark.django_db
def test_partners_bind_keys_themselves_and_see_what_is_wrong_with_a_thumbprint() -> None:
    owner = factories.caller(factories.partner())
    digest = hashlib.sha256(OURS).hexdigest()
    spelled = ":".join(digest[at : at + 2].upper() for at in range(0, 64, 2))
    body = {"name": "bound", "scopes": ["webhooks:read"], "certificate_sha256": spelled}

    made = owner.post("/api-keys", body)
    refused = owner.post("/api-keys", {**body, "name": "b", "certificate_sha256": "ab12"})

    assert made.status_code == 201
    assert json_of(made)["certificate_sha256"] == digest
    assert refused.status_code == 400
    assert json_of(refused)["errors"][0]["pointer"] == "/certificate_sha256"
    holder = Caller(owner.partner, owner.row, json_of(made)["key"])
    assert holder.get("/endpoints", client_cert=shown(OURS)).status_code == 200
    assert holder.get("/endpoints").status_code == 401


@pytest.mark.parametrize(("peer", "is_kept"), [("10.0.0.9", True), ("203.0.113.9", False)])
def test_only_a_trusted_proxy_says_which_certificate_was_shown(peer: str, is_kept: bool) -> None:
    given = [(b"host", b"hub.example"), (b"client-cert", shown(OURS).encode())]
    scope = {"client": (peer, 1), "headers": given}

    _, headers = as_trusted(scope, (ip_network("10.0.0.0/8"),))

    assert (b"client-cert" in dict(headers)) == is_kept


def test_what_is_no_certificate_has_no_thumbprint() -> None:
    assert thumbprint_of(shown(OURS)) == hashlib.sha256(OURS).hexdigest()
    assert {thumbprint_of(text) for text in ("", ":", "::", "x", ":!:", shown(OURS)[:-1])} == {""}
