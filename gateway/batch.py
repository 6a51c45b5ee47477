"""Records to write in the native form: JSON to entries, and reports back to JSON (pure).

A JSON value reaches Kafka byte for byte as it was sent: only the envelope around it is decoded,
and the value is the slice of text between its neighbours.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid
from kafkahub.kafka.record import Entry, Refused, Written

MAX_DEPTH = strictjson.MAX_DEPTH
MAX_HEADERS = 100
MAX_NAME = 249
OWN_FRONT = "kafkahub-"
"""Names of headers that begin so are ours."""
MAX_PARTITION = 2**31 - 1
MAX_TIMESTAMP_MS = 253_402_300_799_999
"""The end of the year 9999, the last one that RFC 3339 can write."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_NULL = b"null"
_ABSENT = msgspec.Raw()


class EntryIn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One record as it is sent; what is ``Raw`` was not looked into yet."""

    id: str | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType | None = msgspec.UNSET
    key_base64: str | msgspec.UnsetType | None = msgspec.UNSET
    value: msgspec.Raw = _ABSENT
    value_base64: str | msgspec.UnsetType | None = msgspec.UNSET
    headers: msgspec.Raw = _ABSENT
    timestamp: str | msgspec.UnsetType | None = msgspec.UNSET
    partition: int | msgspec.UnsetType | None = msgspec.UNSET


_decode_entry = msgspec.json.Decoder(EntryIn).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_texts = msgspec.json.Decoder(dict[str, str]).decode


def read_entries(
    records: Sequence[msgspec.Raw], topic_format: str, *, at: str = "/records"
) -> tuple[list[Entry], list[str | None]]:
    """Return the records, and the id that each was given, if any.

    topic_format  "json", "string" or "binary": what ``value`` may be
    at            JSON pointer of the list, for the places of faults

    Raises Invalid with the faults of all records: a batch is taken as a whole or not at all.
    """
    entries: list[Entry] = []
    ids: list[str | None] = []
    faults: list[Fault] = []
    for index, raw in enumerate(records):
        try:
            given = _decode(bytes(raw))
            entries.append(_entry(given, topic_format))
            ids.append(None if given.id is msgspec.UNSET else given.id)
        except Invalid as error:
            faults += [_moved(fault, f"{at}/{index}") for fault in error.faults]
    if faults:
        raise Invalid(faults)
    return entries, ids


def doubled(text: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether an object names a member twice, of which decoding kept the last.

    Each member has one colon outside of its value, and known names have none: whatever colons are
    left over belong to a member that was dropped.
    """
    inside = sum(bytes(value).count(b":") for value in members.values())
    return text.count(b":") != len(members) + inside


def is_too_deep(value: bytes) -> bool:
    """Return whether arrays and objects stand inside each other more than ``MAX_DEPTH`` times."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False  # the usual case, decided without decoding
    level: list[object] = [msgspec.json.decode(value)]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level for inner in _children(item)]
    return any(isinstance(item, dict | list) for item in level)


def report(
    results: Sequence[Written | Refused],
    ids: Sequence[str | None],
    cursors: Sequence[str | None],
) -> list[dict[str, object]]:
    """Return what became of each record as JSON values, in the order they were sent."""
    return [
        ({} if name is None else {"id": name}) | _outcome(result, cursor)
        for result, name, cursor in zip(results, ids, cursors, strict=True)
    ]


def _outcome(result: Written | Refused, cursor: str | None) -> dict[str, object]:
    if isinstance(result, Refused):
        fault = {
            "code": result.code,
            "message": result.text,
            "retriable": result.is_retriable,
            "outcome": "unknown" if result.is_unknown else "not_written",
        }
        return {"error": fault}
    return {
        "partition": result.partition,
        "offset": result.offset,
        "timestamp": _text_of(result.timestamp_ms),
        "cursor": cursor,
    }


def _decode(raw: bytes) -> EntryIn:
    try:
        given = _decode_entry(raw)
    except msgspec.ValidationError as error:
        code = "unknown_field" if "unknown field" in str(error) else "invalid_parameter"
        raise _wrong(code, f"This is no record: {error}.", "") from None
    # An escape may stand for a colon, and hide one; then the members are looked at one by one.
    is_counted = b"\\u" not in raw and raw.count(b":") == _colons(given)
    if not is_counted and doubled(raw, _decode_members(raw)):
        raise _wrong("duplicate_key", "A field is there twice.", "")
    return given


def _colons(given: EntryIn) -> int:
    """Return how many colons the text of a record has when no member is there twice."""
    count = 0
    for text in (given.id, given.key, given.key_base64, given.value_base64, given.timestamp):
        if text is not msgspec.UNSET:
            count += 1 if text is None else 1 + text.count(":")
    for raw in (bytes(given.value), bytes(given.headers)):
        if raw:
            count += 1 + raw.count(b":")
    return count + (given.partition is not msgspec.UNSET)


def _entry(given: EntryIn, topic_format: str) -> Entry:
    return Entry(
        key=_key(given),
        value=_value(given, topic_format),
        headers=tuple(_headers(bytes(given.headers))),
        partition=_partition(given.partition),
        timestamp_ms=_timestamp_ms(given.timestamp),
    )


def _key(given: EntryIn) -> bytes | None:
    if given.key is not msgspec.UNSET and given.key_base64 is not msgspec.UNSET:
        raise _wrong("invalid_parameter", "Give the key as text or as base64, not both.", "/key")
    if isinstance(given.key_base64, str):
        return _bytes_of(given.key_base64, "/key_base64")
    return given.key.encode() if isinstance(given.key, str) else None


def _value(given: EntryIn, topic_format: str) -> bytes | None:
    text = bytes(given.value)
    if text and given.value_base64 is not msgspec.UNSET:
        raise _wrong("invalid_parameter", "Give the value as JSON or base64, not both.", "/value")
    if isinstance(given.value_base64, str):
        return _bytes_of(given.value_base64, "/value_base64")
    if not text or text == _NULL:
        return None
    if topic_format == "json":
        return _json(text)
    if topic_format == "string" and text[:1] == b'"':
        return msgspec.json.decode(text, type=str).encode()
    wanted = "a string" if topic_format == "string" else "value_base64"
    raise _wrong("invalid_parameter", f"This topic's values are {wanted}.", "/value")


def _json(text: bytes) -> bytes:
    if is_too_deep(text):
        raise _wrong("too_deep", f"A value may be {MAX_DEPTH} levels deep.", "/value")
    return text


def _headers(text: bytes) -> Iterator[tuple[str, bytes | None]]:
    if not text or text == _NULL:
        return
    usual = _plain_headers(text)
    if usual is not None:
        yield from usual
        return
    try:
        named = strictjson.loads(text)
    except Invalid as error:
        raise Invalid([_moved(fault, "/headers") for fault in error.faults]) from None
    if not isinstance(named, dict) or len(named) > MAX_HEADERS:
        said = f"Headers are an object of up to {MAX_HEADERS} names."
        raise _wrong("invalid_parameter", said, "/headers")
    for name, given in named.items():
        if not _is_name(name):
            said = f"A header name has 1 to {MAX_NAME} characters; {OWN_FRONT}* are ours."
            raise _wrong("invalid_parameter", said, f"/headers/{_escaped(name)}")
        for value in given if isinstance(given, list) else [given]:
            yield name, _header(value, f"/headers/{_escaped(name)}")


def _plain_headers(text: bytes) -> list[tuple[str, bytes]] | None:
    """Return headers that are texts, in a third of the time; None for what needs a closer look."""
    if b"\\" in text:
        return None
    try:
        named = _decode_texts(text)
    except msgspec.ValidationError:
        return None
    inside = sum(name.count(":") + value.count(":") for name, value in named.items())
    is_doubled = text.count(b":") != len(named) + inside
    if is_doubled or len(named) > MAX_HEADERS or not all(map(_is_name, named)):
        return None
    return [(name, value.encode()) for name, value in named.items()]


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and not name.lower().startswith(OWN_FRONT)


def _header(value: object, at: str) -> bytes | None:
    match value:
        case None:
            return None
        case str():
            return value.encode()
        case {"base64": str(text), **rest} if not rest:
            return _bytes_of(text, at)
    said = 'A header is a string, {"base64": …}, null, or an array of these.'
    raise _wrong("invalid_parameter", said, at)


def _partition(number: int | msgspec.UnsetType | None) -> int | None:
    if not isinstance(number, int):
        return None
    if not 0 <= number <= MAX_PARTITION:
        raise _wrong("invalid_parameter", "A partition is 0 or more.", "/partition")
    return number


def _timestamp_ms(text: str | msgspec.UnsetType | None) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None or moment < _EPOCH:
        said = "A timestamp is RFC 3339 with its zone, from 1970 on."
        raise _wrong("invalid_parameter", said, "/timestamp")
    return (moment - _EPOCH) // _MS


def _text_of(unix_ms: int | None) -> str | None:
    if unix_ms is None or not 0 <= unix_ms <= MAX_TIMESTAMP_MS:
        return None
    moment = _EPOCH + timedelta(milliseconds=unix_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bytes_of(text: str, at: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("invalid_parameter", "This is not base64 (RFC 4648, padded).", at) from None


def _children(item: object) -> Iterator[object]:
    if isinstance(item, dict):
        yield from item.values()
    elif isinstance(item, list):
        yield from item


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _wrong(code: str, text: str, at: str) -> Invalid:
    return Invalid([Fault(at, code, text)])


def _moved(fault: Fault, at: str) -> Fault:
    return Fault(f"{at}{fault.pointer}", fault.code, fault.message, fault.more)
