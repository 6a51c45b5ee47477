"""POSTs with an ``Idempotency-Key``: the answer is stored in the transaction of the change.

So a row exists exactly when the change was committed, whatever died in between, and a repeat gets
the stored answer. While the first one runs an advisory lock is held; nothing half-made is kept.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection

from kafkahub import clock, crypto
from kafkahub.errors import Conflict, Fault, IdempotencyKeyReused, InProgress, Invalid
from kafkahub.fields import encryption_ring
from subscriptions.models import IdempotencyKey

KEPT = timedelta(hours=24)
MAX_KEY = 255

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7100001))"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be repeated: whose, under which key, and what it asks."""

    partner: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer that the first request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_key(key: str) -> str:
    """Return a key of 1 to 255 visible ASCII characters; raise Invalid for any other."""
    if not 1 <= len(key) <= MAX_KEY or not all("!" <= character <= "~" for character in key):
        text = f"Idempotency-Key: 1 to {MAX_KEY} visible ASCII characters are needed."
        raise Invalid([Fault("", "validation_failed", text, {"header": "Idempotency-Key"})])
    return key


def fingerprint(method: str, path: str, query: str, body: bytes) -> bytes:
    """Return what tells two requests apart: SHA-256 over all that the client sent."""
    head = f"{method}\n{path}\n{query}\n"
    return hashlib.sha256(head.encode() + body).digest()


def find(request: Request) -> Stored | None:
    """Return the stored answer, or None when the key is new.

    Raises IdempotencyKeyReused when it came with another request. By the unique index.
    """
    row = IdempotencyKey.objects.filter(
        partner_id=request.partner, key=request.key, created_at__gt=clock.now() - KEPT
    ).first()
    if row is None or row.status is None:
        return None
    if bytes(row.fingerprint) != request.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
    return Stored(row.status, row.headers, _open(request, bytes(row.body)))


def claim(request: Request) -> Stored | None:
    """Take the key for the rest of the caller's transaction; return the answer if there is one.

    Raises InProgress while another request holds it. To be called before any other lock, so that
    of fifty equal requests one works and none of the others waits.
    """
    with connection.cursor() as cursor:
        cursor.execute(TRY_LOCK, [f"{request.partner}:{request.key}"])
        row = cursor.fetchone()
    if not row[0]:
        raise InProgress("The first request with this Idempotency-Key is still running.")
    return find(request)


def store(request: Request, answer: Stored) -> None:
    """Keep the answer, inside the transaction of the change; an outlived row makes place."""
    IdempotencyKey.objects.filter(partner_id=request.partner, key=request.key).delete()
    IdempotencyKey.objects.create(
        partner_id=request.partner,
        key=request.key,
        fingerprint=request.fingerprint,
        status=answer.status,
        headers=dict(answer.headers),
        body=_seal(request, answer.body),
    )


def _place(request: Request) -> str:
    return f"idempotency_key.body:{request.partner}:{request.key}"


def _seal(request: Request, body: bytes) -> bytes:
    # An answer may hold a key or secret that is shown once; at rest it must not be readable.
    return crypto.seal(encryption_ring(), body, _place(request)).encode()


def _open(request: Request, sealed: bytes) -> bytes:
    try:
        return crypto.unseal(encryption_ring(), sealed.decode(), _place(request))
    except crypto.SealBroken:
        raise Conflict("The first request was done, but its answer cannot be read now.") from None
