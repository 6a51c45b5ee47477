"""The ``Authorization`` header taken apart; no look-up, no decision who it is (pure)."""

import base64
import binascii
from dataclasses import dataclass

from kafkahub.errors import Fault, Invalid, Unauthenticated
from subscriptions import keys

MAX_HEADER = 8_192 + len("Bearer ")
"""Characters of an ``Authorization`` header that is read at all."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What was presented: the text of a key or token by Bearer, of a key by Basic."""

    text: str


def parse(header: str | None) -> Credential:
    """Return the credential in an ``Authorization`` header.

    Raises Unauthenticated when there is none or it is malformed, Invalid when two different ones
    were sent: which of the two counts must never be a guess.
    """
    if not header:
        raise Unauthenticated("An API key is needed in the Authorization header.")
    if len(header) > MAX_HEADER or not header.isascii():
        raise malformed()
    given = {part.strip() for part in header.split(",")}
    if len(given) > 1:
        text = "There are two different credentials; send one."
        raise Invalid([Fault("", "two_credentials", text)])
    scheme, _, rest = given.pop().partition(" ")
    match scheme.lower():
        case "bearer":
            return Credential(rest.strip())
        case "basic":
            return Credential(_basic(rest.strip()))
    raise malformed()


def malformed() -> Unauthenticated:
    """Return the one answer to a credential that is malformed, unknown or wrong."""
    return Unauthenticated("The credential is not accepted.")


def _basic(encoded: str) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise malformed() from None
    user, colon, password = text.partition(":")
    key = keys.join(user, password)
    if not colon or not key.startswith(keys.PREFIX):
        raise malformed()
    return key
