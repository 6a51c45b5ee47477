"""What is wrong with a filter: collected in one walk, each fault with its place."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from kafkahub.errors import Fault
from subscriptions.filters.tree import All

FAULTS_MAX = 50
"""Faults told at once: a hostile filter must not make a large answer."""

_ALIASES = {
    "data": "value",
    "payload": "value",
    "body": "value",
    "header": "headers",
    "time": "timestamp",
    "$ne": "$neq",
    "$exists": "$exist",
}
"""What people write by habit of the envelope or of other languages."""
_NEAR = 0.65
"""Likeness from which a known name is suggested; at 0.6, ``$regex`` would be taken for ``$gte``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a filter may be; what is over any of these is refused.

    filter_bytes  of the filter as compact JSON
    depth         objects and lists inside each other, the filter itself included
    conditions    operators that compare something, scalars included
    branches      members of one ``$and`` or ``$or``
    """

    filter_bytes: int = 16 * 1024
    depth: int = 16
    conditions: int = 200
    branches: int = 50
    list_items: int = 1_000
    list_items_in_all: int = 5_000
    text_characters: int = 1_024


class Faults:
    """Notes faults and counts what is limited.

    at  pointer of the filter in the body it came in; put before every place
    """

    def __init__(self, limits: Limits, at: str) -> None:
        self.limits = limits
        self.found: list[Fault] = []
        self._at = at
        self._conditions = 0
        self._list_items = 0

    def note(self, pointer: str, code: str, text: str) -> All:
        """Note a fault; return a node to go on with, which will never run."""
        self.found.append(Fault(self._at + pointer, code, self._sentence(pointer, text)))
        return All((), pointer)

    def unknown(self, pointer: str, code: str, name: str, known: Sequence[str]) -> All:
        """Note a name that is none of ``known``, with the one that was meant, if any is near."""
        nearest = _nearest(name, known)
        written = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        hint = f'did you mean "{nearest}"?' if nearest else f"there are {', '.join(known)}"
        text = f'{code.replace("_", " ")} "{written}", {hint}'
        message = self._sentence(pointer.rpartition("/")[0], text)
        more: dict[str, object] = {"nearest": nearest} if nearest else {"allowed": list(known)}
        self.found.append(Fault(self._at + pointer, code, message, more))
        return All((), pointer)

    def too_deep(self, pointer: str) -> All:
        """Note that nothing may stand so deep."""
        text = f"more than {self.limits.depth} objects and lists inside each other"
        return self.note(pointer, "too_deep", text)

    def check_text(self, text: str, pointer: str) -> None:
        """Note a name or operand that is too long."""
        limit = self.limits.text_characters
        if len(text) > limit:
            self.note(pointer, "too_long", f"{len(text)} characters; {limit} are allowed")

    def count_condition(self, pointer: str) -> None:
        """Count one condition; the first one too many is told, once."""
        self._conditions += 1
        limit = self.limits.conditions
        if self._conditions == limit + 1:
            self.note(pointer, "too_many", f"more than {limit} conditions in the filter")

    def count_items(self, count: int, pointer: str) -> None:
        """Count the members of one ``$in`` or ``$nin``."""
        limit = self.limits.list_items
        if count > limit:
            self.note(pointer, "too_many", f"{count} members; {limit} are allowed in one list")
        before, self._list_items = self._list_items, self._list_items + count
        limit = self.limits.list_items_in_all
        if before <= limit < self._list_items:
            self.note(pointer, "too_many", f"more than {limit} members in all lists together")

    def _sentence(self, pointer: str, text: str) -> str:
        place = (self._at + pointer).strip("/").replace("/", ".")
        return f"{place}: {text}" if place else text


def _nearest(name: str, known: Sequence[str]) -> str | None:
    alias = _ALIASES.get(name)
    if alias in known:
        return alias
    close = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    return close[0] if close else None
