"""CloudEvents 1.0: what a record that is one already carries, and how attributes are written.

Pure. Source: CloudEvents 1.0.2, its JSON format, HTTP and Kafka protocol bindings.
"""

import re
from base64 import b64decode
from dataclasses import dataclass

import msgspec

from kafkahub.kafka.record import Record

STRUCTURED = "application/cloudevents+json"
REQUIRED = ("specversion", "id", "source", "type")
"""Attributes without which nothing is a CloudEvent; they are written first, in this order."""

Attributes = dict[str, str]

_PREFIX = "ce_"
_NAME = re.compile(r"[a-z0-9]{1,64}")
_NO_ATTRIBUTES = frozenset({"data", "data_base64", "datacontenttype"})
_NONCHARACTERS = "".join(
    f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)
)
_FORBIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_NONCHARACTERS}]")
"""Characters that no attribute may have."""
_TO_ESCAPE = re.compile(rb"[^\x21\x23\x24\x26-\x7e]")
"""Bytes escaped in a header: space, double quote, percent, all but printable ASCII."""
_FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_JSON_TYPE = re.compile(r"[^;]*[/+]json\s*(;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Carried:
    """A CloudEvent that a producer wrote.

    attributes    the producer's own, those of ``REQUIRED`` first, without ``datacontenttype``
    content_type  ``datacontenttype``, or None where the producer gave none
    data          the bytes of the data; None where there is none
    """

    attributes: Attributes
    content_type: str | None
    data: bytes | None


def header_value(text: str) -> str:
    """Return an attribute as the value of an HTTP header: percent-encoded UTF-8."""
    return _TO_ESCAPE.sub(_percent, text.encode()).decode("ascii")


def is_string(text: str) -> bool:
    """Return whether a text may be the value of an attribute."""
    return text != "" and _FORBIDDEN.search(text) is None


def content_type_of(record: Record) -> str | None:
    """Return the record's own ``content-type`` header where it can be passed on, else None."""
    for name, value in reversed(record.headers):
        if name.lower() == "content-type" and value is not None:
            text = _decoded(value)
            return text if text and _FIELD_VALUE.fullmatch(text) else None
    return None


def is_structured(record: Record) -> bool:
    """Return whether the record's value says to be a whole CloudEvent in JSON."""
    if not record.headers:
        return False
    content_type = content_type_of(record) or ""
    return content_type.partition(";")[0].strip().lower() == STRUCTURED


def carried(record: Record) -> Carried | None:
    """Return the CloudEvent that a record is, in binary or structured mode, else None."""
    if not record.headers:
        return None
    if is_structured(record):
        return parse(record.value)
    attributes: Attributes = {}
    for name, value in record.headers:
        text = _decoded(value) if name.startswith(_PREFIX) else None
        if text is not None:
            attributes[name.removeprefix(_PREFIX)] = text
    taken = _ordered(attributes)
    return Carried(taken, content_type_of(record), record.value) if taken else None


def parse(value: bytes | None) -> Carried | None:
    """Return the CloudEvent that is written as JSON in ``value``, or None where it is none."""
    try:
        members = msgspec.json.decode(value or b"", type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    texts = {name: _scalar(raw) for name, raw in members.items() if name not in _NO_ATTRIBUTES}
    taken = _ordered({name: text for name, text in texts.items() if text is not None})
    if taken is None:
        return None
    content_type = _scalar(members["datacontenttype"]) if "datacontenttype" in members else None
    if content_type is not None and not _FIELD_VALUE.fullmatch(content_type):
        content_type = None
    return Carried(taken, content_type, _data(members, content_type))


def _ordered(attributes: Attributes) -> Attributes | None:
    """Return those that are valid, the required ones first; None where one of them is missing."""
    valid = {
        name: text
        for name, text in attributes.items()
        if name not in _NO_ATTRIBUTES and _NAME.fullmatch(name) and is_string(text)
    }
    if valid.get("specversion") != "1.0" or not valid.keys() >= set(REQUIRED):
        return None
    return {name: valid[name] for name in REQUIRED} | valid


def _data(members: dict[str, msgspec.Raw], content_type: str | None) -> bytes | None:
    if "data_base64" in members:
        return _from_base64(members["data_base64"])
    raw = bytes(members.get("data", b"null"))
    if raw == b"null":
        return None
    if raw.startswith(b'"') and content_type and not _JSON_TYPE.fullmatch(content_type):
        return msgspec.json.decode(raw, type=str).encode()
    return raw


def _from_base64(raw: msgspec.Raw) -> bytes | None:
    try:
        return b64decode(msgspec.json.decode(raw, type=str), validate=True)
    except (msgspec.DecodeError, ValueError):
        return None


def _scalar(raw: msgspec.Raw) -> str | None:
    """Return an attribute of the JSON format in its canonical text; None where it is none."""
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    match value:
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case _:
            return None


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
