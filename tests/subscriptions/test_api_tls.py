"""TLS material of an endpoint, by the control API."""

from datetime import UTC, datetime, timedelta

import pytest
import trustme

from kafkahub import clock
from kafkahub.certificates import ClientTls
from kafkahub.fields import Sealed
from subscriptions.models import AuditEvent, Endpoint
from subscriptions.snapshot import load
from tests.api import Caller, codes, json_of

URL = "https://192.0.3.7/in"
END = datetime.now(UTC).replace(microsecond=0) + timedelta(days=40)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def material(ca: trustme.CA) -> dict[str, str]:
    leaf = ca.issue_cert("hub.example", not_after=END)
    return {
        "client_certificate": leaf.cert_chain_pems[0].bytes().decode(),
        "client_key": leaf.private_key_pem.bytes().decode(),
    }


def live(endpoint: str) -> ClientTls | None:
    return load().endpoints[endpoint].tls


def test_an_endpoint_without_material_is_met_like_all(alice: Caller) -> None:
    made = json_of(alice.post("/endpoints", {"url": URL}))

    assert made["tls"] is None
    assert live(made["id"]) is None


def test_material_is_in_force_sealed_and_shown_by_its_end_only(
    alice: Caller, ca: trustme.CA, material: dict[str, str]
) -> None:
    authority = ca.cert_pem.bytes().decode()

    answer = alice.post("/endpoints", {"url": URL, "tls": {**material, "ca": authority}})

    endpoint = json_of(answer)["id"]
    assert json_of(answer)["tls"] == {
        "client_certificate": "set",
        "client_key": "set",
        "ca": "set",
        "expires_at": clock.rfc3339(END),
    }
    assert b"BEGIN" not in answer.content
    assert live(endpoint) == ClientTls(
        material["client_certificate"].encode(), material["client_key"].encode(), authority.encode()
    )
    stored = Endpoint.objects.values_list("tls", flat=True).get(pk=endpoint)
    assert isinstance(stored, Sealed)
    assert "BEGIN" not in stored.sealed


def test_a_patch_replaces_material_as_a_whole_and_null_ends_it(
    alice: Caller, ca: trustme.CA, material: dict[str, str]
) -> None:
    path = f"/endpoints/{json_of(alice.post('/endpoints', {'url': URL, 'tls': material}))['id']}"

    same = alice.patch(path, {"tls": material})
    other = alice.patch(path, {"tls": {"ca": ca.cert_pem.bytes().decode()}})
    none = alice.patch(path, {"tls": None})

    assert same.headers["ETag"] == '"1"'
    assert set(json_of(other)["tls"]) == {"ca", "expires_at"}
    assert json_of(none)["tls"] is None
    assert Endpoint.objects.get().tls_expires_at is None
    assert not AuditEvent.objects.filter(changes__icontains="BEGIN").exists()


def test_what_does_not_fit_is_refused_with_its_place(
    alice: Caller, ca: trustme.CA, material: dict[str, str]
) -> None:
    certificate, key = material["client_certificate"], material["client_key"]
    other = ca.issue_cert("hub.example").private_key_pem.bytes().decode()
    cases: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {"": "required"}),
        ({"client_key": key}, {"/client_certificate": "required"}),
        ({"client_certificate": certificate}, {"/client_key": "required"}),
        (
            {"client_certificate": certificate, "client_key": other, "ca": "canary"},
            {"/client_certificate": "invalid_tls_material", "/ca": "invalid_tls_material"},
        ),
        ({"ca": "x" * 32_769}, {"/ca": "too_long"}),
    ]
    for tls, places in cases:
        refused = alice.post("/endpoints", {"url": URL, "tls": tls})

        assert refused.status_code == 400
        assert codes(refused) == {f"/tls{place}": code for place, code in places.items()}
        assert b"canary" not in refused.content
    assert not Endpoint.objects.exists()


def test_an_expired_certificate_is_refused(alice: Caller, ca: trustme.CA) -> None:
    leaf = ca.issue_cert("hub.example", not_after=datetime.now(UTC) - timedelta(seconds=1))
    tls = {
        "client_certificate": leaf.cert_chain_pems[0].bytes().decode(),
        "client_key": leaf.private_key_pem.bytes().decode(),
    }

    refused = alice.post("/endpoints", {"url": URL, "tls": tls})

    assert json_of(refused)["code"] == "invalid_tls_material"
    assert "expired" in json_of(refused)["errors"][0]["message"]
