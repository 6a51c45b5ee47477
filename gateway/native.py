"""Our own form of writing: bodies, headers and parameters to entries (pure).

The body is the value. Only JSON is looked into, and reaches Kafka byte for byte all the same.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from gateway import batch
from gateway.confluent import Refusal
from gateway.envelopes import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_NAME,
    MAX_RECORDS,
    MAX_TIMESTAMP_MS,
    Given,
    limited,
    timestamp_ms,
)
from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid, UnsupportedMedia
from kafkahub.kafka import cloudevents
from kafkahub.kafka.record import OWN_FRONT, Entry

JSON, NDJSON = "application/json", "application/x-ndjson"
TEXT, OCTETS = "text/plain", "application/octet-stream"
EVENT, EVENTS = cloudevents.STRUCTURED, "application/cloudevents-batch+json"
FORM = "application/x-www-form-urlencoded"
ACCEPTED: Final = (JSON, NDJSON, TEXT, OCTETS, EVENT, EVENTS)
HEADER_FRONT: Final = b"kafkahub-header-"
EVENT_FRONT: Final = b"ce-"
SINGLE: Final = frozenset({"key", "partition", "timestamp"})
"""Parameters of a request that writes one record."""
MAX_PARTITION: Final = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,15}", re.ASCII)
_SPACE: Final = b" \t\r\n"


class Single(NamedTuple):
    """What stands beside the value of one record."""

    key: bytes | None
    partition: int | None
    timestamp_ms: int | None
    headers: tuple[tuple[str, bytes | None], ...]


def read_body(content_type: str, body: bytes, single: Single) -> list[Given]:
    """Return the records of a body. Raises Invalid and UnsupportedMedia.

    content_type  without parameters, in lower case
    """
    match content_type:
        case "application/json":
            return [_entry(_json(body, ""), single)]
        case "text/plain" | "application/octet-stream":
            return [_entry(body, single)]
        case "application/x-ndjson":
            return _lines(body, single)
        case "application/cloudevents+json":
            return [_event(_json(body, "") or b"null", single)]
        case "application/cloudevents-batch+json":
            return _events(body, single)
    hint = " Curl's -d sends that; name the type with -H." if content_type == FORM else ""
    raise UnsupportedMedia(f"Taken are: {', '.join(ACCEPTED)}.{hint}")


def read_batch(body: bytes, topic_format: str) -> tuple[list[Given], list[str | None]]:
    """Return the records of a ``records:batch`` body, and their ids. Raises Invalid."""
    strict = _members(body)
    if strict.keys() - {"records"}:
        name = min(strict.keys() - {"records"})
        raise _wrong("unknown_field", f"There is no field {name!r}.", f"/{name}")
    try:
        records = msgspec.json.decode(strict.get("records", b"[]"), type=list[msgspec.Raw])
    except msgspec.DecodeError:
        raise _wrong("invalid_json", "The records are an array.", "/records") from None
    if not records:
        raise _wrong("invalid_parameter", "The records are missing or empty.", "/records")
    _check_count(len(records))
    entries, ids = batch.read_entries(records, topic_format)
    return [limited(entry) for entry in entries], ids


def _members(body: bytes) -> Mapping[str, msgspec.Raw]:
    check_text(body)
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise _wrong("invalid_json", "The body is an object with records.", "") from None
    except (msgspec.DecodeError, RecursionError):
        raise Invalid(_faults(body)) from None
    if batch.doubled(body, members):
        raise _wrong("duplicate_key", "A field is there twice.", "")
    return members


def _faults(body: bytes) -> Sequence[Fault]:
    return strictjson.find_faults(body) or [Fault("", "invalid_json", "This is not JSON.")]


def check_text(body: bytes) -> None:
    """Raise Invalid for what is not UTF-8."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            text = f"Byte {error.start} is not UTF-8."
            raise _wrong("invalid_json", text, "", {"offset": error.start}) from None


def _json(body: bytes, at: str) -> bytes | None:
    """Return a JSON text without the white space around it; None for ``null``."""
    check_text(body)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        faults = [Fault(at + one.pointer, one.code, one.message, one.more) for one in _faults(body)]
        raise Invalid(faults) from None
    text = body.strip(_SPACE)
    if batch.is_too_deep(text):
        raise _wrong("too_deep", f"A value may be {batch.MAX_DEPTH} levels deep.", at)
    return None if text == b"null" else text


def _lines(body: bytes, single: Single) -> list[Given]:
    lines = [line for line in body.split(b"\n") if line.strip(_SPACE)]
    if not lines:
        raise _wrong("invalid_json", "There is no line with a record.", "")
    _check_count(len(lines))
    _refuse_single(single)
    return [_entry(_json(line, f"/{index}"), single) for index, line in enumerate(lines)]


def _events(body: bytes, single: Single) -> list[Given]:
    check_text(body)
    try:
        events = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        raise Invalid(_faults(body)) from None
    _check_count(len(events))
    _refuse_single(single)
    return [_event(bytes(event), single, f"/{index}") for index, event in enumerate(events)]


def _event(text: bytes, single: Single, at: str = "") -> Given:
    """Return a whole CloudEvent as a record in structured mode; its partition key is the key."""
    event = cloudevents.parse(text)
    if event is None:
        raise _wrong("invalid_parameter", "This is no CloudEvent 1.0 in JSON.", at)
    key = event.attributes.get("partitionkey")
    kept = single if key is None or single.key is not None else single._replace(key=key.encode())
    headers = (*kept.headers, ("content-type", EVENT.encode()))
    return _entry(text, kept._replace(headers=headers))


def _refuse_single(single: Single) -> None:
    if (single.key, single.partition, single.timestamp_ms) != (None, None, None):
        text = "key, partition and timestamp are for one record; use records:batch."
        raise _wrong("invalid_parameter", text, "")


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_RECORDS:
        text = f"There are {count} records; 1 to {MAX_RECORDS} are taken."
        raise _wrong("invalid_parameter", text, "")


def _entry(value: bytes | None, single: Single) -> Given:
    entry = Entry(single.key, value, single.headers, single.partition, single.timestamp_ms)
    return limited(entry)


def read_single(query: Mapping[str, str], headers: Sequence[tuple[bytes, bytes]]) -> Single:
    """Return what parameters and headers say of one record. Raises Invalid."""
    found = tuple(_headers(headers))
    if len(found) > MAX_HEADERS or _size(found) > MAX_HEADER_BYTES:
        text = f"A record has {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them at most."
        raise _wrong("invalid_parameter", text, "")
    key = query.get("key")
    return Single(
        None if key is None else key.encode(),
        _partition(query.get("partition")),
        _timestamp_ms(query.get("timestamp")),
        found,
    )


def _size(headers: Sequence[tuple[str, bytes | None]]) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)


def _headers(headers: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[str, bytes | None]]:
    """Yield ``KafkaHub-Header-…`` as Kafka headers, and ``ce-…`` in CloudEvents' Kafka form."""
    is_event = any(name == b"ce-specversion" for name, _ in headers)
    for name, value in headers:
        if name.startswith(HEADER_FRONT):
            yield _checked_name(name[len(HEADER_FRONT) :].decode("latin-1")), _text(value)
        elif is_event and name.startswith(EVENT_FRONT):
            text = unquote(value.decode("latin-1"), errors="replace")
            yield f"ce_{name[len(EVENT_FRONT) :].decode('latin-1')}", text.encode()
        elif is_event and name == b"content-type":
            yield "content-type", value


def _text(value: bytes) -> bytes:
    """Return a header's value as UTF-8: what HTTP carries byte for byte."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def _checked_name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME or name.startswith(OWN_FRONT):
        text = f"A header name has 1 to {MAX_NAME} characters; {OWN_FRONT}* are ours."
        raise _wrong("invalid_parameter", text, "")
    return name


def _partition(text: str | None) -> int | None:
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > MAX_PARTITION:
        raise _wrong("invalid_parameter", "partition: it is 0 or more.", "")
    return int(text)


def _timestamp_ms(text: str | None) -> int | None:
    if text is None:
        return None
    if _DIGITS.fullmatch(text) and int(text) <= MAX_TIMESTAMP_MS:
        return int(text)
    try:
        return timestamp_ms(text, "timestamp")
    except Refusal as error:
        raise _wrong("invalid_parameter", error.text, "") from None


def _wrong(code: str, text: str, at: str, more: dict[str, object] | None = None) -> Invalid:
    return Invalid([Fault(at, code, text, more or {})])
