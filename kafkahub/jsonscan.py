"""One pass over a JSON text: what is wrong with it, and where things stand in it. Pure."""

import json
import re
from collections.abc import Iterable
from typing import Final, NamedTuple, NoReturn

from kafkahub.errors import Fault

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
"""Integers that PostgreSQL and the filters can hold."""

MAX_DIGITS = 20
"""Characters of an integer of 64 bit at most; longer ones are not even converted."""

MAX_FAULTS = 20
"""Faults named at once at most: the answer must not grow with the body."""

MAX_NAME = 100
"""Characters of a member's name that a pointer shows at most, for the same reason."""

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u([0-9a-fA-F]{4}))')
_LOW_HALF = re.compile(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[-+.]*[0-9A-Za-z_][0-9A-Za-z_.+-]*")
_NOT_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity", "+Infinity", "-NaN"})
_LITERALS = frozenset({"true", "false", "null"})
_CUT = "The text ends too early; the rest is missing."
_HALVES = range(0xD800, 0xE000)
_HIGH_HALVES = range(0xD800, 0xDC00)
"""UTF-16 units that make a character only in pairs, and those that come first in one."""


class Place(NamedTuple):
    """Where something stands: ``line`` and ``column`` from 1 in characters, ``offset`` in bytes."""

    line: int
    column: int
    offset: int


def place_of(text: str, at: int) -> Place:
    """Return where the character ``at`` stands, or the end of the text."""
    line_start = text.rfind("\n", 0, at) + 1
    return Place(text.count("\n", 0, at) + 1, at - line_start + 1, len(text[:at].encode()))


class _StopScan(Exception):
    """What follows cannot be understood any more, or enough faults are known."""


class Scan:
    """One pass over a text that notes faults and the places of what was asked for.

    It makes no values. It calls itself for inner arrays and objects, never deeper than
    ``max_depth``.
    """

    def __init__(self, text: str, max_depth: int, wanted: frozenset[str] = frozenset()) -> None:
        self.faults: list[Fault] = []
        self.places: dict[str, Place] = {}
        self._text = text
        self._max_depth = max_depth
        self._wanted = wanted
        self._at = 0
        self._path: list[str] = []

    def run(self) -> None:
        """Scan the whole text."""
        try:
            self._skip_space()
            if self._at == len(self._text):
                self._stop("The body is empty; send a JSON value.")
            self._mark(self._at)
            self._value(0)
            self._skip_space()
            if self._at < len(self._text):
                self._stop("There is more text after the end of the JSON value; remove it.")
        except _StopScan:
            return

    def _value(self, depth: int) -> None:
        match self._peek():
            case "{" | "[" if depth == self._max_depth:
                self._stop(
                    f"Arrays and objects may stand {self._max_depth} deep in each other at most.",
                    code="too_deep",
                )
            case "{":
                self._object(depth + 1)
            case "[":
                self._array(depth + 1)
            case '"':
                self._string()
            case _:
                self._word()

    def _object(self, depth: int) -> None:
        names: set[str] = set()
        self._at += 1
        if self._closes("}"):
            return
        while True:
            self._member(names, depth)
            if self._closes("}"):
                return
            self._expect(",", "A comma or } is missing here.")

    def _member(self, names: set[str], depth: int) -> None:
        if self._peek() != '"':
            self._stop("The name of a member is missing here; it must be in double quotes.")
        start = self._at
        self._string()  # what is wrong inside of a name is noted at the object that has it
        name = json.loads(self._text[start : self._at], strict=False)
        self._path.append(name)
        self._mark(start)
        if name in names:
            self._note("This member stands here twice; keep one.", start, "duplicate_key")
        names.add(name)
        self._expect(":", "A colon is missing here.")
        self._value(depth)
        self._path.pop()

    def _array(self, depth: int) -> None:
        self._at += 1
        if self._closes("]"):
            return
        index = 0
        while True:
            self._path.append(str(index))
            self._skip_space()
            self._mark(self._at)
            self._value(depth)
            self._path.pop()
            index += 1
            if self._closes("]"):
                return
            self._expect(",", "A comma or ] is missing here.")

    def _string(self) -> None:
        self._at += 1
        while True:
            self._at = self._end_of(_PLAIN)
            match self._text[self._at : self._at + 1]:
                case '"':
                    self._at += 1
                    return
                case "\\":
                    self._escape()
                case "":
                    self._stop("The text ends inside of a string.")
                case _:
                    self._note("A control character must be written as an escape.", self._at)
                    self._at += 1

    def _escape(self) -> None:
        start = self._at
        found = _ESCAPE.match(self._text, start)
        if found is None:
            self._stop(
                'This escape is unknown; there are \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX.'
            )
        self._at = found.end()
        unit = int(found[1] or "20", 16)
        if unit == 0:
            self._note("NUL is not taken in strings and names; remove it.", start)
        elif unit in _HIGH_HALVES and (low := _LOW_HALF.match(self._text, self._at)):
            self._at = low.end()
        elif unit in _HALVES:
            self._note("Half of a surrogate pair is no character; send both halves.", start)

    def _word(self) -> None:
        start = self._at
        found = _WORD.match(self._text, start)
        if found is None:
            self._stop("A value is missing here." if start < len(self._text) else _CUT)
        self._at = found.end()
        word = found[0]
        if word in _NOT_NUMBERS:
            self._note("NaN and Infinity are not JSON; send null or a string.", start)
        elif number := _NUMBER.fullmatch(word):
            self._number(number, start)
        elif word not in _LITERALS:
            self._at = start
            self._stop("This is no JSON value; text needs double quotes, numbers no extra zero.")

    def _number(self, number: re.Match[str], start: int) -> None:
        if number[1] or number[2]:
            if abs(float(number[0])) == float("inf"):
                self._note("This number is past the range of a double.", start, "out_of_range")
        elif len(number[0]) > MAX_DIGITS or not INT_MIN <= int(number[0]) <= INT_MAX:
            text = "This integer does not fit into 64 bits; send it as a string."
            self._note(text, start, "out_of_range")

    def _peek(self) -> str:
        self._skip_space()
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        self._at = self._end_of(_SPACE)

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        """Return where a pattern ends that matches anything, be it nothing, from here."""
        found = pattern.match(self._text, self._at)
        return found.end() if found else self._at

    def _closes(self, bracket: str) -> bool:
        if self._peek() != bracket:
            return False
        self._at += 1
        return True

    def _expect(self, sign: str, message: str) -> None:
        if self._peek() != sign:
            self._stop(message if self._at < len(self._text) else _CUT)
        self._at += 1

    def _mark(self, at: int) -> None:
        if self._wanted and (pointer := _pointer(self._path)) in self._wanted:
            self.places.setdefault(pointer, place_of(self._text, at))

    def _stop(self, message: str, *, code: str = "invalid_json") -> NoReturn:
        self._note(message, self._at, code)
        raise _StopScan

    def _note(self, message: str, at: int, code: str = "invalid_json") -> None:
        # A lone half of a pair could not be written into any answer, a NUL into no table.
        shown = (name[:MAX_NAME].encode(errors="replace").decode() for name in self._path)
        pointer = _pointer(name.replace("\0", "?") for name in shown)
        place = place_of(self._text, at)
        self.faults.append(Fault(pointer, code, message, place._asdict()))
        if len(self.faults) == MAX_FAULTS:
            raise _StopScan


def _pointer(path: Iterable[str]) -> str:
    """Return the RFC 6901 pointer of a path."""
    return "".join(f"/{name.replace('~', '~0').replace('/', '~1')}" for name in path)
