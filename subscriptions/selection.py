"""Which parts of a JSON value a partner sees: a tree made of pointers once, applied to each record.

Only the objects and arrays that a pointer leads through are taken apart; everything else stays the
bytes it is, so that numbers keep their spelling (pure).

An allow list shows what it names and nothing else: where a record has another shape than the list
expects, the value is gone. A mask hides what it names, whatever the shape: a name also holds for
the items of an array that stands in its way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw

from kafkahub.kafka.envelope import Undecodable
from subscriptions.masks import Mask

EACH = "*"
"""The part of a pointer that stands for every item of an array."""

_encode = msgspec.json.encode
_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_items_of = msgspec.json.Decoder(list[Raw]).decode
_check = msgspec.json.Decoder(Raw).decode


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of one value.

    rest       what is not named stays; False: it is gone
    members    what becomes of members, by name
    items      what becomes of each item of an array; None: the same as of this value where
               ``rest`` is set, else arrays are gone
    mask       the value is replaced, and nothing below it matters
    lone_mask  the same where it is no array: a mask of items also holds for what stands there
               without an array around it
    """

    rest: bool
    members: Mapping[str, "Part"] = field(default_factory=dict)
    items: "Part | None" = None
    mask: Mask | None = None
    lone_mask: Mask | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything stays."""
        return self.rest and not self.members and self.items is None and self.mask is None


WHOLE = Part(rest=True)


def pointer_parts(pointer: str) -> list[str]:
    """Return the names in a JSON pointer that begins with ``/``."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def build(fields: Sequence[str] | None, masks: Mapping[str, Mask]) -> Part:
    """Return the tree of an allow list, None for the whole value, and of masks by pointer."""
    root = _Node(is_listed=fields is None)
    for pointer in fields or ():
        root.at(pointer).is_listed = True
    for pointer, mask in masks.items():
        root.at(pointer).mask = mask
    return root.part(rest=False)


def select(raw: bytes, part: Part) -> bytes:
    """Return the JSON text of what is seen of a value; ``null`` where nothing is.

    Raises Undecodable for what is no JSON.
    """
    try:
        if not raw.isascii():
            raw.decode()
        seen = _seen(_check(raw), part)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"the value is not JSON: {error}") from error
    return b"null" if seen is None else bytes(seen)


def _seen(raw: Raw, part: Part) -> Raw | None:
    """Return what is seen of a value, or None where it is gone."""
    if part.is_whole:
        return raw
    content = bytes(raw).strip()
    is_array = content.startswith(b"[")
    mask = part.mask or (None if is_array else part.lone_mask)
    if mask is not None:
        masked = mask(content)
        return None if masked is None else Raw(masked)
    if is_array:
        return _array(content, part)
    if content.startswith(b"{"):
        return _object(content, part)
    return raw if part.rest else None


def _object(content: bytes, part: Part) -> Raw:
    seen = {}
    for name, value in _members_of(content).items():
        inner = part.members.get(name)
        if inner is not None:
            kept = _seen(value, inner)
            if kept is not None:
                seen[name] = kept
        elif part.rest:
            seen[name] = value
    return Raw(_encode(seen))


def _array(content: bytes, part: Part) -> Raw | None:
    inner = part.items
    if inner is None:
        if not part.rest:
            return None
        inner = part
    kept = (_seen(item, inner) for item in _items_of(content))
    return Raw(_encode([item for item in kept if item is not None]))


class _Node:
    """A place that pointers name, while the tree is built."""

    def __init__(self, *, is_listed: bool = False) -> None:
        self.is_listed = is_listed
        self.mask: Mask | None = None
        self.inner: dict[str, _Node] = {}

    def at(self, pointer: str) -> "_Node":
        node = self
        for name in pointer_parts(pointer):
            node = node.inner.setdefault(name, _Node())
        return node

    def shows(self) -> bool:
        """Return whether the allow list leads here or further down."""
        return self.is_listed or any(node.shows() for node in self.inner.values())

    def part(self, *, rest: bool) -> Part:
        """Return the finished part; ``rest`` is that of what stands above."""
        rest = rest or self.is_listed
        if self.mask is not None:
            return Part(rest, mask=self.mask)
        inner = {
            name: node.part(rest=rest) for name, node in self.inner.items() if rest or node.shows()
        }
        items = inner.pop(EACH, None)
        return _overlay(inner, items) if rest else Part(rest, inner, items)


def _overlay(members: Mapping[str, Part], items: Part | None) -> Part:
    """Return what hides parts of a whole value, whether it is an object or an array."""
    if items is None:
        return Part(True, members)
    return Part(
        True,
        _joined(members, items.members),
        items=_merged(items, Part(True, members)),
        lone_mask=items.mask,
    )


def _merged(one: Part, other: Part) -> Part:
    if one.is_whole or other.is_whole:
        return other if one.is_whole else one
    items = one.items or other.items
    if one.items is not None and other.items is not None:
        items = _merged(one.items, other.items)
    members = _joined(one.members, other.members)
    mask, lone_mask = one.mask or other.mask, one.lone_mask or other.lone_mask
    return Part(one.rest and other.rest, members, items, mask, lone_mask)


def _joined(one: Mapping[str, Part], other: Mapping[str, Part]) -> dict[str, Part]:
    both = {name: _merged(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**one, **other, **both}
