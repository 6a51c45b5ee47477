"""A credential that was verified, with all that decides whether it may be used now (pure)."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address

from kafkahub.errors import InvalidToken, KeyExpired, Unauthenticated
from subscriptions.grants import Principal

Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A credential whose secret or signature was right.

    refusal  why it is not good for good (revoked, partner suspended), or ""
    """

    principal: Principal
    networks: Networks
    not_before: datetime
    expires_at: datetime
    refusal: str = ""

    def holds(self, now: datetime) -> bool:
        """Return whether it is good at this time, wherever it comes from."""
        return not self.refusal and self.not_before <= now < self.expires_at

    def allows(self, address: str) -> bool:
        """Return whether it may be used from this address."""
        return is_within(self.networks, address)

    def fault(self, now: datetime) -> Unauthenticated | None:
        """Return what its rightful holder is told of its end, or None while it lasts."""
        is_key = self.principal.kind == "key"
        if not self.refusal and now < self.expires_at:
            return None
        if is_key:
            return KeyExpired(self.refusal or "The API key has expired; make a new one.")
        return InvalidToken(self.refusal or "The token has expired; ask for a new one.")


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
