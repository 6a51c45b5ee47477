"""Model fields of our own."""

import functools
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from kafkahub import config, crypto

if TYPE_CHECKING:
    TextField = models.TextField[Any, Any]
else:
    TextField = models.TextField


@functools.cache
def encryption_ring() -> crypto.KeyRing:
    """Return the ring that secrets at rest are sealed with."""
    return crypto.parse_ring(config.load().encryption_keys.get_secret_value())


class Sealed:
    """A sealed text as it stands in its row; only ``reveal`` opens it.

    Reading a row never decrypts: a list of endpoints costs no cryptography, and a page or log
    line that prints the value shows nothing.
    """

    __slots__ = ("place", "sealed")

    def __init__(self, sealed: str, place: str = "") -> None:
        self.sealed = sealed
        self.place = place

    def reveal(self) -> str:
        """Return the plain text; raise SealBroken when it does not open."""
        return crypto.unseal(encryption_ring(), self.sealed, self.place).decode()

    def __str__(self) -> str:
        return "***"

    __repr__ = __str__


class SealedAttribute(DeferredAttribute):
    """Tells a ``Sealed`` read from the database which row it stands in, as that row is known."""

    field: "EncryptedField"

    def __get__(self, instance: models.Model | None, cls: type[models.Model] | None = None) -> Any:
        value = super().__get__(instance, cls)
        if isinstance(value, Sealed) and instance is not None and not value.place:
            value.place = self.field.place(instance)
        return value

    def __set__(self, instance: models.Model, value: object) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedField(TextField):
    """A text sealed with AES-256-GCM and bound to its row and column.

    Assign plain ``str``; it is sealed when the row is written. A row read from the database holds
    a ``Sealed``. The primary key must be known before saving, which prefixed ids are.
    """

    descriptor_class = SealedAttribute

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001 - Django's signature
        value = super().pre_save(model_instance, add)
        if isinstance(value, str):
            place = self.place(model_instance)
            value = Sealed(crypto.seal(encryption_ring(), value.encode(), place), place)
            setattr(model_instance, self.attname, value)
        return value

    def from_db_value(self, value: str | None, *_: object) -> Sealed | None:
        return None if value is None else Sealed(value)

    def get_prep_value(self, value: object) -> object:
        if isinstance(value, str):
            raise TypeError("an encrypted value is written by saving its row, not by a query")
        return value.sealed if isinstance(value, Sealed) else value

    def place(self, model_instance: models.Model) -> str:
        """Return ``table.column:pk``, which the value is bound to."""
        return f"{self.model._meta.db_table}.{self.column}:{model_instance.pk}"
