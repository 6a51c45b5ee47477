"""Operands of conditions: which scalar fits which operator and root."""

import math
import re
from datetime import datetime

from subscriptions.filters.faults import Faults
from subscriptions.filters.tree import ORDERS, TEXTS, Scalar, step

NUMBER_MAX = 2**63
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_scalar(value: object, pointer: str, *, root: str, faults: Faults) -> Scalar:
    """Return the scalar that is compared with; note it when it is none, or too large."""
    match value:
        case str():
            faults.check_text(value, pointer)
            return _moment(value, pointer, faults) if root == "timestamp" else value
        case bool() | None:
            return value
        case int() | float():
            return _number(value, pointer, faults)
    faults.note(pointer, "wrong_operand", "a string, a number, true, false or null stands here")
    return None


def read_operand(
    operator: str, value: object, pointer: str, *, root: str, faults: Faults
) -> Scalar:
    """Return the operand of an operator that takes one scalar."""
    if isinstance(value, list):
        text = f'{operator} takes one scalar; write {{"$in": […]}} for one of several'
        faults.note(pointer, "array_literal", text)
        return None
    if fault := _misfit(operator, value, root):
        faults.note(pointer, "wrong_operand", fault)
        return None
    return read_scalar(value, pointer, root=root, faults=faults)


def read_list(value: object, pointer: str, *, root: str, faults: Faults) -> tuple[Scalar, ...]:
    """Return the members of ``$in`` or ``$nin``."""
    if not isinstance(value, list):
        faults.note(pointer, "wrong_operand", "a list of scalars stands here")
        return ()
    if not value:
        faults.note(pointer, "empty_list", "the list needs at least one member")
    faults.count_items(len(value), pointer)
    return tuple(
        read_scalar(item, step(pointer, index), root=root, faults=faults)
        for index, item in enumerate(value)
    )


def unix_ms(text: str) -> int | float | None:
    """Return the Unix time in ms of an RFC 3339 text; None for any other text.

    An int where it is a whole number of ms, as Kafka's own times are.
    """
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        microseconds = round(moment.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None
    whole, rest = divmod(microseconds, 1_000)
    return microseconds / 1_000 if rest else whole


def _misfit(operator: str, value: object, root: str) -> str | None:
    """Return what is wrong with this kind of operand for the operator, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_text = isinstance(value, str)
    if operator == "$exist":
        return None if isinstance(value, bool) else "$exist takes true or false"
    if operator in ORDERS and not (is_number or is_text):
        return f"{operator} takes a number or a string"
    if operator in TEXTS and not is_text:
        return f"{operator} takes a string"
    if operator in TEXTS and root in {"partition", "timestamp"}:
        return f"{root} is a number, which {operator} never fits"
    return None


def _moment(text: str, pointer: str, faults: Faults) -> int | float:
    moment = unix_ms(text)
    if moment is None:
        hint = "this is no time; write Unix ms, or RFC 3339 such as 2026-01-31T12:00:00Z"
        faults.note(pointer, "wrong_operand", hint)
        return 0
    return moment


def _number(value: float, pointer: str, faults: Faults) -> int | float:
    is_whole = isinstance(value, int)
    if (is_whole and abs(value) > NUMBER_MAX) or not (is_whole or math.isfinite(value)):
        text = "whole numbers go from -2^63 to 2^63, others must be finite"
        faults.note(pointer, "wrong_operand", text)
    return value
