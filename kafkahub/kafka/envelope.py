"""From a record to the body of a webhook: envelope, raw value or CloudEvent.

Pure. A value is spliced as the bytes it is and never encoded anew, so a body has the same bytes
on every attempt.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from kafkahub.kafka import cloudevents
from kafkahub.kafka.record import OWN_FRONT, Record

Format = Literal["envelope", "raw", "cloudevents_structured", "cloudevents_binary"]
TopicFormat = Literal["json", "string", "binary"]

INCLUDES = ("id", "record", "topic", "key", "headers", "position")
"""What may be added to an envelope, in the order it stands there."""

PLACES = frozenset({"position"})
"""Those of them that a grant which hides records does not show."""
JSON = "application/json"
CLOUDEVENTS = f"{cloudevents.STRUCTURED}; charset=utf-8"
CLOUDEVENTS_BATCH = "application/cloudevents-batch+json"
BATCH_TYPE = b"kafkahub.batch"
RESERVED_TYPES = "kafkahub."
"""Event types that begin so are ours: a record that claims one could pass for a notice."""

_EVENT_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.encode


class Undecodable(Exception):
    """The value is not what its topic's format promises; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the bodies of one subscription on one topic look.

    include       names of ``INCLUDES``; their order is fixed and does not matter here
    content_type  of the topic's values, for bodies that are the value itself
    source        address of the topic, ``<base URL>/topics/<topic>``, for CloudEvents
    """

    format: Format
    include: tuple[str, ...]
    topic_format: TopicFormat
    content_type: str
    source: str


class Body(NamedTuple):
    """What is sent: exact bytes, and the headers that belong to them, ``content-type`` first."""

    content: bytes
    headers: tuple[tuple[str, str], ...]


def render(
    record: Record, shape: Shape, *, webhook_id: str, event_type: str, record_id: str | None = None
) -> Body:
    """Return the body of a record.

    The value must have passed ``check_value``: JSON is spliced without another look.
    record_id  the ``evt_`` id that other doors show; needed where ``include`` names ``record``

    Raises Undecodable when text is needed and the value is not UTF-8, never for ``raw`` and
    ``cloudevents_binary``; ValueError when ``record_id`` is needed and missing.
    """
    match shape.format:
        case "envelope":
            content = _envelope(record, shape, webhook_id, event_type, record_id)
            return Body(content, (("content-type", JSON),))
        case "raw":
            return Body(record.value or b"", (("content-type", shape.content_type),))
        case "cloudevents_structured":
            content = _structured(record, shape, webhook_id, event_type)
            return Body(content, (("content-type", CLOUDEVENTS),))
        case "cloudevents_binary":
            return _binary(record, shape, webhook_id, event_type)


def of_items(shape: Shape) -> Shape:
    """Return the shape of records inside a batch, where each begins with its id."""
    include = tuple(name for name in shape.include if name != "id")
    return replace(shape, include=include)


def item(content: bytes, shape: Shape, webhook_id: str) -> bytes:
    """Return a body as it stands in a batch: an envelope begins with its id there."""
    if shape.format != "envelope":
        return content
    return b'{"id":"%b",%b' % (webhook_id.encode(), content[1:])


def batch(items: Sequence[bytes], shape: Shape, newest_ms: int | None) -> Body:
    """Return the body of a batch; ``newest_ms`` is the time of its newest record."""
    joined = b",".join(items)
    count = ("kafkahub-batch", str(len(items)))
    if shape.format != "envelope":
        return Body(b"[%b]" % joined, (("content-type", CLOUDEVENTS_BATCH), count))
    content = b'{"type":"%b","timestamp":%b,"data":{"records":[%b]}}' % (
        BATCH_TYPE,
        _timestamp_json(newest_ms),
        joined,
    )
    return Body(content, (("content-type", JSON), count))


BATCH_FRAME_BYTES = len('{"type":"kafkahub.batch","timestamp":,"data":{"records":[]}}') + 32
"""What a batch weighs besides its items, at most."""


def check_value(value: bytes | None, topic_format: TopicFormat) -> None:
    """Raise Undecodable unless the value is what the topic's format promises.

    Looks once at every byte (0.4 µs for 1 KB) and makes no objects. A tombstone passes.
    """
    if value is None or topic_format == "binary":
        return
    if not value.isascii():
        _text(value)
    if topic_format == "json":
        try:
            msgspec.json.decode(value, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Undecodable(f"the value is not JSON: {error}") from error


def event_type(
    record: Record,
    source: str,
    value: str,
    default: str,
    decode: Callable[[], object] | None = None,
) -> str:
    """Return the type of a record: from where ``source`` says, else ``default``.

    source  "constant", "header" or "pointer"
    value   the constant (empty: the default), a header's name, or an RFC 6901 pointer
    decode  gives the decoded value where the caller has it already; may raise Undecodable

    What a record carries counts only when it has the form of an event type and is not ours.
    """
    found: object = value
    if source == "header":
        found = _header_text(record, value)
    elif source == "pointer":
        found = _pointed_at(record, value, decode)
    if isinstance(found, str) and is_event_type(found):
        return found
    return default


def is_event_type(text: str) -> bool:
    """Return whether a text may be the type of a record."""
    return _EVENT_TYPE.fullmatch(text) is not None and not text.startswith(RESERVED_TYPES)


def timestamp_text(unix_ms: int | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds; None for None and for years past 9999."""
    if unix_ms is None:
        return None
    seconds, ms = divmod(unix_ms, 1_000)
    second = _second(seconds)
    return f"{second}.{ms:03d}Z" if second else None


def resolve(pointer: str, document: object) -> object | None:
    """Return what an RFC 6901 pointer names in decoded JSON; None where there is nothing."""
    if not pointer:
        return document
    if not pointer.startswith("/"):
        return None
    for part in pointer[1:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and _INDEX.fullmatch(name):
            index = int(name)
            document = document[index] if index < len(document) else None
        else:
            return None
    return document


def _envelope(
    record: Record, shape: Shape, webhook_id: str, event_type: str, record_id: str | None
) -> bytes:
    more = _included(record, shape, webhook_id, record_id) if shape.include else b""
    return b'{"type":"%b","timestamp":%b,"data":%b%b}' % (
        event_type.encode(),
        _timestamp_json(record.timestamp_ms),
        _data(record.value, shape.topic_format),
        more,
    )


def _included(record: Record, shape: Shape, webhook_id: str, record_id: str | None) -> bytes:
    """Return the further members of an envelope, each with a comma before it."""
    parts = []
    for name in INCLUDES:
        if name in shape.include:
            value = _encode(_member(record, name, webhook_id, record_id))
            parts.append(b',"%b":%b' % (name.encode(), value))
    return b"".join(parts)


def _member(record: Record, name: str, webhook_id: str, record_id: str | None) -> object:
    match name:
        case "id":
            return webhook_id
        case "record":
            if record_id is None:
                raise ValueError("include names the record's id, and none was given")
            return record_id
        case "topic":
            return record.topic
        case "key":
            return _text_or_base64(record.key)
        case "headers":
            return _headers(record)
        case _:
            return {"partition": record.partition, "offset": record.offset}


def _headers(record: Record) -> dict[str, object]:
    """Return headers by name; the values of a name that repeats are a list, in order."""
    named: dict[str, list[object]] = {}
    for name, value in record.headers:
        if name.startswith(OWN_FRONT):
            continue
        named.setdefault(name, []).append(_text_or_base64(value))
    return {name: values if len(values) > 1 else values[0] for name, values in named.items()}


def _structured(record: Record, shape: Shape, webhook_id: str, event_type: str) -> bytes:
    if cloudevents.is_structured(record) and cloudevents.parse(record.value):
        return record.value or b""  # the producer's own event, in its own bytes
    event = cloudevents.carried(record)
    attributes = event.attributes if event else _attributes(record, shape, webhook_id, event_type)
    content_type = (event and event.content_type) or shape.content_type
    head = _encode({**attributes, "datacontenttype": content_type})
    if shape.topic_format == "binary" and record.value is not None:
        return b'%b,"data_base64":"%b"}' % (head[:-1], b64encode(record.value))
    return b'%b,"data":%b}' % (head[:-1], _data(record.value, shape.topic_format))


def _binary(record: Record, shape: Shape, webhook_id: str, event_type: str) -> Body:
    event = cloudevents.carried(record)
    attributes = event.attributes if event else _attributes(record, shape, webhook_id, event_type)
    content_type = (event and event.content_type) or shape.content_type
    headers = [("content-type", content_type)]
    headers += [(f"ce-{name}", cloudevents.header_value(text)) for name, text in attributes.items()]
    content = event.data if event else record.value
    return Body(content or b"", tuple(headers))


def _attributes(record: Record, shape: Shape, webhook_id: str, event_type: str) -> dict[str, str]:
    """Return the attributes of a record whose producer gave it none."""
    attributes = {
        "specversion": "1.0",
        "id": webhook_id,
        "source": shape.source,
        "type": event_type,
    }
    if time := timestamp_text(record.timestamp_ms):
        attributes["time"] = time
    if record.key and "key" in shape.include:
        key = _utf8(record.key)
        if key is None or not cloudevents.is_string(key):
            key = b64encode(record.key).decode()
        attributes |= {"subject": key, "partitionkey": key}
    return attributes


def _data(value: bytes | None, topic_format: TopicFormat) -> bytes:
    """Return the JSON that stands for a value."""
    if value is None:
        return b"null"
    match topic_format:
        case "json":
            return value
        case "string":
            return _encode(_text(value))
        case "binary":
            return b'{"base64":"%b"}' % b64encode(value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Undecodable(f"the value is not UTF-8: {error.reason} at {error.start}") from error


def _text_or_base64(value: bytes | None) -> object:
    if value is None:
        return None
    text = _utf8(value)
    return {"base64": b64encode(value).decode()} if text is None else text


def _utf8(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _timestamp_json(unix_ms: int | None) -> bytes:
    text = timestamp_text(unix_ms)
    return b'"%b"' % text.encode() if text else b"null"


@lru_cache(maxsize=1_024)
def _second(unix_s: int) -> str | None:
    """Return a time without its fraction; records of one second come together."""
    try:
        return (_EPOCH + timedelta(seconds=unix_s)).isoformat()[: len("2026-01-01T00:00:00")]
    except OverflowError:
        return None


def _header_text(record: Record, name: str) -> str | None:
    for header, value in reversed(record.headers):
        if header == name:
            return None if value is None else _utf8(value)
    return None


def _pointed_at(record: Record, pointer: str, decode: Callable[[], object] | None) -> object | None:
    try:
        document = decode() if decode else decode_json(record.value)
    except Undecodable:
        return None
    return resolve(pointer, document)


def decode_json(value: bytes | None) -> object:
    """Return the decoded value; None for a tombstone. Raises Undecodable."""
    if value is None:
        return None
    try:
        document: object = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(f"the value is not JSON: {error}") from error
    return document
