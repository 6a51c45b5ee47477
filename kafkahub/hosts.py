"""Whether a request names one host, and one of ours: what two servers could read in two ways
goes no further (RFC 9112, section 11.2).
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.http.request import split_domain_port, validate_host

IsOurs = Callable[[str], bool]
"""Given the value of a ``Host`` header, tells whether we answer by that name."""

VERSIONS = frozenset({"1.0", "1.1"})
MAX_KNOWN = 1_000
"""Values whose verdict is remembered; whoever sends others pays for the look at each."""


def ours(allowed: Sequence[str]) -> IsOurs:
    """Return what judges a host by Django's rules for ``ALLOWED_HOSTS``."""

    @functools.lru_cache(maxsize=MAX_KNOWN)
    def is_ours(value: str) -> bool:
        domain, _ = split_domain_port(value)
        return bool(domain) and validate_host(domain, allowed)

    return is_ours


def is_addressed(scope: Mapping[str, Any], is_ours: IsOurs) -> bool:
    """Return whether the head of a request has one ``Host``, of ours, in a version that has it."""
    named = [value for name, value in scope["headers"] if name == b"host"]
    if len(named) != 1 or scope.get("http_version", "1.1") not in VERSIONS:
        return False
    return is_ours(named[0].decode("latin-1"))


def is_unclear(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request's target is no path and names another host than its ``Host`` does,
    or whether its body has an encoding that does not tell where it ends.

    Source: RFC 9112, sections 3.2 and 6.1.
    """
    host = b""
    for name, value in headers:
        if name == b"host":
            host = value
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            return True
    if target.startswith(b"/") or target == b"*":
        return False
    scheme, _, rest = target.partition(b"://")
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    return scheme.lower() not in (b"http", b"https") or authority.lower() != host.lower()
