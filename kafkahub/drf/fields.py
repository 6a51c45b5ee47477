"""Serializers and fields that take JSON as it is: nothing unknown, no value turned into another.

Stock DRF reads ``"5"`` as a number, ``1`` as a text and ``"yes"`` as a boolean, and drops members
it does not know. Here each of these is a fault with its JSON pointer, all of them at once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.drainage import set_override
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from kafkahub import clock
from kafkahub.drf import faults
from kafkahub.errors import Fault, Invalid

Values = dict[str, Any]
"""Validated members by name, as DRF types them."""

CODES: Mapping[str, str] = {
    "blank": "too_short",
    "invalid": "wrong_type",
    "invalid_choice": "not_one_of",
    "max_length": "too_long",
    "max_value": "out_of_range",
    "min_length": "too_short",
    "min_value": "out_of_range",
    "not_a_list": "wrong_type",
    "null": "wrong_type",
    "required": "required",
}
"""DRF's names of faults to ours."""

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Strict(serializers.Serializer[Any]):
    """An object whose members are all named; raises Invalid, never DRF's ValidationError."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        is_empty, default = self.validate_empty_values(data)
        if is_empty:
            return default
        if not isinstance(data, dict):
            raise Invalid([Fault("", "wrong_type", "An object is needed here.")])
        return self.to_internal_value(data)

    def to_internal_value(self, data: dict[str, object]) -> Values:
        found = faults.Found()
        found.add(self._strangers(data))
        values: Values = {}
        for field in self._writable_fields:
            name = str(field.field_name)
            try:
                values[name] = self._value(field, data.get(name, serializers.empty))
            except serializers.SkipField:
                continue
            except Invalid as error:
                found.take(error, name)
            except ValidationError as error:
                found.add(from_drf(field, error), name)
        found.refuse()
        return self.checked(values)

    def checked(self, values: Values) -> Values:
        """Return the values after rules over several of them; raises Invalid."""
        return values

    def _value(self, field: serializers.Field[Any, Any, Any, Any], given: object) -> Any:
        if given is None and self._is_patch and not field.allow_null:
            given = _default(field)
        return field.run_validation(given)

    @property
    def _is_patch(self) -> bool:
        return bool(getattr(self.root, "partial", False))

    def _strangers(self, data: dict[str, object]) -> list[Fault]:
        writable = [str(field.field_name) for field in self._writable_fields]
        found = []
        for name in data:
            if name in writable:
                continue
            if name in self.fields:
                text = f"{faults.shown(name)} is read-only."
                found.append(Fault(faults.pointer(name), "unknown_field", text))
            else:
                place = faults.pointer(name)
                found.append(faults.unknown("unknown_field", name, writable, place=place))
            if len(found) == faults.MAX_FAULTS:
                break
        return found


def _default(field: serializers.Field[Any, Any, Any, Any]) -> object:
    # RFC 7396: null removes a member, and a member that is not there has its default.
    if field.default is serializers.empty:
        return None
    return field.default() if callable(field.default) else field.default


def from_drf(
    field: serializers.Field[Any, Any, Any, Any], error: ValidationError
) -> Sequence[Fault]:
    """Return what DRF found wrong with one value, in our words."""
    details = error.detail if isinstance(error.detail, list) else [error.detail]
    choices = getattr(field, "choices", None)
    more: dict[str, object] = {"allowed": sorted(choices)} if choices else {}
    return [
        Fault("", CODES.get(detail.code or "", "wrong_type"), str(detail), dict(more))
        for detail in details
        if isinstance(detail, ErrorDetail)
    ]


class Text(serializers.CharField):
    """A string as it was sent; not empty unless ``allow_blank``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        # CharField takes a text of spaces for a blank one only while it trims.
        if isinstance(data, str) and data and not data.strip() and not self.allow_blank:
            self.fail("blank")
        return super().run_validation(data)

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            raise Invalid([Fault("", "wrong_type", "A string is needed here.")])
        return data


class Whole(serializers.IntegerField):
    """A whole number; ``true``, ``"5"`` and ``5.0`` are none."""

    def to_internal_value(self, data: object) -> int:
        if type(data) is not int:
            raise Invalid([Fault("", "wrong_type", "A whole number is needed here.")])
        return data


class Number(serializers.FloatField):
    """A finite number."""

    def to_internal_value(self, data: object) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise Invalid([Fault("", "wrong_type", "A number is needed here.")])
        return float(data)


class Truth(serializers.BooleanField):
    """``true`` or ``false``."""

    def to_internal_value(self, data: object) -> bool:
        if not isinstance(data, bool):
            raise Invalid([Fault("", "wrong_type", "true or false is needed here.")])
        return data


class OneOf(serializers.ChoiceField):
    """One of some strings."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str) or data not in self.choices:
            allowed = [str(choice) for choice in self.choices]
            more: dict[str, object] = {"allowed": allowed}
            if isinstance(data, str) and (meant := faults.nearest(data, allowed)):
                more["nearest"] = meant
            text = f"One of {', '.join(allowed)} is needed here."
            raise Invalid([Fault("", "not_one_of", text, more)])
        return data


class ListOf(serializers.ListField):
    """A list whose items are all checked; ``unique`` refuses one that stands twice."""

    def __init__(self, *, unique: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.unique = unique

    def to_internal_value(self, data: object) -> list[Any]:
        if not isinstance(data, list):
            raise Invalid([Fault("", "wrong_type", "A list is needed here.")])
        self._count(len(data))
        found = faults.Found()
        values = []
        for index, item in enumerate(data):
            try:
                values.append(self.child.run_validation(item))
            except Invalid as error:
                found.take(error, index)
            except ValidationError as error:
                found.add(from_drf(self.child, error), index)
        found.refuse()
        if self.unique:
            faults.refuse(_doubles(values))
        return values

    def _count(self, count: int) -> None:
        # Counted first: a list of a million wrong items must not be walked.
        low, high = self.min_length or 0, self.max_length
        if count < low or (high is not None and count > high):
            text = f"There may be {low} to {high} items here, not {count}."
            raise Invalid([Fault("", "too_many" if count > low else "too_short", text)])


def _doubles(values: Sequence[Any]) -> list[Fault]:
    seen: set[Any] = set()
    found = []
    for index, value in enumerate(values):
        if value in seen:
            found.append(Fault(faults.pointer(index), "duplicate", "This item is there twice."))
        seen.add(value)
    return found


def parse_moment(text: str) -> datetime:
    """Return the time written as RFC 3339 with a zone; raise ValueError for anything else."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("RFC 3339 with a zone is needed, such as 2026-11-23T04:19:00.000Z.")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("There is no such date or time.") from None


class Moment(serializers.DateTimeField):
    """A time: RFC 3339 with a zone in, UTC with milliseconds and ``Z`` out."""

    def to_internal_value(self, value: object) -> datetime:
        if not isinstance(value, str):
            raise Invalid([Fault("", "wrong_type", "A time as RFC 3339 text is needed here.")])
        try:
            return parse_moment(value)
        except ValueError as error:
            raise Invalid([Fault("", "wrong_type", str(error))]) from None

    def to_representation(self, value: datetime) -> str:
        return clock.rfc3339(value)


class Json(serializers.JSONField):
    """Any JSON value, handed to ``read``, which returns what is kept or raises Invalid.

    schema  JSON Schema of the value, for OpenAPI
    """

    def __init__(
        self,
        *,
        read: Callable[[object], object],
        schema: Mapping[str, object],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.read = read
        set_override(self, "field", dict(schema))

    def to_internal_value(self, data: object) -> Any:
        return self.read(data)

    def to_representation(self, value: Any) -> Any:
        return value
