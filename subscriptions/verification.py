"""Whether an endpoint's URL may be taken: its form, and the addresses its name stands for."""

import functools
from dataclasses import replace
from pathlib import Path

from kafkahub import config
from kafkahub.egress import urls
from kafkahub.egress.addresses import AddressRules, is_loopback
from kafkahub.egress.curl import Profile
from kafkahub.egress.proxy import Proxy
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


@functools.cache
def profile() -> Profile:
    """Return what all requests to partners' endpoints of this process share."""
    settings = config.load()
    made = Profile(rules(), allow_http=settings.egress_allow_http)
    if settings.egress_ca_file is not None:
        made = replace(made, ca_file=Path(settings.egress_ca_file))
    if settings.egress_proxy is not None:
        url = settings.egress_proxy.get_secret_value()
        made = replace(made, proxy=Proxy(url, settings.egress_proxy_exceptions))
    return made


def is_trusted(host: str) -> bool:
    """Return whether a host need not show that it wants what it is sent.

    host  of a canonical URL

    This machine is trusted wherever it may be dialled at all: in development and in tests.
    """
    settings = config.load()
    if settings.egress_allow_loopback and (host == urls.LOOPBACK_NAME or is_loopback(host)):
        return True
    trusted = settings.verification_trusted_hosts
    return any(one in {"*", host} or (one[:1] == "." and host.endswith(one)) for one in trusted)


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
