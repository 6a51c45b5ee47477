"""What is sealed at rest: where it stands, under which key, and how it gets a new one.

The columns are found from the models, so a new sealed field is rotated without being named here.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db import models

from kafkahub import crypto
from kafkahub.crypto import KeyRing
from kafkahub.failpoints import failpoint
from kafkahub.fields import EncryptedField, Sealed

BATCH_ROWS = 500
"""Rows read and written at a time: a stop loses one batch of work, and few rows are held."""


@dataclass(frozen=True, slots=True)
class Column:
    """One sealed column of one model."""

    model: type[models.Model]
    field: EncryptedField

    @property
    def name(self) -> str:
        return f"{self.model._meta.db_table}.{self.field.column}"

    def filled(self) -> models.QuerySet[models.Model]:
        """Return the rows with a value.

        They are read by primary key through the whole table: an index for a rotation once a year
        would cost every write.
        """
        rows = self.model._default_manager.exclude(**{f"{self.field.attname}__isnull": True})
        return rows.order_by("pk")

    def under_other_keys(self, kid: str) -> models.QuerySet[models.Model]:
        """Return the rows that are sealed under another key than ``kid``."""
        prefix = f"{crypto.VERSION}:{kid}:"
        return self.filled().exclude(**{f"{self.field.attname}__startswith": prefix})

    def kids(self) -> Counter[str]:
        """Return how many values stand under each key."""
        values = self.filled().values_list(self.field.attname, flat=True)
        return Counter(crypto.kid_of(value.sealed) for value in values.iterator(BATCH_ROWS))

    def opens(self, ring: KeyRing, kid: str) -> bool:
        """Return whether the newest value under ``kid`` opens; True where there is none."""
        prefix = f"{crypto.VERSION}:{kid}:"
        row = self.filled().filter(**{f"{self.field.attname}__startswith": prefix}).last()
        if row is None:
            return True
        value: Sealed = getattr(row, self.field.attname)
        try:
            crypto.unseal(ring, value.sealed, self.field.place(row))
        except crypto.SealBroken:
            return False
        return True


@dataclass(slots=True)
class Progress:
    """What a rotation did so far; ``broken`` names the values that do not open."""

    rotated: int
    broken: list[str]


def columns() -> list[Column]:
    """Return every sealed column of the product."""
    return [
        Column(model, field)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedField)
    ]


def rotate(column: Column, ring: KeyRing, batch_rows: int = BATCH_ROWS) -> Iterator[Progress]:
    """Seal each value of a column under the ring's writing key; yields after each batch.

    May be stopped and begun again anywhere: what is done is found done. A value that changes
    meanwhile is left alone, because its writer used the new key already. A value that does not
    open is named and left as it is.
    """
    progress = Progress(0, [])
    rows = column.under_other_keys(ring.writer)
    while batch := list(rows[:batch_rows]):
        for row in batch:
            _reseal(column, row, ring, progress)
            failpoint("rotate.mid_batch")
        yield progress
        rows = column.under_other_keys(ring.writer).filter(pk__gt=batch[-1].pk)


def _reseal(column: Column, row: models.Model, ring: KeyRing, progress: Progress) -> None:
    old: Sealed = getattr(row, column.field.attname)
    place = column.field.place(row)
    try:
        plain = crypto.unseal(ring, old.sealed, place)
    except crypto.SealBroken as error:
        progress.broken.append(str(error))
        return
    new = Sealed(crypto.seal(ring, plain, place), place)
    unchanged = column.model._default_manager.filter(pk=row.pk, **{column.field.attname: old})
    progress.rotated += unchanged.update(**{column.field.attname: new})
