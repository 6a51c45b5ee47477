"""Records as v2's consumers get them: one JSON object each, in the instance's format (pure)."""

from base64 import b64encode
from collections.abc import Sequence

import msgspec

from gateway import confluent
from gateway.confluent import Embedded
from kafkahub.kafka.record import OWN_FRONT, Record

_encode = msgspec.json.encode
_NULL = b"null"


def entries(records: Sequence[Record], embedded: Embedded, max_bytes: int) -> bytes:
    """Return the body of a read.

    max_bytes  bound of the read: a record above it by itself is an entry without its bytes
    """
    return b"[%b]" % b",".join([_entry(record, embedded, max_bytes) for record in records])


def _entry(record: Record, embedded: Embedded, max_bytes: int) -> bytes:
    key, value = record.key, record.value
    size = (len(key) if key else 0) + (len(value) if value else 0)
    if size > max_bytes:
        text = f"The record has {size} bytes; read it with a larger max_bytes."
        return _failed(record, confluent.RECORD_TOO_LARGE, text, with_bytes=False)
    if embedded == "binary":
        return _written(record, _base64(key), _base64(value))
    json_key, json_value = _json(key), _json(value)
    if json_key is None or json_value is None:
        which = "key" if json_key is None else "value"
        return _failed(record, confluent.UNDECODABLE, f"The {which} is not JSON.", with_bytes=True)
    return _written(record, json_key, json_value)


def _written(record: Record, key: bytes, value: bytes) -> bytes:
    return (
        b'{"topic":"%b","key":%b,"value":%b,"partition":%d,"offset":%d,"timestamp":%b,'
        b'"headers":%b}'
        % (
            record.topic.encode(),
            key,
            value,
            record.partition,
            record.offset,
            _timestamp(record),
            _headers(record) if record.headers else b"[]",
        )
    )


def _failed(record: Record, number: int, text: str, *, with_bytes: bool) -> bytes:
    """Return an entry in the place of a record; its key is null, so that it is no tombstone."""
    return (
        b'{"topic":"%b","partition":%d,"offset":%d,"timestamp":%b,"headers":[],"key":null,'
        b'"value":null,"error_code":%d,"error":%b,"key_base64":%b,"value_base64":%b}'
        % (
            record.topic.encode(),
            record.partition,
            record.offset,
            _timestamp(record),
            number,
            _encode(text),
            _base64(record.key) if with_bytes else _NULL,
            _base64(record.value) if with_bytes else _NULL,
        )
    )


def _timestamp(record: Record) -> bytes:
    return _NULL if record.timestamp_ms is None else b"%d" % record.timestamp_ms


def _base64(content: bytes | None) -> bytes:
    return _NULL if content is None else b'"%b"' % b64encode(content)


def _json(content: bytes | None) -> bytes | None:
    """Return JSON as it is, ``null`` for nothing; None where it is none."""
    if content is None:
        return _NULL
    try:
        msgspec.json.decode(content)
        if not content.isascii():
            content.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return content


def _headers(record: Record) -> bytes:
    """Return headers but ours, in order; a name may repeat."""
    shown = (
        {"key": name, "value": None if value is None else b64encode(value).decode()}
        for name, value in record.headers
        if not name.startswith(OWN_FRONT)
    )
    return _encode(list(shown))
