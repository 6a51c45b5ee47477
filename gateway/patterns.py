"""Topic patterns of consumers: a small part of regular expressions, matched in linear time (pure).

Literals, escapes, ``.``, ``[…]``, ``*`` and ``+`` after a dot, and ``|`` between whole patterns.
No regex engine: a partner's expression could keep one busy for ever.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAX_PATTERN: Final = 200
_SPECIAL: Final = frozenset("(){}*+?^$|[]")
_META: Final = frozenset("\\.()[]{}*+?^$|-")
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
"""Every character that a topic's name can have, so that a set is never more than these."""


class BadPattern(ValueError):
    """The text is no pattern that is taken; the message says why."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One character of a name; ``repeats``: any number of them, and none is enough."""

    taken: frozenset[str]
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a name must be, as alternatives of steps."""

    alternatives: Sequence[Sequence[_Step]]

    def matches(self, name: str) -> bool:
        """Return whether the whole name matches."""
        return any(_matches(steps, name) for steps in self.alternatives)


def compile_pattern(text: str) -> Pattern:
    """Return a pattern. Raises BadPattern."""
    if not 0 < len(text) <= MAX_PATTERN:
        raise BadPattern(f"a topic pattern has 1 to {MAX_PATTERN} characters")
    alternatives: list[list[_Step]] = [[]]
    for step in _steps(text):
        if step is None:
            alternatives.append([])
        else:
            alternatives[-1] += step
    return Pattern(tuple(tuple(steps) for steps in alternatives))


def _steps(text: str) -> Iterator[list[_Step] | None]:
    """Yield steps; None between two alternatives."""
    at = 0
    while at < len(text):
        sign = text[at]
        at += 1
        if sign == "|":
            yield None
        elif sign == "." and text[at : at + 1] in ("*", "+"):
            anything = _Step(_NAME, repeats=True)
            yield [anything] if text[at] == "*" else [_Step(_NAME), anything]
            at += 1
        elif sign == ".":
            yield [_Step(_NAME)]
        elif sign == "[":
            taken, at = _set(text, at)
            yield [_Step(taken)]
        elif sign == "\\":
            yield [_Step(frozenset(_escaped(text, at)))]
            at += 1
        elif sign in _SPECIAL:
            raise BadPattern(f"{sign!r} is not taken here; there are . .* .+ […] | and escapes")
        else:
            yield [_Step(frozenset(sign))]


def _escaped(text: str, at: int) -> str:
    if text[at : at + 1] not in _META or at >= len(text):
        raise BadPattern("an escape stands before a special character only")
    return text[at]


def _set(text: str, at: int) -> tuple[frozenset[str], int]:
    """Return the characters of a set that opened before ``at``, and where it ends."""
    is_negated = text[at : at + 1] == "^"
    at += is_negated
    taken: set[str] = set()
    while text[at : at + 1] != "]":
        if at >= len(text):
            raise BadPattern("a set is not closed")
        first, at = _member(text, at)
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("]", ""):
            last, at = _member(text, at + 1)
            if last < first:
                raise BadPattern("a range in a set goes backwards")
            taken.update(sign for sign in _NAME if first <= sign <= last)
        else:
            taken.add(first)
    if not taken:
        raise BadPattern("a set is empty")
    return frozenset(_NAME - taken if is_negated else taken), at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\":
        return _escaped(text, at + 1), at + 2
    if text[at] == "[":
        raise BadPattern("sets do not stand in each other")
    return text[at], at + 1


def _matches(steps: Sequence[_Step], name: str) -> bool:
    """Walk all ways at once: steps times characters at most, whatever the pattern."""
    at = _skips(steps, {0})
    for sign in name:
        after = set()
        for place in at:
            if place < len(steps) and sign in steps[place].taken:
                after.add(place if steps[place].repeats else place + 1)
        at = _skips(steps, after)
        if not at:
            return False
    return len(steps) in at


def _skips(steps: Sequence[_Step], places: set[int]) -> set[int]:
    """Add the places that are reached by taking nothing."""
    found = set(places)
    for start in places:
        place = start
        while place < len(steps) and steps[place].repeats:
            place += 1
            found.add(place)
    return found
