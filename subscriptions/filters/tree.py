"""What a filter is once it is parsed: a tree of frozen nodes."""

from dataclasses import dataclass

Scalar = str | int | float | bool | None
Operand = Scalar | tuple[Scalar, ...]

ROOTS = ("value", "key", "headers", "topic", "type", "partition", "timestamp")
COMPARISONS = ("$eq", "$neq")
ORDERS = ("$gt", "$gte", "$lt", "$lte")
LISTS = ("$in", "$nin")
TEXTS = ("$startsWith", "$endsWith")
GROUPS = ("$and", "$or")
OPERATORS = (*COMPARISONS, *ORDERS, *LISTS, *TEXTS, "$exist", "$not", *GROUPS)


@dataclass(frozen=True, slots=True)
class Clause:
    """One operator with its operand.

    operand  a tuple for ``$in`` and ``$nin``; under ``timestamp`` always Unix ms
    """

    operator: str
    operand: Operand
    pointer: str


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part holds; without parts always."""

    parts: tuple["Node", ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when one part holds."""

    parts: tuple["Node", ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when its part does not; unknown stays unknown."""

    part: "Node"
    pointer: str


@dataclass(frozen=True, slots=True)
class Fields:
    """Conditions on the members of one object, all of which must hold.

    members  name and condition; a name as it stands in the record, ``$$`` undone
    """

    members: tuple[tuple[str, "Node"], ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class At:
    """A condition on one root of the record."""

    root: str
    condition: "Node"
    pointer: str


Node = Clause | All | AnyOf | Not | Fields | At
"""Every ``pointer`` leads from the filter's own root to the member that made the node."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that obeys every rule of the language."""

    node: Node


def step(pointer: str, name: str | int) -> str:
    """Return the JSON pointer of a member (RFC 6901)."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
