"""Whether the audit log is still as it was written."""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kafkahub import crypto
from subscriptions import audit
from subscriptions.models import AuditEvent

ROWS_A_FETCH = 2_000
"""Rows in memory at a time: a log of 400 days is read in the space of a few MiB."""


class Fault(StrEnum):
    """What may be wrong with a row, in the words of the command."""

    CHANGED = "changed"
    MISSING = "missing"
    ORDER = "order"
    HEAD = "head differs"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first row that is not as it was written."""

    id: int
    fault: Fault
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check came to: rows read, and the first finding, or None when all is whole."""

    rows: int
    finding: Finding | None


def verify(
    first: int | None = None, last: int | None = None, heads: Mapping[int, bytes] | None = None
) -> Verdict:
    """Read the rows from id ``first`` to id ``last`` and compare them with their hashes.

    heads  hashes by id as they were written down outside the database; one that is gone or
           differs shows a log that was cut or written anew with the right key
    """
    rows = 0
    for rows, finding in enumerate(_findings(first, last), start=1):
        if finding is not None:
            return Verdict(rows, finding)
    return Verdict(rows, _wrong_head(heads or {}))


def _findings(first: int | None, last: int | None) -> Iterator[Finding | None]:
    keys = tuple(audit.ring().keys.values())
    previous = _hash_before(first)
    for event in _events(first, last):
        yield _check(event, previous, keys)
        previous = bytes(event.hash)


def _events(first: int | None, last: int | None) -> Iterator[AuditEvent]:
    rows = AuditEvent.objects.order_by("id")  # by primary key
    if first is not None:
        rows = rows.filter(id__gte=first)
    if last is not None:
        rows = rows.filter(id__lte=last)
    return rows.iterator(chunk_size=ROWS_A_FETCH)


def _hash_before(first: int | None) -> bytes:
    before = AuditEvent.objects.filter(id__lt=first or 0).order_by("-id")  # by primary key
    row = before.values_list("hash", flat=True).first()
    return audit.GENESIS if row is None else bytes(row)


def _check(event: AuditEvent, previous: bytes, keys: Iterable[bytes]) -> Finding | None:
    if not is_authentic(event, keys):
        return Finding(event.pk, Fault.CHANGED, "its columns do not give its hash under any key")
    if bytes(event.prev_hash) == previous:
        return None
    later = AuditEvent.objects.filter(id__gt=event.pk, hash=event.prev_hash).first()
    if later is not None:
        return Finding(event.pk, Fault.ORDER, f"it was written after row {later.pk}")
    return Finding(event.pk, Fault.MISSING, "the row before it is gone")


def is_authentic(event: AuditEvent, keys: Iterable[bytes]) -> bool:
    """Return whether the row's own hash is right under one of these keys."""
    text = bytes(event.prev_hash) + audit.canonical(event)
    return any(hmac.compare_digest(crypto.digest(key, text), bytes(event.hash)) for key in keys)


def _wrong_head(heads: Mapping[int, bytes]) -> Finding | None:
    found = dict(AuditEvent.objects.filter(id__in=heads).values_list("id", "hash"))
    for row, expected in sorted(heads.items()):
        if row == audit.EMPTY:
            continue
        if row not in found:
            return Finding(row, Fault.HEAD, "it was the newest row once and is gone")
        if not hmac.compare_digest(bytes(found[row]), expected):
            return Finding(row, Fault.HEAD, "its hash is not the one written down")
    return None
