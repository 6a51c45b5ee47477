"""Whether an endpoint's URL may be taken: its form, and the addresses its name stands for."""

import functools

from kafkahub import config
from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.resolver import Resolver
from kafkahub.errors import Fault, Invalid

RESOLVE_S = 3.0
"""Longest wait for DNS when an endpoint is saved, in seconds."""


@functools.cache
def rules() -> AddressRules:
    """Return the address rules of this process."""
    settings = config.load()
    return AddressRules(
        allow_loopback=settings.egress_allow_loopback,
        allow=settings.egress_allow,
        deny=settings.egress_deny,
    )


@functools.cache
def resolver() -> Resolver:
    """Return the resolver of this process; made at first use, so after any fork."""
    return Resolver(rules(), config.load().egress_dns_servers)


def parse_url(text: str, pointer: str = "/url") -> urls.Target:
    """Return the target of an endpoint's URL by the rules of this process, at save and at send.

    Raises Invalid ``url_not_allowed``.
    """
    settings = config.load()
    return urls.parse(
        text,
        allow_http=settings.egress_allow_http,
        allow_loopback=settings.egress_allow_loopback,
        own_hosts=settings.egress_own_hosts,
        rules=rules(),
        pointer=pointer,
    )


def admit_url(text: str, partner: str, pointer: str = "/url") -> str:
    """Return the canonical form of a URL that may become an endpoint.

    Asks DNS, so it must not run inside a transaction. A name that does not resolve now is taken:
    it may be made later, and every dial is checked again.
    Raises Invalid ``url_not_allowed``; no resolved address is shown.
    """
    target = parse_url(text, pointer)
    resolution = resolver().resolve(target.host, RESOLVE_S, owner=partner)
    if resolution.fault == "address_denied":
        text = "the host stands for an address that is not a public one"
        raise Invalid([Fault(pointer, "address_denied", text)], code=urls.CODE)
    return target.url
