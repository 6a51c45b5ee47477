"""Why a filter is true, false or missing for one record, clause by clause.

Walks the tree the plain way, for people who ask; ``closures`` is the fast way, for records. The
meaning of one operator on one value is the same code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from subscriptions.filters.operators import Verdict, clause, conjunction, disjunction, is_index
from subscriptions.filters.tree import All, AnyOf, At, Clause, Fields, Filter, Node, Not
from subscriptions.filters.view import MISSING, View

Result = Literal["true", "false", "missing"]


@dataclass(frozen=True, slots=True)
class Step:
    """One node, its verdict on one record, and what that rests on.

    value  what a clause looked at; ``MISSING`` where there was nothing, and above clauses
    """

    node: Node
    verdict: Verdict
    parts: tuple["Step", ...] = ()
    value: object = MISSING


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict of a filter on one record.

    clauses  pointer and result of each clause, in the order written
    culprit  the first node that keeps the filter from being true; None when it is true
    """

    result: Result
    clauses: tuple[tuple[str, Result], ...]
    culprit: Step | None

    def as_json(self) -> dict[str, object]:
        """Return the members that the control API shows of it."""
        shown: dict[str, object] = {"result": self.result}
        if self.culprit is not None:
            shown["first_false"] = _as_json(self.culprit)
        shown["clauses"] = [
            {"pointer": pointer, "result": result} for pointer, result in self.clauses
        ]
        return shown


def explain(parsed: Filter, view: View) -> Explanation:
    """Return why the filter lets the record of ``view`` pass, or does not.

    Every clause is looked at, so Undecodable is raised where ``closures`` may not need the value.
    """
    top = _in_filter(parsed.node, view)
    clauses = tuple((step.node.pointer, result(step.verdict)) for step in _clauses(top))
    culprit = None if top.verdict is True else _culprit(top)
    return Explanation(result(top.verdict), clauses, culprit)


def result(verdict: Verdict) -> Result:
    """Return the public name of a verdict."""
    if verdict is None:
        return "missing"
    return "true" if verdict else "false"


def _in_filter(node: Node, view: View) -> Step:
    match node:
        case All(parts) | AnyOf(parts):
            return _joined(node, [_in_filter(part, view) for part in parts])
        case Not(part):
            return _joined(node, [_in_filter(part, view)])
        case At(root, condition):
            return _joined(node, [_in_value(condition, view.root(root))])
        case Clause() | Fields():
            raise AssertionError("conditions stand under a root")


def _in_value(node: Node, value: object) -> Step:
    match node:
        case All(parts) | AnyOf(parts):
            return _joined(node, [_in_value(part, value) for part in parts])
        case Not(part):
            return _joined(node, [_in_value(part, value)])
        case Clause(operator, operand):
            return Step(node, clause(operator, operand)(value), (), value)
        case Fields():
            return _in_list(node, value) if isinstance(value, list) else _in_object(node, value)
        case At():
            raise AssertionError("a root stands in no condition")


def _joined(node: Node, parts: Sequence[Step]) -> Step:
    verdicts = [part.verdict for part in parts]
    match node:
        case AnyOf():
            verdict = disjunction(verdicts)
        case Not():
            verdict = None if verdicts[0] is None else not verdicts[0]
        case _:
            verdict = conjunction(verdicts)
    return Step(node, verdict, tuple(parts))


def _in_object(node: Fields, value: object) -> Step:
    members = value if isinstance(value, dict) else {}
    return _joined(
        node, [_in_value(inner, members.get(name, MISSING)) for name, inner in node.members]
    )


def _in_list(node: Fields, elements: list[object]) -> Step:
    """Return the step of a list: fields by index, the others together in one element.

    The element shown is the first that decides: the one that passes, or else the first whose
    verdict is that of all.
    """
    parts = [
        _in_value(inner, elements[int(name)] if int(name) < len(elements) else MISSING)
        for name, inner in node.members
        if is_index(name)
    ]
    named = tuple((name, inner) for name, inner in node.members if not is_index(name))
    if named:
        parts.append(_in_elements(Fields(named, node.pointer), elements))
    return _joined(node, parts)


def _in_elements(node: Fields, elements: list[object]) -> Step:
    if not elements:
        return Step(node, None, _in_object(node, MISSING).parts)
    steps = [_in_object(node, element) for element in elements]
    verdicts = [step.verdict for step in steps]
    return steps[verdicts.index(disjunction(verdicts))]


def _clauses(step: Step) -> Iterator[Step]:
    if isinstance(step.node, Clause):
        yield step
    for part in step.parts:
        yield from _clauses(part)


def _culprit(step: Step) -> Step:
    """Return the first node below that has this step's verdict and rests on no other.

    A ``$not`` is its own culprit: what stands in it is true.
    """
    if isinstance(step.node, Not):
        return step
    for part in step.parts:
        if part.verdict is step.verdict:
            return _culprit(part)
    return step


def _as_json(culprit: Step) -> dict[str, object]:
    shown: dict[str, object] = {"pointer": culprit.node.pointer}
    if culprit.value is not MISSING:
        shown["value"] = culprit.value
    if isinstance(culprit.node, Clause):
        operand = culprit.node.operand
        shown["operand"] = list(operand) if isinstance(operand, tuple) else operand
    return shown
