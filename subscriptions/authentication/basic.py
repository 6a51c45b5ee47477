"""Ids and secrets of OAuth clients as they come: by Basic or in the form, never by both (pure)."""

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_plus


class Given(NamedTuple):
    """What a client says of itself; neither is checked."""

    client_id: str
    secret: str


def client_of(header: str | None, client_id: str | None, secret: str | None) -> Given | None:
    """Return id and secret, or None where they are missing, malformed or come by both ways.

    header             the ``Authorization`` header
    client_id, secret  of the form; with Basic, an equal id may stand there too
    """
    if header is None:
        return Given(client_id, secret) if client_id and secret else None
    given = _basic(header)
    if given is None or secret is not None or client_id not in {None, given.client_id}:
        return None
    return given


def _basic(header: str) -> Given | None:
    """Return what stands in a Basic header, whose two parts are form encoded (RFC 6749 2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, _, password = text.partition(":")
    return Given(unquote_plus(user), unquote_plus(password)) if user and password else None
