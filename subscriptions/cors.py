"""Which web pages may open streams: origins, and the CORS headers of answers (pure).

Only origins that a partner has named: no wildcard, no ``null``, no suffix. Who is refused gets no
CORS header at all, so that its page cannot even read the refusal.
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from kafkahub.errors import Fault, Invalid

EXPOSED = "KafkaHub-Stream-Id, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
PREFLIGHT_S = 600
"""How long a browser may remember a preflight: 10 minutes, so that a change shows soon."""

_ORIGIN = re.compile(r"https?://[a-z0-9._\[\]:-]{1,253}", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical(text: str) -> str:
    """Return an origin as browsers write it: lower case, no default port, nothing after the host.

    Raises Invalid for a wildcard, ``null``, a path, or what is no origin at all.
    """
    given = text.strip().lower()
    try:
        parts = urlsplit(given) if _ORIGIN.fullmatch(given) else None
        port = parts.port if parts else None
    except ValueError:
        parts, port = None, None
    if parts is None or not parts.hostname or given.endswith(":"):
        wanted = "An origin such as https://shop.example.com is needed: scheme, host, port."
        raise Invalid([Fault("", "not_an_origin", f"{wanted} No path and no wildcard.")])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    suffix = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Return whether a page of this ``Origin`` may read answers.

    allowed  origins in canonical form: the partner's, or before it is known those of any partner
    """
    return origin != "null" and origin in allowed


def answer_headers(origin: str, *, has_cookie: bool) -> dict[str, str]:
    """Return the headers that let a page of an allowed origin read this answer.

    has_cookie  the request came with a ticket in a cookie, or asks for one
    """
    headers = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}
    if has_cookie:
        headers["Access-Control-Allow-Credentials"] = "true"
    return headers


def preflight_headers(origin: str) -> dict[str, str]:
    """Return the headers of the 204 that answers a preflight from any partner's origin.

    Credentials are allowed here, for nobody knows yet whether a cookie will come.
    """
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "Authorization, Last-Event-ID, Content-Type",
        "Access-Control-Max-Age": str(PREFLIGHT_S),
        "Vary": "Origin",
    }
