"""Custom headers of an endpoint: which names and values may be sent (pure)."""

import re
from collections.abc import Mapping

from kafkahub.errors import Fault, Invalid

CODE = "header_not_allowed"
MAX_HEADERS = 20
MAX_NAME = 64
MAX_VALUE = 1_024
REFUSED = frozenset(
    {
        "host",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "user-agent",
        "traceparent",
        "tracestate",
        "cookie",
        "authorization",
    }
)
REFUSED_FRONTS = ("content-", "webhook-", "kafkahub-", "signature", "ce-", "proxy-")
"""Ours to set, or able to change what the request is."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_VALUE = re.compile(r"[ -~]{0,1024}")


def check(headers: Mapping[str, object], pointer: str = "/headers") -> dict[str, str]:
    """Return headers that may be sent.

    Raises Invalid ``header_not_allowed`` with every fault. No text repeats a value: it may be a
    secret of the partner.
    """
    if len(headers) > MAX_HEADERS:
        text = f"There may be {MAX_HEADERS} headers, not {len(headers)}."
        raise Invalid([Fault(pointer, "too_many", text)], code=CODE)
    found: list[Fault] = []
    kept: dict[str, str] = {}
    for name, value in headers.items():
        place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        fault = _fault(name, value, {known.lower() for known in kept})
        if fault:
            found.append(Fault(place, *fault))
        else:
            kept[name] = str(value)
    if found:
        raise Invalid(found, code=CODE)
    return kept


def is_name(text: str) -> bool:
    """Return whether a text can name a header."""
    return _NAME.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Return whether a text can be the value of a header."""
    return _VALUE.fullmatch(text) is not None and text == text.strip()


def is_ours(name: str) -> bool:
    """Return whether a header, named in lower case, is not a partner's to set."""
    return name in REFUSED or name.startswith(REFUSED_FRONTS)


def _fault(name: str, value: object, taken: set[str]) -> tuple[str, str] | None:
    lower = name.lower()
    if not is_name(name):
        return "name", f"A header name is a token of 1 to {MAX_NAME} characters."
    if is_ours(lower):
        return "refused", "This header is set by us or changes what the request is."
    if lower in taken:
        return "duplicate", "This header is there twice."
    if not isinstance(value, str) or not is_value(value):
        return "value", f"A value is up to {MAX_VALUE} visible ASCII characters and inner spaces."
    return None
