"""What a grant says beyond yes or no, read from JSON with the place of every fault (pure).

key_rule    {"equals": text} | {"prefix": text} | {"in": [text, …]}
row_filter  the filter language, on the whole record; {} for every row
fields      JSON pointers that are shown, ``*`` for the items of an array; null for all
masks       JSON pointer to the name of a mask
headers     names that are shown; null: all where the value is whole, none where it is not
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kafkahub.errors import Fault, Invalid
from subscriptions import masks
from subscriptions.filters.syntax import parse
from subscriptions.filters.tree import Filter, step

MEMBERS: Final = (
    "key_rule",
    "row_filter",
    "fields",
    "masks",
    "headers",
    "key_visible",
    "history_from",
    "max_bytes",
)
"""Columns of a grant that decide what is shown."""
WRITE_MEMBERS: Final = ("allow_unconfirmed", "hide_offsets")
"""Columns of a grant that decide how is written."""
READ_ONLY: Final = "A grant to write has no such rule: it shows nothing."
WRITE_ONLY: Final = "Only a grant to write has this."
MAX_KEYS, MAX_POINTERS, MAX_HEADERS = 1_000, 200, 50
MAX_TEXT, MAX_DEPTH = 500, 16
JSON: Final = "json"
"""The one format of a topic whose values have parts."""


@dataclass(frozen=True, slots=True)
class KeyRule:
    """Which keys are shown; a record without a key never is.

    keys    as UTF-8
    prefix  instead of keys: what they begin with
    """

    keys: frozenset[bytes] = frozenset()
    prefix: bytes | None = None

    def holds(self, key: bytes | None) -> bool:
        """Return whether a record with this key is shown."""
        if key is None:
            return False
        return key in self.keys if self.prefix is None else key.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a grant shows of which records; the default shows everything.

    row_filter       None for every row
    fields           None for the whole value
    headers          None as the module says
    history_from_ms  Unix time in ms before which nothing is shown, or None
    max_bytes        of key, value and headers together, or None
    """

    key_rule: KeyRule | None = None
    row_filter: Filter | None = None
    fields: tuple[str, ...] | None = None
    masks: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] | None = None
    key_visible: bool = True
    history_from_ms: int | None = None
    max_bytes: int | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether whole records are hidden, so that offsets would count them."""
        return self.key_rule is not None or self.row_filter is not None

    @property
    def is_masked(self) -> bool:
        """Whether values are shown in part only."""
        return self.fields is not None or bool(self.masks)

    @property
    def is_plain(self) -> bool:
        """Whether everything is shown as it is."""
        return self == PLAIN


PLAIN: Final = Rules()


def read(values: Mapping[str, object], *, topic_format: str, history_from_ms: int | None) -> Rules:
    """Return the rules in a grant's columns, ``MEMBERS`` but ``history_from``; absent: default.

    topic_format  ``json``, ``string`` or ``binary``

    Raises Invalid with all faults; each pointer begins with the column's name.
    """
    faults: list[Fault] = []

    def take(name: str, reader: Callable[[object], object]) -> object:
        try:
            return reader(values.get(name))
        except Invalid as error:
            faults.extend(_placed(error.faults, f"/{name}"))
            return None

    key_rule = take("key_rule", _key_rule)
    row_filter = take("row_filter", _row_filter)
    fields = take("fields", _fields)
    named = take("masks", _masks)
    headers = take("headers", _headers)
    max_bytes = take("max_bytes", _max_bytes)
    if not faults and topic_format != JSON and (fields is not None or named):
        text = f"Values of a {topic_format} topic have no parts to show or mask."
        faults.append(Fault("/fields" if fields is not None else "/masks", "not_json", text))
    if faults:
        raise Invalid(faults)
    return Rules(
        key_rule=key_rule if isinstance(key_rule, KeyRule) else None,
        row_filter=row_filter if isinstance(row_filter, Filter) else None,
        fields=fields if isinstance(fields, tuple) else None,
        masks=named if isinstance(named, dict) else {},
        headers=headers if isinstance(headers, tuple) else None,
        key_visible=values.get("key_visible", True) is not False,
        history_from_ms=history_from_ms,
        max_bytes=max_bytes if isinstance(max_bytes, int) else None,
    )


def _placed(faults: Iterable[Fault], front: str) -> Iterable[Fault]:
    for each in faults:
        inner = each.pointer.removeprefix(front)
        yield Fault(front + inner, each.code, each.message, each.more)


def _wrong(code: str, text: str, pointer: str = "", **more: object) -> Invalid:
    return Invalid([Fault(pointer, code, text, more)])


def _key_rule(value: object) -> KeyRule | None:
    match value:
        case None:
            return None
        case {"equals": str(text), **rest} if not rest:
            return KeyRule(frozenset({_key(text, "/equals")}))
        case {"prefix": str(text), **rest} if not rest:
            return KeyRule(prefix=_key(text, "/prefix"))
        case {"in": list(items), **rest} if not rest and 1 <= len(items) <= MAX_KEYS:
            return KeyRule(
                frozenset(_key(text, f"/in/{number}") for number, text in enumerate(items))
            )
    text = f'One of {{"equals": "…"}}, {{"prefix": "…"}} and {{"in": [1 to {MAX_KEYS} texts]}}.'
    raise _wrong("wrong_operand", text)


def _key(text: object, pointer: str) -> bytes:
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT or not _is_text(text):
        raise _wrong("wrong_type", f"A text of 1 to {MAX_TEXT} characters is needed here.", pointer)
    return text.encode()


def _row_filter(value: object) -> Filter | None:
    return None if value in (None, {}) else parse(value, at="/row_filter")


def _fields(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_POINTERS:
        text = f"A list of 1 to {MAX_POINTERS} JSON pointers is needed; null shows the whole value."
        raise _wrong("wrong_type", text)
    _check_pointers((pointer, f"/{number}") for number, pointer in enumerate(value))
    return tuple(dict.fromkeys(value))


def _masks(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_POINTERS:
        text = f"An object of up to {MAX_POINTERS} JSON pointers and masks is needed here."
        raise _wrong("wrong_type", text)
    _check_pointers((pointer, step("", pointer)) for pointer in value)
    wrong = [
        Fault(
            step("", pointer),
            "not_one_of",
            f"A mask is one of {', '.join(masks.NAMES)}.",
            {"allowed": list(masks.NAMES)},
        )
        for pointer, name in value.items()
        if name not in masks.NAMES
    ]
    if wrong:
        raise Invalid(wrong)
    return dict(value)


def _check_pointers(pointers: Iterable[tuple[object, str]]) -> None:
    faults = [
        Fault(place, "invalid_pointer", f"{text} Write /customer/name, or /items/*/price.")
        for pointer, place in pointers
        if (text := _pointer_fault(pointer))
    ]
    if faults:
        raise Invalid(faults)


def _pointer_fault(pointer: object) -> str:
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        return "A JSON pointer begins with a slash."
    if len(pointer) > MAX_TEXT or pointer.count("/") > MAX_DEPTH or not _is_text(pointer):
        return f"A JSON pointer has up to {MAX_TEXT} characters and {MAX_DEPTH} parts."
    if "~" in pointer.replace("~0", "").replace("~1", ""):
        return "In a JSON pointer ~ is written ~0, and / within a name ~1."
    return ""


def _headers(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    is_list = isinstance(value, list) and len(value) <= MAX_HEADERS
    names = value if isinstance(value, list) else []
    if not is_list or not all(isinstance(one, str) and one and _is_text(one) for one in names):
        raise _wrong("wrong_type", f"A list of up to {MAX_HEADERS} header names is needed here.")
    return tuple(dict.fromkeys(names))


def _max_bytes(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value if isinstance(value, int) else None
    raise _wrong("out_of_range", "A number of bytes above 0 is needed here.")


def _is_text(text: str) -> bool:
    """Return whether a text has no control character, NUL among them, and no half of a one."""
    return text.isprintable()
