"""Tests of one value, as closures: what each operator means.

A test answers True, False or None. None says unknown: the value is missing, or of a kind that the
operator cannot compare. A list passes when one of its elements does, and lists inside it are not
opened. So a closure recurses into the filter only, and no record can exhaust the stack.
"""

import operator
from collections.abc import Callable, Sequence
from types import NoneType
from typing import TypeVar

from subscriptions.filters.tree import Operand, Scalar
from subscriptions.filters.view import MISSING

Verdict = bool | None
ValueTest = Callable[[object], Verdict]
Subject = TypeVar("Subject")

_COMPARE: dict[str, Callable[..., bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_NUMBERS = frozenset({int, float})
_TEXTS = frozenset({str})
_NOT_BOOLEAN = frozenset({str, int, float, NoneType})
_INDEX_DIGITS = 9
"""More digits are no index of a list that fits a record."""


def all_of(tests: Sequence[Callable[[Subject], Verdict]]) -> Callable[[Subject], Verdict]:
    """Return the conjunction: one False decides, else one None does."""

    def run(subject: Subject) -> Verdict:
        verdict: Verdict = True
        for test in tests:
            one = test(subject)
            if one is False:
                return False
            if one is None:
                verdict = None
        return verdict

    return run


def any_of(tests: Sequence[Callable[[Subject], Verdict]]) -> Callable[[Subject], Verdict]:
    """Return the disjunction: one True decides, else one None does."""

    def run(subject: Subject) -> Verdict:
        verdict: Verdict = False
        for test in tests:
            one = test(subject)
            if one is True:
                return True
            if one is None:
                verdict = None
        return verdict

    return run


def negated(test: Callable[[Subject], Verdict]) -> Callable[[Subject], Verdict]:
    """Return the negation; unknown stays unknown."""

    def run(subject: Subject) -> Verdict:
        verdict = test(subject)
        return None if verdict is None else not verdict

    return run


def clause(name: str, operand: Operand) -> ValueTest:
    """Return the test of one operator with an operand that the parser let through."""
    if isinstance(operand, tuple):
        within = _over_list(_within(operand))
        return within if name == "$in" else negated(within)
    match name:
        case "$eq":
            return _equal(operand)
        case "$neq":
            return negated(_equal(operand))
        case "$exist":
            return lambda value: (value is not MISSING) is operand
        case "$startsWith" | "$endsWith":
            return _over_list(_affix(name, str(operand)))
    return _ordered(_COMPARE[name], operand)


def fields(members: Sequence[tuple[str, ValueTest]]) -> ValueTest:
    """Return the test of an object's members.

    On a list, names made of digits are indices; the others must hold together for one element.
    """
    on_object = _on_object(members)
    on_list = _on_list(members)

    def run(value: object) -> Verdict:
        return on_list(value) if isinstance(value, list) else on_object(value)

    return run


def one_of(test: ValueTest, elements: Sequence[object]) -> Verdict:
    """Return whether the test passes for one element; None where there are none."""
    if not elements:
        return None
    verdict: Verdict = False
    for element in elements:
        one = test(element)
        if one is True:
            return True
        if one is None:
            verdict = None
    return verdict


def _over_list(on_scalar: ValueTest) -> ValueTest:
    def run(value: object) -> Verdict:
        return one_of(on_scalar, value) if isinstance(value, list) else on_scalar(value)

    return run


def _equal(operand: Scalar) -> ValueTest:
    """Return equality within one JSON type: ``1`` is ``1.0``, ``true`` is not ``1``."""
    kinds = _NUMBERS if type(operand) in _NUMBERS else frozenset({type(operand)})

    def on_scalar(value: object) -> Verdict:
        if type(value) in kinds:
            return value == operand
        return None if value is MISSING else False

    def run(value: object) -> Verdict:
        if type(value) in kinds:  # the common case, without a second call
            return value == operand
        return one_of(on_scalar, value) if isinstance(value, list) else on_scalar(value)

    return run


def _within(operands: tuple[Scalar, ...]) -> ValueTest:
    """Return membership by equality; booleans apart, because Python takes True for 1."""
    booleans = frozenset(value for value in operands if type(value) is bool)
    others = frozenset(value for value in operands if type(value) is not bool)

    def on_scalar(value: object) -> Verdict:
        kind = type(value)
        if kind in _NOT_BOOLEAN:
            return value in others
        if kind is bool:
            return value in booleans
        return None if value is MISSING else False

    return on_scalar


def _ordered(compare: Callable[..., bool], operand: Scalar) -> ValueTest:
    """Return an order among numbers or among texts (by code point); unknown between the two."""
    kinds = _TEXTS if type(operand) is str else _NUMBERS

    def on_scalar(value: object) -> Verdict:
        return compare(value, operand) if type(value) in kinds else None

    return _over_list(on_scalar)


def _affix(name: str, operand: str) -> ValueTest:
    method = str.startswith if name == "$startsWith" else str.endswith

    def on_scalar(value: object) -> Verdict:
        return method(value, operand) if isinstance(value, str) else None

    return on_scalar


def _on_object(members: Sequence[tuple[str, ValueTest]]) -> ValueTest:
    if len(members) == 1:
        return _member(*members[0])
    return all_of([_member(name, test) for name, test in members])


def _member(name: str, test: ValueTest) -> ValueTest:
    def run(value: object) -> Verdict:
        return test(value.get(name, MISSING) if isinstance(value, dict) else MISSING)

    return run


def _on_list(members: Sequence[tuple[str, ValueTest]]) -> Callable[[list[object]], Verdict]:
    indexed = [(int(name), test) for name, test in members if is_index(name)]
    named = [(name, test) for name, test in members if not is_index(name)]
    on_element = _on_object(named) if named else None

    def run(value: list[object]) -> Verdict:
        verdicts = [
            test(value[index] if index < len(value) else MISSING) for index, test in indexed
        ]
        if on_element is not None:
            verdicts.append(one_of(on_element, value))
        return conjunction(verdicts)

    return run


def is_index(name: str) -> bool:
    """Return whether a field's name picks an element where it meets a list."""
    return name.isascii() and name.isdigit() and len(name) <= _INDEX_DIGITS


def conjunction(verdicts: Sequence[Verdict]) -> Verdict:
    """Return what these verdicts come to where all must hold."""
    if False in verdicts:
        return False
    return None if None in verdicts else True


def disjunction(verdicts: Sequence[Verdict]) -> Verdict:
    """Return what these verdicts come to where one must hold."""
    if True in verdicts:
        return True
    return None if None in verdicts else False
