"""PEM material that we show as a TLS client: whether it can be used, and until when (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

RSA_MIN_BITS = 2_048
"""Shorter ones are refused by OpenSSL's own default level at the far side."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What one endpoint is met with; connections are shared between equal ones only.

    certificate, key  PEM of a client certificate with its chain, and of its key; both empty: none
    ca                PEM of the authorities believed instead of the public ones; empty: those
    """

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    ca: bytes = field(repr=False)


def first_end(pems: Iterable[str | None]) -> datetime | None:
    """Return when the first certificate in these texts ends; None where there is none.

    Raises ValueError when one is no PEM.
    """
    ends = [each.not_valid_after_utc for pem in pems if pem for each in _certificates(pem)]
    return min(ends, default=None)


def check_authorities(pem: str, now: datetime) -> None:
    """Check certificates of authorities.

    Raises ValueError with what is wrong and what is allowed; no text repeats the material.
    """
    _refuse_expired(_certificates(pem), now)


def check_client(certificate: str, key: str, now: datetime) -> None:
    """Check a client certificate with its key.

    certificate  its own first, then those that lead to an authority
    key          unencrypted: nobody is there to type a password

    Raises ValueError as ``check_authorities`` does.
    """
    chain = _certificates(certificate)
    public = chain[0].public_key()
    if isinstance(public, RSAPublicKey) and public.key_size < RSA_MIN_BITS:
        raise ValueError(f"an RSA key of fewer than {RSA_MIN_BITS} bits is too weak")
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if public.public_bytes(*form) != _public_half(key, *form):
        raise ValueError("the key is not the one of the first certificate")
    _refuse_expired(chain, now)


def _certificates(pem: str) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError("certificates in PEM are needed") from None


def _public_half(
    key: str, encoding: serialization.Encoding, form: serialization.PublicFormat
) -> bytes:
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        raise ValueError("the key must not be encrypted; it is kept sealed here") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("a private key in PEM is needed") from None
    return private.public_key().public_bytes(encoding, form)


def _refuse_expired(chain: Sequence[x509.Certificate], now: datetime) -> None:
    if any(each.not_valid_after_utc <= now for each in chain):
        raise ValueError("a certificate of it has expired")
