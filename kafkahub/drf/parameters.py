"""Query parameters: each one declared, none twice, none unknown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.http import QueryDict

from kafkahub.drf import faults
from kafkahub.drf.fields import parse_moment
from kafkahub.errors import Fault

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_TEXT = 300
"""Characters of a parameter that is a plain text: a topic name and some more."""
DIGITS = 18
"""Digits of a number read from a query; more would be beyond 64 bit."""


class BadValue(Exception):
    """A parameter that cannot be read; the text says what is needed."""

    def __init__(self, code: str, text: str, **more: object) -> None:
        super().__init__(text)
        self.fault = Fault("", code, text, more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One query parameter of one operation.

    read    text to value; raises BadValue
    schema  JSON Schema of the value, for OpenAPI
    """

    name: str
    description: str
    read: Callable[[str], object]
    schema: Mapping[str, object]
    default: object = None


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of one request, read; absent ones have their default."""

    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def whole(self, name: str) -> int | None:
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def moment(self, name: str) -> datetime | None:
        value = self.values.get(name)
        return value if isinstance(value, datetime) else None

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True


def read(query: QueryDict, declared: Sequence[Parameter]) -> Arguments:
    """Return the arguments of a query.

    Raises Invalid for every parameter that is unknown, there twice, or not readable.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    values = {parameter.name: parameter.default for parameter in declared}
    found: list[Fault] = []
    for name, given in query.lists():
        parameter = by_name.get(name)
        if parameter is None:
            found.append(faults.unknown("unknown_parameter", name, list(by_name)))
        elif len(given) > 1:
            text = f"{faults.shown(name)} is there {len(given)} times; once is enough."
            found.append(Fault("", "unknown_parameter", text, {"parameter": name}))
        else:
            _read_one(parameter, given[0], values, found)
    faults.refuse(found)
    return Arguments(values)


def _read_one(
    parameter: Parameter, given: str, values: dict[str, object], found: list[Fault]
) -> None:
    try:
        values[parameter.name] = parameter.read(given)
    except BadValue as error:
        fault = error.fault
        text = f"{parameter.name}: {fault.message}"
        found.append(Fault("", fault.code, text, {"parameter": parameter.name, **fault.more}))


def text(name: str, description: str, *, longest: int = MAX_TEXT) -> Parameter:
    """Return a parameter that is a printable text."""

    def read_text(given: str) -> str:
        if not given or len(given) > longest or not given.isprintable():
            raise BadValue("out_of_range", f"1 to {longest} printable characters are needed.")
        return given

    schema = {"type": "string", "minLength": 1, "maxLength": longest}
    return Parameter(name=name, description=description, read=read_text, schema=schema)


def choice(name: str, description: str, choices: Sequence[str]) -> Parameter:
    """Return a parameter that is one of some words."""

    def read_choice(given: str) -> str:
        if given not in choices:
            allowed = ", ".join(choices)
            raise BadValue("not_one_of", f"one of {allowed} is needed.", allowed=list(choices))
        return given

    schema = {"type": "string", "enum": list(choices)}
    return Parameter(name=name, description=description, read=read_choice, schema=schema)


def whole(
    name: str, description: str, *, low: int, high: int, default: int | None = None
) -> Parameter:
    """Return a parameter that is a whole number from ``low`` to ``high``."""

    def read_whole(given: str) -> int:
        digits = given.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= DIGITS:
            value = int(given)
            if low <= value <= high:
                return value
        raise BadValue("out_of_range", f"a whole number from {low} to {high} is needed.")

    schema: dict[str, object] = {"type": "integer", "minimum": low, "maximum": high}
    if default is not None:
        schema["default"] = default
    return Parameter(
        name=name, description=description, read=read_whole, schema=schema, default=default
    )


def moment(name: str, description: str) -> Parameter:
    """Return a parameter that is a time in RFC 3339."""

    def read_moment(given: str) -> datetime:
        try:
            return parse_moment(given)
        except ValueError as error:
            raise BadValue("out_of_range", str(error)) from None

    schema = {"type": "string", "format": "date-time"}
    return Parameter(name=name, description=description, read=read_moment, schema=schema)


def flag(name: str, description: str) -> Parameter:
    """Return a parameter that is ``true`` or ``false``."""

    def read_flag(given: str) -> bool:
        if given not in {"true", "false"}:
            raise BadValue("not_one_of", "true or false is needed.", allowed=["true", "false"])
        return given == "true"

    schema = {"type": "boolean", "default": False}
    return Parameter(
        name=name, description=description, read=read_flag, schema=schema, default=False
    )


LIMIT = whole("limit", "Objects on a page.", low=1, high=MAX_LIMIT, default=DEFAULT_LIMIT)
CURSOR = text(
    "cursor",
    "`next_cursor` of the page before; good for 24 hours and for the same query.",
    longest=1_000,
)
DRY_RUN = flag("dry_run", "Check everything and change nothing; answers 200 with `warnings`.")
