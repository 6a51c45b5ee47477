"""Bodies of parked records at rest: sealed where their topic is sensitive."""

import base64

from kafkahub import crypto
from kafkahub.fields import encryption_ring

INSTEAD = b""
"""Stands in the column of the body where the body itself is sealed: there is one."""


def stored(
    row_id: str, body: bytes | None, *, is_sensitive: bool
) -> tuple[bytes | None, str | None]:
    """Return what the columns ``body`` and ``sealed_body`` of a row are to hold."""
    if body is None or not is_sensitive:
        return body, None
    return INSTEAD, crypto.seal(encryption_ring(), base64.b64encode(body), _place(row_id))


def opened(row_id: str, body: bytes | None, sealed_body: str | None) -> bytes | None:
    """Return the body that a row holds, None where none could be made.

    Raises SealBroken when it does not open.
    """
    if sealed_body is None:
        return body
    return base64.b64decode(crypto.unseal(encryption_ring(), sealed_body, _place(row_id)))


def _place(row_id: str) -> str:
    """Return what the seal is bound to, as ``EncryptedField`` says it of the same column."""
    return f"parked_delivery.sealed_body:{row_id}"
