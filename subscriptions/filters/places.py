"""Filters that look at partitions, which a grant that hides records does not show."""

from collections.abc import Iterator

from kafkahub.errors import Fault, Invalid
from subscriptions.filters.tree import All, AnyOf, At, Clause, Fields, Filter, Node, Not

PLACES = frozenset({"partition"})


def refuse_places(parsed: Filter, at: str = "") -> None:
    """Raise Invalid ``invalid_filter`` where a filter looks at a place.

    at  pointer of the filter in the body it came in
    """
    text = "The grant hides records, so nothing may be asked about partitions."
    faults = [Fault(at + pointer, "not_allowed_by_grant", text) for pointer in _places(parsed.node)]
    if faults:
        raise Invalid(faults, code="invalid_filter")


def _places(node: Node) -> Iterator[str]:
    match node:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _places(part)
        case Not(part):
            yield from _places(part)
        case At(root, _, pointer):
            if root in PLACES:
                yield pointer
        case Clause() | Fields():
            return
