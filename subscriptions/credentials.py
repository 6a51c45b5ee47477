"""What we show to an endpoint so that it lets us in (pure)."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from kafkahub.certificates import ClientTls

BASIC, BEARER, OAUTH2 = "basic", "bearer", "oauth2"
SET = "set"
"""What is shown in place of a secret."""
PUBLIC_MEMBERS = frozenset({"type", "client_auth"})


@dataclass(frozen=True, slots=True)
class OAuth2:
    """How an access token is had: the client credentials of RFC 6749, section 4.4.

    token_url         in canonical form
    scope, audience   "" for none
    is_secret_posted  whether id and secret go in the body, not in a Basic header
    """

    token_url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    scope: str
    audience: str
    is_secret_posted: bool

    @classmethod
    def of(cls, stored: Mapping[str, str]) -> Self:
        """Return the credentials as they stand in a row."""
        return cls(
            token_url=stored["token_url"],
            client_id=stored["client_id"],
            client_secret=stored["client_secret"],
            scope=stored.get("scope", ""),
            audience=stored.get("audience", ""),
            is_secret_posted=stored["client_auth"] == "post",
        )


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
