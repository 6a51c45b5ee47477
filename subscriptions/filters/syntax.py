"""The filter language: JSON to a tree, with the place of every fault.

A filter is an object of roots (``value``, ``key``, …) and of ``$and``, ``$or``, ``$not``. Under a
root stands a condition: a scalar, an object of operators, or an object of fields.
"""

import msgspec

from kafkahub.errors import Invalid
from subscriptions.filters.faults import FAULTS_MAX, Faults, Limits
from subscriptions.filters.operands import read_list, read_operand
from subscriptions.filters.tree import (
    GROUPS,
    LISTS,
    OPERATORS,
    ROOTS,
    All,
    AnyOf,
    At,
    Clause,
    Fields,
    Filter,
    Node,
    Not,
    step,
)

LIMITS = Limits()
URL_LIMITS = Limits(filter_bytes=2 * 1024)

_HEADER = "header"
"""What a condition below a header's name is about; not a root of its own."""
_PLAIN = frozenset({"topic", "type", "partition", "timestamp", _HEADER})
"""Where the value is a scalar for ever, so that a field under it must be a slip."""


def parse(value: object, *, limits: Limits = LIMITS, at: str = "") -> Filter:
    """Return the filter that this decoded JSON value spells.

    at  pointer of the filter in the body it came in; put before the place of each fault

    Raises Invalid with code ``invalid_filter`` and all faults (the first 50). A doubled name is
    the decoder's to find: here it is gone already.
    """
    parser = _Parser(limits, at)
    node = parser.filter(value, "", 1)
    faults = parser.faults
    # Only what is shallow and well formed is encoded: nothing else has a size worth telling.
    if not faults.found and len(msgspec.json.encode(value)) > limits.filter_bytes:
        faults.note("", "too_long", f"the filter is longer than {limits.filter_bytes} bytes")
    if faults.found:
        raise Invalid(faults.found[:FAULTS_MAX], code="invalid_filter")
    return Filter(node)


class _Parser:
    """Walks a value once. ``depth`` is that of the object or list at hand, from 1."""

    def __init__(self, limits: Limits, at: str) -> None:
        self.faults = Faults(limits, at)

    def filter(self, value: object, pointer: str, depth: int) -> Node:
        if not isinstance(value, dict):
            return self.faults.note(pointer, "wrong_operand", "a filter is an object, such as {}")
        if depth > self.faults.limits.depth:
            return self.faults.too_deep(pointer)
        parts = [
            self._member(name, inner, step(pointer, name), depth) for name, inner in value.items()
        ]
        return _together(parts, pointer)

    def _member(self, name: str, value: object, pointer: str, depth: int) -> Node:
        if name in GROUPS:
            return self._group(name, value, pointer, depth, None)
        if name == "$not":
            return Not(self.filter(value, pointer, depth + 1), pointer)
        if name in ROOTS:
            return At(name, self._condition(value, pointer, depth + 1, name), pointer)
        if name in OPERATORS:
            text = f'"{name}" needs a root around it, such as {{"value": {{"{name}": …}}}}'
            return self.faults.note(pointer, "unknown_root", text)
        if name.startswith("$"):
            return self.faults.unknown(pointer, "unknown_operator", name, (*GROUPS, "$not"))
        return self.faults.unknown(pointer, "unknown_root", name, ROOTS)

    def _condition(self, value: object, pointer: str, depth: int, root: str) -> Node:
        if isinstance(value, dict):
            return self._object(value, pointer, depth, root)
        return self._clause("$eq", value, pointer, depth, root)

    def _object(self, value: dict[str, object], pointer: str, depth: int, root: str) -> Node:
        if depth > self.faults.limits.depth:
            return self.faults.too_deep(pointer)
        if not value:
            text = "an empty object tests nothing; leave it out, or write an operator"
            return self.faults.note(pointer, "wrong_operand", text)
        operators = sum(map(_is_operator, value))
        if operators == 0:
            return self._fields(value, pointer, depth, root)
        if operators < len(value):
            return self._mixed(pointer)
        parts = [
            self._operator(name, operand, step(pointer, name), depth, root)
            for name, operand in value.items()
        ]
        return _together(parts, pointer)

    def _mixed(self, pointer: str) -> Node:
        text = (
            "operators and fields stand in one object; join them by $and, "
            'and write a field that starts with "$" as "$$…"'
        )
        return self.faults.note(pointer, "mixed_object", text)

    def _operator(self, name: str, operand: object, pointer: str, depth: int, root: str) -> Node:
        if name in GROUPS:
            return self._group(name, operand, pointer, depth, root)
        if name == "$not":
            return Not(self._condition(operand, pointer, depth + 1, root), pointer)
        if name in OPERATORS:
            return self._clause(name, operand, pointer, depth, root)
        return self.faults.unknown(pointer, "unknown_operator", name, OPERATORS)

    def _clause(self, name: str, operand: object, pointer: str, depth: int, root: str) -> Node:
        self.faults.count_condition(pointer)
        if name not in LISTS:
            scalar = read_operand(name, operand, pointer, root=root, faults=self.faults)
            return Clause(name, scalar, pointer)
        if depth + 1 > self.faults.limits.depth:
            return self.faults.too_deep(pointer)
        return Clause(name, read_list(operand, pointer, root=root, faults=self.faults), pointer)

    def _fields(self, value: dict[str, object], pointer: str, depth: int, root: str) -> Node:
        if root in _PLAIN:
            for name in value:
                self.faults.unknown(step(pointer, name), "unknown_operator", f"${name}", OPERATORS)
            return All((), pointer)
        inner_root = _HEADER if root == "headers" else root
        members = []
        for name, inner in value.items():
            place = step(pointer, name)
            self.faults.check_text(name, place)
            plain = name[1:] if name.startswith("$$") else name
            members.append((plain, self._condition(inner, place, depth + 1, inner_root)))
        return Fields(tuple(members), pointer)

    def _group(self, name: str, value: object, pointer: str, depth: int, root: str | None) -> Node:
        if depth + 1 > self.faults.limits.depth:
            return self.faults.too_deep(pointer)
        if not isinstance(value, list):
            return self.faults.note(pointer, "wrong_operand", f"{name} takes a list")
        if not value:
            return self.faults.note(pointer, "empty_list", f"{name} needs at least one member")
        if len(value) > self.faults.limits.branches:
            text = f"{len(value)} members; {self.faults.limits.branches} are allowed in one {name}"
            return self.faults.note(pointer, "too_many", text)
        parts = tuple(
            self.filter(inner, step(pointer, index), depth + 2)
            if root is None
            else self._condition(inner, step(pointer, index), depth + 2, root)
            for index, inner in enumerate(value)
        )
        return All(parts, pointer) if name == "$and" else AnyOf(parts, pointer)


def _together(parts: list[Node], pointer: str) -> Node:
    return parts[0] if len(parts) == 1 else All(tuple(parts), pointer)


def _is_operator(name: str) -> bool:
    return name.startswith("$") and not name.startswith("$$")
