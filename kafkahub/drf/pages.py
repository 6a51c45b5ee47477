"""Keyset pages: a page starts after the last row of the one before, so inserts shift nothing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.core import signing
from django.db import models
from django.db.models import Q

from kafkahub.errors import Fault, Invalid

SALT = "kafkahub.page"
MAX_AGE_S = 86_400
"""How long a page cursor is good, in seconds."""

KeyValue = str | int
Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Page:
    """What page is asked for.

    after    key of the last row of the page before, or None for the first page
    binding  what the cursor is good for: partner, path and filters
    """

    limit: int
    after: tuple[KeyValue, ...] | None
    binding: str


def binding(partner: str, path: str, query: Mapping[str, object]) -> str:
    """Return a short text that differs whenever partner, path or filters do."""
    filters = sorted((name, str(value)) for name, value in query.items() if value is not None)
    return hashlib.sha256(repr((partner, path, filters)).encode()).hexdigest()[:24]


def open_page(cursor: str | None, limit: int, bound_to: str) -> Page:
    """Return the page that ``cursor`` names; raise Invalid when it is not ours, old or bound
    to another query. One text for all of these: a cursor tells nothing to who did not get it.
    """
    if cursor is None:
        return Page(limit, None, bound_to)
    try:
        content = signing.loads(cursor, salt=SALT, max_age=MAX_AGE_S)
    except signing.BadSignature:
        raise _bad_cursor() from None
    if not isinstance(content, list) or content[0] != bound_to:
        raise _bad_cursor()
    return Page(limit, tuple(content[1:]), bound_to)


def close_page(page: Page, last: Sequence[KeyValue]) -> str:
    """Return the cursor of the page after the row whose key is ``last``."""
    return signing.dumps([page.binding, *last], salt=SALT)


def _bad_cursor() -> Invalid:
    text = "The cursor is not one of this list, or is older than 24 hours; start without it."
    return Invalid([Fault("", "invalid_cursor", text, {"parameter": "cursor"})])


def take(
    rows: models.QuerySet[Row], page: Page, order: Sequence[str] = ("-id",)
) -> tuple[list[Row], str | None]:
    """Return the rows of a page and the cursor of the next one, or None at the end.

    order  field names, ``-`` for descending; all one direction, the last one unique
    """
    names = [name.removeprefix("-") for name in order]
    if page.after is not None:
        rows = rows.filter(_beyond(names, page.after, descending=order[0].startswith("-")))
    found = list(rows.order_by(*order)[: page.limit + 1])
    if len(found) <= page.limit:
        return found, None
    found.pop()
    return found, close_page(page, [_plain(getattr(found[-1], name)) for name in names])


def take_named(names: Sequence[str], page: Page) -> tuple[Sequence[str], str | None]:
    """Return the names of a page and the cursor of the next one, of a short sorted list."""
    rest = names if page.after is None else [name for name in names if name > str(page.after[0])]
    found = rest[: page.limit]
    return found, close_page(page, [found[-1]]) if len(rest) > page.limit else None


def _beyond(names: Sequence[str], after: Sequence[KeyValue], *, descending: bool) -> Q:
    """Return the condition of all rows after ``after``: (a, b) < (x, y), written out."""
    suffix = "lt" if descending else "gt"
    condition = Q()
    for position, name in enumerate(names):
        same = dict(zip(names[:position], after[:position], strict=True))
        condition |= Q(**same, **{f"{name}__{suffix}": after[position]})
    return condition


def _plain(value: object) -> KeyValue:
    if isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot stand in a page cursor")
