"""JSON from outside: bytes to values, or every fault with its place.

Pure. msgspec decodes; what it says nothing about is looked for in its result: doubled members,
depth, NUL, integers past 64 bit. Only when something is wrong, or may be, the text is scanned
again in Python to say what and where.
"""

import re
from collections.abc import Collection, Mapping

import msgspec

from kafkahub.errors import Fault, Invalid
from kafkahub.jsonscan import INT_MAX, INT_MIN, Place, Scan, place_of

MAX_DEPTH = 64
"""Arrays and objects inside each other at most."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""NUL, or half of a surrogate pair, whose other half may be missing."""
_MARKS = (
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\xfe\xff", "UTF-16"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xef\xbb\xbf", "UTF-8 with a byte order mark"),
)


def loads(body: bytes, *, max_depth: int = MAX_DEPTH) -> object:
    """Return the value that ``body`` holds.

    Raises Invalid with every fault that was found; each has ``pointer`` and, in ``more``, ``line``,
    ``column`` and ``offset``. Codes: ``invalid_json``, ``duplicate_key``, ``too_deep`` and
    ``out_of_range``.
    """
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        faults = find_faults(body, max_depth=max_depth)
        raise Invalid(
            faults or [Fault("", "invalid_json", f"This is not JSON: {error}.")]
        ) from None
    if not _is_plain(value, body, max_depth) and (faults := find_faults(body, max_depth=max_depth)):
        raise Invalid(faults)
    return value


def find_faults(body: bytes, *, max_depth: int = MAX_DEPTH) -> list[Fault]:
    """Return everything that is wrong with ``body``, in its order; empty when nothing is."""
    if fault := _encoding_fault(body):
        return [fault]
    scan = Scan(body.decode(), max_depth)
    scan.run()
    return scan.faults


def find_places(body: bytes, pointers: Collection[str]) -> Mapping[str, Place]:
    """Return where the things stand that these JSON pointers name.

    The place of a member is that of its name. What is not there is missing from the answer.
    For faults that are found in decoded values; ``body`` must have passed ``loads``.
    """
    scan = Scan(body.decode(), MAX_DEPTH, frozenset(pointers))
    scan.run()
    return scan.places


def _is_plain(value: object, body: bytes, max_depth: int) -> bool:
    """Return whether nothing in a decoded body asks for a second look.

    Level by level, so that no depth costs stack. Every member has one colon outside of strings,
    and a doubled one is decoded once: the two counts differ.
    """
    level, depth, members = [value], 0, 0
    while level:
        inner: list[object] = []
        is_deeper = False
        for item in level:
            if isinstance(item, dict):
                is_deeper = True
                members += len(item)
                inner.extend(item.values())
            elif isinstance(item, list):
                is_deeper = True
                inner.extend(item)
            elif type(item) is int and not INT_MIN <= item <= INT_MAX:
                return False
        depth += is_deeper
        if depth > max_depth:
            return False
        level = inner
    return _count_members(body, members) == members and _SUSPECT.search(body) is None


def _count_members(body: bytes, expected: int) -> int:
    count = body.count(b":")
    return count if count == expected else _STRING.sub(b"", body).count(b":")


def _encoding_fault(body: bytes) -> Fault | None:
    for mark, name in _MARKS:
        if body.startswith(mark):
            return _fault_at_start(f"The body is {name}; send plain UTF-8.")
    if b"\x00" in body[:4]:
        return _fault_at_start("The body looks like UTF-16 or UTF-32; send UTF-8.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        place = place_of(before, len(before))
        return Fault("", "invalid_json", "This byte is not UTF-8; send UTF-8.", place._asdict())
    return None


def _fault_at_start(message: str) -> Fault:
    return Fault("", "invalid_json", message, Place(1, 1, 0)._asdict())
