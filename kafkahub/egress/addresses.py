"""Which IP addresses we may dial: the one policy, and a judge that remembers its verdicts.

``ipaddress.is_global`` is not used: it passes multicast, and NAT64 and 6to4 forms of 127.0.0.1.
"""

from collections.abc import Iterable
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV4_DENIED = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT, metadata of some clouds
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, metadata of one cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # a cloud's host services on a public address
    )
)
IPV6_ALLOWED = IPv6Network("2000::/3")
"""Global unicast; outside it are mapped, NAT64, unique local, link-local, multicast forms."""
IPV6_DENIED = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
NAT64 = IPv6Network("64:ff9b::/96")
LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
IPV4_BYTES = 4
MAX_VERDICTS = 65_536
"""Verdicts kept at most, about 10 MB; then the memory starts anew."""


class AddressRules:
    """The policy with the operator's exceptions. The denied list wins over everything.

    Immutable but for its memory of verdicts, which any thread may fill: the same address always
    gets the same verdict.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        allow: Iterable[Network] = (),
        deny: Iterable[Network] = (),
    ) -> None:
        self.allow_loopback = allow_loopback
        self._allow = (*allow, *(LOOPBACK if allow_loopback else ()))
        self._deny = tuple(deny)
        self._verdicts: dict[str | bytes, bool] = {}

    def is_denied(self, address: str | bytes) -> bool:
        """Return whether this address must not be dialled.

        address  text as a socket gives it, or 4 or 16 packed bytes; what is no address is denied
        """
        verdict = self._verdicts.get(address)
        if verdict is None:
            verdict = self._judge(address)
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[address] = verdict
        return verdict

    def _judge(self, text: str | bytes) -> bool:
        address = parse(text)
        if address is None or _is_in(address, self._deny):
            return True
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped is not None or address.scope_id is not None:
                return True  # no public name has such a form, so none is worth the risk
            if address in NAT64 and self._is_embedded_denied(address):
                return True
        return not _is_in(address, self._allow) and not _is_public(address)

    def _is_embedded_denied(self, address: IPv6Address) -> bool:
        # A network's NAT64 prefix may be allowed, but not as a way round the IPv4 rules.
        return self._judge(address.packed[-4:])


def parse(text: str | bytes) -> Address | None:
    """Return the address, or None for everything that is not one canonical literal."""
    try:
        if isinstance(text, bytes):
            return IPv4Address(text) if len(text) == IPV4_BYTES else IPv6Address(text)
        return IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        return None


def is_loopback(text: str) -> bool:
    """Return whether this is a literal address of this machine."""
    address = parse(text)
    return address is not None and _is_in(address, LOOPBACK)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not _is_in(address, IPV4_DENIED)
    return address in IPV6_ALLOWED and not _is_in(address, IPV6_DENIED)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
