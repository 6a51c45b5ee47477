"""Searches that use an index: what is typed tells its column by its prefix."""

from collections.abc import Mapping
from typing import TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def by_prefix(rows: QuerySet[M], text: str, columns: Mapping[str, str]) -> QuerySet[M]:
    """Return the rows whose column is exactly ``text``.

    columns  prefix of an id to its column; ``""`` stands for everything else
    """
    term = text.strip()
    if not term:
        return rows
    prefix = term.partition("_")[0] if "_" in term else ""
    return rows.filter(**{columns.get(prefix, columns[""]): term})
