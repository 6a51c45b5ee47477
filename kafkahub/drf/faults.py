"""Faults of an input: where they are, what they are called, which name was meant."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kafkahub.errors import Fault, Invalid

MAX_FAULTS = 100
"""Faults told of one input: enough to mend it, and a hostile body buys no huge answer."""
MAX_COMPARED = 64
"""Characters of a name that is compared with the known ones; longer ones are no typing error."""
MAX_SHOWN = 100
"""Characters of a refused value or name that a text repeats."""


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) to a place; "" without parts."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def below(fault: Fault, *parts: str | int) -> Fault:
    """Return ``fault``, found inside the value at ``parts``, as seen from outside."""
    return replace(fault, pointer=pointer(*parts) + fault.pointer)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, or None."""
    if len(name) > MAX_COMPARED:
        return None
    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else None


def shown(text: str) -> str:
    """Return ``text`` quoted and short enough for a sentence."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")


def unknown(code: str, name: str, known: Sequence[str], *, place: str = "") -> Fault:
    """Return the fault of a name that is not among the known ones.

    code   ``unknown_field`` or ``unknown_parameter``
    place  JSON pointer to the member; "" for a parameter
    """
    more: dict[str, object] = {} if place else {"parameter": name[:MAX_SHOWN]}
    hint = ""
    if (meant := nearest(name, known)) is not None:
        more["nearest"] = meant
        hint = f", did you mean {shown(meant)}?"
    return Fault(place, code, f"{shown(name)} is not known here{hint or '.'}", more)


def refuse(found: Sequence[Fault]) -> None:
    """Raise Invalid when there are faults."""
    if found:
        raise Invalid(found[:MAX_FAULTS])


class Found:
    """Faults of the parts of one input; their subject is kept where all have the same one."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._subjects: set[str] = set()

    def add(self, new: Iterable[Fault], *parts: str | int, subject: str | None = None) -> None:
        """Note faults of the value at ``parts``; ``subject`` is the code they share above."""
        for fault in new:
            self.faults.append(below(fault, *parts))
            self._subjects.add(subject or fault.code)

    def take(self, error: Invalid, *parts: str | int) -> None:
        """Note what ``error`` found wrong with the value at ``parts``."""
        self.add(error.faults, *parts, subject=error.instance_code)

    def refuse(self) -> None:
        """Raise Invalid when there are faults."""
        if self.faults:
            only = len(self._subjects) == 1
            code = next(iter(self._subjects)) if only else Invalid.code
            raise Invalid(self.faults[:MAX_FAULTS], code=code)
