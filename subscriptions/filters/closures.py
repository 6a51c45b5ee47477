"""A filter's tree compiled to one function, once for each version of its owner."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from subscriptions.filters.operators import (
    ValueTest,
    Verdict,
    all_of,
    any_of,
    clause,
    fields,
    negated,
)
from subscriptions.filters.tree import (
    All,
    AnyOf,
    At,
    Clause,
    Fields,
    Filter,
    Node,
    Not,
    Scalar,
)
from subscriptions.filters.view import READERS, View

ViewTest = Callable[[View], Verdict]


@dataclass(frozen=True, slots=True)
class Index:
    """The first ``$eq`` or ``$in`` that must hold: no record passes without one of the values.

    path  the root, then names below it
    """

    path: tuple[str, ...]
    operator: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """A compiled filter.

    run          the verdict on one record; only True lets it pass. Raises Undecodable when the
                 verdict hangs on a value that cannot be decoded
    needs_value  whether ``run`` may look into the value
    """

    run: ViewTest
    needs_value: bool
    index: Index | None


def compile_filter(parsed: Filter) -> Test:
    """Return the filter as one function."""
    node = parsed.node
    return Test(_view_test(node), needs_value(node), next(_indexes(node, ()), None))


def needs_value(node: Node) -> bool:
    """Return whether a node of a filter, above its roots, looks into the value."""
    match node:
        case All(parts) | AnyOf(parts):
            return any(needs_value(part) for part in parts)
        case Not(part):
            return needs_value(part)
        case At(root):
            return root == "value"
        case Clause() | Fields():
            return False


def _view_test(node: Node) -> ViewTest:
    """Return the test of a filter or one of its members.

    What looks into the value comes last: the order changes no verdict, and may spare the decoding.
    """
    match node:
        case All(parts):
            return all_of([_view_test(part) for part in sorted(parts, key=needs_value)])
        case AnyOf(parts):
            return any_of([_view_test(part) for part in sorted(parts, key=needs_value)])
        case Not(part):
            return negated(_view_test(part))
        case At(root, condition):
            return _at(root, _value_test(condition))
        case Clause() | Fields():
            raise AssertionError("conditions stand under a root")


def _value_test(node: Node) -> ValueTest:
    match node:
        case All(parts):
            return all_of([_value_test(part) for part in parts])
        case AnyOf(parts):
            return any_of([_value_test(part) for part in parts])
        case Not(part):
            return negated(_value_test(part))
        case Fields(members):
            return fields([(name, _value_test(inner)) for name, inner in members])
        case Clause(operator, operand):
            return clause(operator, operand)
        case At():
            raise AssertionError("a root stands in no condition")


def _at(root: str, test: ValueTest) -> ViewTest:
    read = READERS[root]
    return lambda view: test(read(view))


def _indexes(node: Node, path: tuple[str, ...]) -> Iterator[Index]:
    """Yield what must hold, in the order written: nothing below ``$or`` and ``$not``."""
    match node:
        case All(parts):
            for part in parts:
                yield from _indexes(part, path)
        case At(root, condition):
            yield from _indexes(condition, (root,))
        case Fields(members):
            for name, inner in members:
                yield from _indexes(inner, (*path, name))
        case Clause("$in", tuple() as operands):
            yield Index(path, "$in", operands)
        case Clause("$eq", operand) if not isinstance(operand, tuple):
            yield Index(path, "$eq", (operand,))
        case Clause() | AnyOf() | Not():
            return
