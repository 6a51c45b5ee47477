"""Which PEM material can be shown to a server."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from kafkahub import certificates

NOW = datetime.now(UTC)
SOON = NOW.replace(microsecond=0) + timedelta(days=9)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def pems(leaf: trustme.LeafCert) -> tuple[str, str]:
    chain = "".join(each.bytes().decode() for each in leaf.cert_chain_pems)
    return chain, leaf.private_key_pem.bytes().decode()


def test_a_certificate_with_its_key_is_taken(ca: trustme.CA) -> None:
    certificate, key = pems(ca.issue_cert("hub.example"))

    certificates.check_client(certificate, key, NOW)


def test_it_ends_with_the_first_of_its_certificates(ca: trustme.CA) -> None:
    certificate, _ = pems(ca.issue_cert("hub.example", not_after=SOON))
    authority = ca.cert_pem.bytes().decode()

    assert certificates.first_end([certificate, authority]) == SOON
    assert certificates.first_end([None]) is None


def test_a_key_of_another_certificate_is_refused(ca: trustme.CA) -> None:
    certificate, _ = pems(ca.issue_cert("hub.example"))
    _, key = pems(ca.issue_cert("hub.example"))

    with pytest.raises(ValueError, match="not the one of the first"):
        certificates.check_client(certificate, key, NOW)


def test_an_expired_certificate_is_refused(ca: trustme.CA) -> None:
    certificate, key = pems(ca.issue_cert("hub.example", not_after=SOON))

    with pytest.raises(ValueError, match="expired"):
        certificates.check_client(certificate, key, SOON + timedelta(seconds=1))


def test_an_encrypted_key_is_refused(ca: trustme.CA) -> None:
    certificate, key = pems(ca.issue_cert("hub.example"))
    private = serialization.load_pem_private_key(key.encode(), None)
    locked = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )

    with pytest.raises(ValueError, match="must not be encrypted"):
        certificates.check_client(certificate, locked.decode(), NOW)


@pytest.mark.parametrize("text", ["", "canary", "-----BEGIN CERTIFICATE-----\ncanary\n"])
def test_what_is_no_pem_is_refused_without_repeating_it(ca: trustme.CA, text: str) -> None:
    certificate, _ = pems(ca.issue_cert("hub.example"))

    checks = [
        partial(certificates.check_client, certificate, text, NOW),
        partial(certificates.check_client, text, text, NOW),
        partial(certificates.check_authorities, text, NOW),
    ]
    for check in checks:
        with pytest.raises(ValueError, match="PEM") as refused:
            check()
        assert "canary" not in str(refused.value)


def test_a_weak_key_is_refused() -> None:
    key = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - being weak is its purpose
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(SOON)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    with pytest.raises(ValueError, match="too weak"):
        certificates.check_client(certificate.decode(), private.decode(), NOW)


def test_material_is_printed_nowhere() -> None:
    made = certificates.ClientTls(b"canary", b"canary", b"canary")

    assert "canary" not in repr(made)
