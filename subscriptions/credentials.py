"""What we show to an endpoint so that it lets us in (pure)."""

from base64 import b64encode
from collections.abc import Mapping

from kafkahub.certificates import ClientTls

BASIC, BEARER = "basic", "bearer"
SET = "set"
"""What is shown in place of a secret."""
PUBLIC_MEMBERS = frozenset({"type"})


def authorization(auth: Mapping[str, str]) -> str:
    """Return the value of ``authorization`` for credentials that never change.

    Source: RFC 7617 (UTF-8) and RFC 6750.
    """
    if auth["type"] == BEARER:
        return f"Bearer {auth['token']}"
    pair = f"{auth['username']}:{auth['password']}".encode()
    return f"Basic {b64encode(pair).decode('ascii')}"


def client_tls(stored: Mapping[str, str]) -> ClientTls:
    """Return TLS material as it stands in a row, ready for use."""
    return ClientTls(
        certificate=stored.get("client_certificate", "").encode(),
        key=stored.get("client_key", "").encode(),
        ca=stored.get("ca", "").encode(),
    )


def shown(auth: Mapping[str, str]) -> dict[str, str]:
    """Return the members with every secret one replaced."""
    return {name: value if name in PUBLIC_MEMBERS else SET for name, value in auth.items()}
