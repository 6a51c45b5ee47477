"""A credential that was verified, with all that decides whether it may be used now (pure)."""

import base64
import functools
import hashlib
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address

from kafkahub.errors import InvalidToken, KeyExpired, Unauthenticated
from subscriptions.grants import Principal

Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A credential whose secret or signature was right.

    refusal      why it is not good for good (revoked, partner suspended), or ""
    certificate  thumbprint of the client certificate that it is good with only; "" for any or none
    """

    principal: Principal
    networks: Networks
    not_before: datetime
    expires_at: datetime
    refusal: str = ""
    certificate: str = ""

    def holds(self, now: datetime) -> bool:
        """Return whether it is good at this time, wherever it comes from."""
        return not self.refusal and self.not_before <= now < self.expires_at

    def allows(self, address: str) -> bool:
        """Return whether it may be used from this address."""
        return is_within(self.networks, address)

    def is_shown_with(self, client_cert: str) -> bool:
        """Return whether it may be used by who shows this certificate.

        client_cert  value of the ``Client-Cert`` header that a trusted proxy has set, or ""
        """
        return not self.certificate or thumbprint_of(client_cert) == self.certificate

    def fault(self, now: datetime) -> Unauthenticated | None:
        """Return what its rightful holder is told of its end, or None while it lasts."""
        is_key = self.principal.kind == "key"
        if not self.refusal and now < self.expires_at:
            return None
        if is_key:
            return KeyExpired(self.refusal or "The API key has expired; make a new one.")
        return InvalidToken(self.refusal or "The token has expired; ask for a new one.")


@functools.lru_cache(maxsize=1_000)
def thumbprint_of(client_cert: str) -> str:
    """Return the SHA-256 of a certificate in hex; "" for what is none.

    Source: RFC 9440, section 2: a byte sequence between colons, base64 of the DER form.
    """
    if len(client_cert) < 2 or client_cert[0] != ":" or client_cert[-1] != ":":  # noqa: PLR2004 - the two colons
        return ""
    try:
        der = base64.b64decode(client_cert[1:-1], validate=True)
    except ValueError:
        return ""
    return hashlib.sha256(der).hexdigest() if der else ""


def is_within(networks: Networks, address: str) -> bool:
    """Return whether an address is in one of the networks; none at all is everywhere."""
    if not networks:
        return True
    try:
        source = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(source, "ipv4_mapped", None)
    return any((mapped or source) in network for network in networks)
