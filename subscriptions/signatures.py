"""What an endpoint's requests are signed with beside the three standard headers (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from kafkahub.signing import Algorithm
from subscriptions.headers import is_ours

TIMESTAMPED, BODY = "timestamped", "body"
Style = Literal["timestamped", "body"]
Encoding = Literal["hex", "base64"]
DEFAULT_HEADER = "x-signature"
COPIES = ("id", "timestamp", "signature")
"""Ends of the headers that a prefix makes copies of."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """A scheme that receivers of another sender know already.

    style    ``timestamped``: time and body under every secret; ``body``: the body alone under the
             newest one, so whoever has seen a request can send it again
    header   name of the header, in lower case
    prefix   what stands before the signature of a body
    """

    style: Style
    header: str = DEFAULT_HEADER
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Signatures:
    """Choices of one endpoint.

    rfc9421        whether HTTP Message Signatures are made, under its ed25519 keys
    header_prefix  first part of the names that the standard headers are copied to, or None
    """

    rfc9421: bool = False
    legacy: Legacy | None = None
    header_prefix: str | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return the choices as they stand in a row; members that are absent have their default."""
        legacy = stored.get("legacy")
        return cls(
            rfc9421=stored.get("rfc9421", False),
            legacy=Legacy(**legacy) if legacy else None,
            header_prefix=stored.get("header_prefix"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The headers, in lower case, whose names were chosen."""
        copies = [f"{self.header_prefix}-{end}" for end in COPIES] if self.header_prefix else []
        return (*([self.legacy.header] if self.legacy else []), *copies)

    @property
    def refused_names(self) -> list[str]:
        """Those of the names that mean something else in a request of ours."""
        return [name for name in self.names if is_ours(name)]

    def doubled_name(self, custom: Mapping[str, str]) -> str | None:
        """Return a name that stands twice among these and the custom headers, or None."""
        taken = {name.lower() for name in custom}
        for name in self.names:
            if name in taken:
                return name
            taken.add(name)
        return None
