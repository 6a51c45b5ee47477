"""What a filter sees of one record, decoded once and only where a filter looks."""

from base64 import b64encode
from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record


class Mark(Enum):
    """Stands where a record has no value at all."""

    MISSING = "missing"
    UNREAD = "unread"


MISSING: Final = Mark.MISSING
_UNREAD: Final = Mark.UNREAD
_decode = msgspec.json.Decoder().decode


class View:
    """One record as filters see it; made once and shared by all subscriptions of the record.

    record        what the filter's owner may see: the projection, or the whole for a grant's filter
    topic_format  ``json``, ``string`` or ``binary``
    event_type    the public type, found by the caller
    """

    __slots__ = ("_headers", "_key", "_topic_format", "_value", "event_type", "record")

    def __init__(self, record: Record, topic_format: str, event_type: str) -> None:
        self.record = record
        self.event_type = event_type
        self._topic_format = topic_format
        self._value: object = _UNREAD
        self._key: object = _UNREAD
        self._headers: dict[str, object] | None = None

    def value(self) -> object:
        """Return the value as JSON has it: ``{"base64": …}`` for binary, None for a tombstone.

        Raises Undecodable.
        """
        value = self._value
        if value is _UNREAD:
            value = self._value = decode_value(self.record.value, self._topic_format)
        return value

    def key(self) -> object:
        """Return the key as text, as base64 where it is no UTF-8, None where there is none."""
        key = self._key
        if key is _UNREAD:
            key = self._key = _key_text(self.record.key)
        return key

    def headers(self) -> object:
        """Return text by name, the last of a name; without those that are no UTF-8."""
        headers = self._headers
        if headers is None:
            headers = self._headers = _header_texts(self.record.headers)
        return headers

    def root(self, name: str) -> object:
        """Return what stands under one root of the language."""
        return READERS[name](self)


READERS: dict[str, Callable[[View], object]] = {
    "value": View.value,
    "key": View.key,
    "headers": View.headers,
    "topic": lambda view: view.record.topic,
    "type": lambda view: view.event_type,
    "partition": lambda view: view.record.partition,
    "timestamp": lambda view: view.record.timestamp_ms,
}


def decode_value(value: bytes | None, topic_format: str) -> object:
    """Return a record's value as JSON has it; raise Undecodable when the bytes do not fit."""
    if value is None:
        return None
    if topic_format == "binary":
        return {"base64": b64encode(value).decode("ascii")}
    try:
        return _decode(value) if topic_format == "json" else value.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(str(error)) from error
    except RecursionError as error:
        raise Undecodable("the value is nested too deeply") from error


def _key_text(key: bytes | None) -> str | None:
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return b64encode(key).decode("ascii")


def _header_texts(headers: tuple[tuple[str, bytes | None], ...]) -> dict[str, object]:
    texts: dict[str, object] = {}
    for name, value in headers:
        try:
            texts[name] = None if value is None else value.decode()
        except UnicodeDecodeError:
            texts.pop(name, None)  # the last of a name counts, and this one is missing
    return texts
