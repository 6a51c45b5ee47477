"""Signatures that an endpoint wants beside the standard ones (pure)."""

from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from kafkahub.kafka.envelope import Body
from kafkahub.signing import Ed25519Signer, HmacSigner, HttpMessage, http_signature_lines
from subscriptions.live import SigningKey
from subscriptions.signatures import BODY, Legacy, Signatures


class Signed(NamedTuple):
    """One attempt, as far as signatures speak of it.

    url        as it is dialled
    unix_s     time of this attempt
    signature  value of ``webhook-signature``
    """

    url: str
    made: Body
    webhook_id: str
    unix_s: int
    signature: str


def lines(how: Signatures, keys: Sequence[SigningKey], signed: Signed) -> list[str]:
    """Return the header lines that ``how`` asks for; ``keys`` are those in force, newest first."""
    found: list[str] = []
    if how.rfc9421:
        found += _rfc9421(keys, signed)
    if how.legacy is not None:
        signers = [key.signer for key in keys if isinstance(key.signer, HmacSigner)]
        found.append(f"{how.legacy.header}: {_legacy(how.legacy, signers, signed)}")
    if how.header_prefix is not None:
        found += [
            f"{how.header_prefix}-id: {signed.webhook_id}",
            f"{how.header_prefix}-timestamp: {signed.unix_s}",
            f"{how.header_prefix}-signature: {signed.signature}",
        ]
    return found


def _rfc9421(keys: Sequence[SigningKey], signed: Signed) -> list[str]:
    # Headers of a parked body come from a table, in no order.
    types = [value for name, value in signed.made.headers if name == "content-type"]
    message = HttpMessage(
        target_uri=signed.url,
        content_type=types[0],
        webhook_id=signed.webhook_id,
        timestamp=signed.unix_s,
        body=signed.made.content,
    )
    pairs = [(key.id, key.signer) for key in keys if isinstance(key.signer, Ed25519Signer)]
    return http_signature_lines(pairs, message)


def _legacy(scheme: Legacy, signers: Sequence[HmacSigner], signed: Signed) -> str:
    """Return the value of the scheme's header; an active HMAC secret there always is."""
    body = signed.made.content
    if scheme.style == BODY:
        mac = signers[0].digest(body, scheme.algorithm)
        shown = mac.hex() if scheme.encoding == "hex" else b64encode(mac).decode("ascii")
        return scheme.prefix + shown
    content = b"%d.%b" % (signed.unix_s, body)
    macs = [f"v1={signer.digest(content).hex()}" for signer in signers]
    return ",".join([f"t={signed.unix_s}", *macs])
