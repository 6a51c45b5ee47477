"""Certificates for the fake endpoint: one good, and each way to be bad."""

import socket
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "localhost"


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own, and the file that makes a client trust it."""

    ca: trustme.CA
    ca_file: Path


def authority(folder: Path) -> Authority:
    ca = trustme.CA()
    path = folder / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return Authority(ca, path)


def good(trusted: Authority) -> ssl.SSLContext:
    return _context(trusted.ca.issue_cert(HOST))


def wrong_host(trusted: Authority) -> ssl.SSLContext:
    return _context(trusted.ca.issue_cert("other.example"))


def expired(trusted: Authority) -> ssl.SSLContext:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return _context(
        trusted.ca.issue_cert(HOST, not_before=yesterday - timedelta(days=9), not_after=yesterday)
    )


def unknown_ca(_: Authority) -> ssl.SSLContext:
    """Return one that sends its chain up to a root nobody knows."""
    stranger = trustme.CA()
    leaf = stranger.issue_cert(HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = leaf.private_key_and_cert_chain_pem.bytes() + stranger.cert_pem.bytes()
    _load(context, chain)
    return context


def incomplete_chain(trusted: Authority) -> ssl.SSLContext:
    """Return one that forgets the intermediate between its leaf and the trusted root."""
    leaf = trusted.ca.create_child_ca().issue_cert(HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
    return context


def self_signed(_: Authority) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, private + certificate.public_bytes(serialization.Encoding.PEM))
    return context


def old_version(trusted: Authority) -> ssl.SSLContext:
    """Return one that speaks TLS 1.1 at most."""
    context = good(trusted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # being old is its purpose
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def wants_client_certificate(trusted: Authority) -> ssl.SSLContext:
    context = good(trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # before it the alert has no name of its own
    trusted.ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def issue(trusted: Authority, folder: Path) -> bytes:
    """Write a new pair to where a port of ours reads it; return the certificate, as DER."""
    leaf = trusted.ca.issue_cert(HOST)
    put(folder / "cert.pem", leaf.cert_chain_pems[0].bytes())
    put(folder / "key.pem", leaf.private_key_pem.bytes())
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def put(path: Path, content: bytes) -> None:
    """Replace a file as tools do that renew certificates."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def presented(port: int, trusted: Authority, name: str | None = HOST) -> bytes:
    """Return the certificate that a handshake with a port is made with, as DER."""
    context = ssl.create_default_context(cafile=str(trusted.ca_file))
    context.check_hostname = name is not None
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as made,
    ):
        shown = made.getpeercert(binary_form=True)
    return shown or b""


def _context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    with trustme.Blob(pem).tempfile() as path:
        context.load_cert_chain(path)
