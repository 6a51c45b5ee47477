"""The bodies of Confluent's produce requests: bytes to entries and back (pure).

Only the envelope is decoded. A JSON key or value is the slice of the request it was, so no number
changes; what msgspec does not look at in such a slice is looked at here: depth and encoding.
"""

import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from gateway import confluent
from gateway.batch import is_too_deep
from gateway.confluent import Embedded, Refusal, malformed, unprocessable
from kafkahub import strictjson
from kafkahub.errors import Fault
from kafkahub.kafka.record import OWN_FRONT, Entry, Refused, Result, Written

MAX_RECORDS: Final = 10_000
MAX_RECORD_BYTES: Final = 1024 * 1024
"""Key, value and headers of one record together."""
MAX_KEY_BYTES: Final = 65_536
MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 32_768
MAX_NAME: Final = 249
MAX_INT32: Final = 2**31 - 1
MAX_TIMESTAMP_MS: Final = 253_402_300_799_999
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_NULL = b"null"
_ABSENT = msgspec.Raw()
_UNSET = msgspec.UNSET
Unset = msgspec.UnsetType
TOO_LARGE = Refused("record_too_large", "The record is over the limit of 1 MiB.")
KEY_TOO_LARGE = Refused("record_too_large", "The key is over the limit of 64 KiB.")
HEADERS_TOO_LARGE = Refused("record_too_large", "The headers are over 100 or 32 KiB.")


class HeaderV2(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A header of a v2 record: a text, and base64 or null."""

    key: str
    value: str | None = None


class RecordV2(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One record of a v2 produce request; what is ``Raw`` was not looked into yet."""

    key: msgspec.Raw = _ABSENT
    value: msgspec.Raw = _ABSENT
    partition: int | Unset | None = _UNSET
    headers: list[HeaderV2] | Unset | None = _UNSET
    timestamp: int | Unset | None = _UNSET


class RequestV2(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A v2 produce request; the schema fields are of use with a Schema Registry only."""

    records: list[RecordV2] | Unset = _UNSET
    key_schema: str | Unset | None = _UNSET
    key_schema_id: int | Unset | None = _UNSET
    value_schema: str | Unset | None = _UNSET
    value_schema_id: int | Unset | None = _UNSET


_decode_v2 = msgspec.json.Decoder(RequestV2).decode

Decoded = TypeVar("Decoded")
Written_ = Callable[[bytes, str, int], bytes | None]
"""Given a slice of the envelope, the member's name and the record's index, returns its bytes."""
Given = Entry | Refused
"""A record to write, or why it alone is not written."""


def check_text(body: bytes) -> None:
    """Refuse what is not UTF-8: raw slices of it would reach Kafka unread."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise malformed(f"byte {error.start} is not UTF-8") from None


def read_v2(body: bytes, embedded: Embedded, path_partition: int | None) -> list[Given]:
    """Return the records of a v2 produce request in their order.

    path_partition  partition of the URL; a record's own beats it

    Raises Refusal for whatever is wrong with the request: then nothing of it is written.
    """
    check_text(body)
    request = decode(body, _decode_v2)
    records = request.records
    if not isinstance(records, list) or not records:
        raise unprocessable("The records are missing or empty.")
    if len(records) > MAX_RECORDS:
        raise unprocessable(f"There are {len(records)} records; at most {MAX_RECORDS} are taken.")
    if body.count(b":") != _colons(request, records):
        _refuse_doubled(body)
    written = _from_base64 if embedded == "binary" else _as_it_is
    return [
        _entry_v2(record, written, path_partition, index) for index, record in enumerate(records)
    ]


def decode(body: bytes, decoder: Callable[[bytes], Decoded]) -> Decoded:
    """Return the decoded envelope; raise Refusal 400 or 422 for what is wrong with it."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        text = str(error)
        if "unknown field" in text or "missing required field" in text:
            raise unprocessable(text) from None
        raise malformed(text) from None
    except RecursionError:
        raise malformed("arrays and objects stand too deep in each other") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(str(error)) from None


def _colons(request: RequestV2, records: Sequence[RecordV2]) -> int:
    """Return how many colons a body has that names no member of its envelope twice.

    Of a doubled member decoding keeps the last, so the colons of the others are left over.
    """
    tops = (
        request.key_schema,
        request.key_schema_id,
        request.value_schema,
        request.value_schema_id,
    )
    count = 1 + sum(1 + str(top).count(":") for top in tops if top is not _UNSET)
    for record in records:
        if record.value:
            count += 1 + bytes(record.value).count(b":")
        if record.key:
            count += 1 + bytes(record.key).count(b":")
        count += (record.partition is not _UNSET) + (record.timestamp is not _UNSET)
        if record.headers is not _UNSET:
            count += 1 + _header_colons(record.headers or ())
    return count


def _header_colons(headers: Sequence[HeaderV2]) -> int:
    return sum(2 + header.key.count(":") for header in headers)


def _refuse_doubled(body: bytes) -> None:
    """Scan the body for members that are there twice; those inside of values are not ours."""
    for fault in strictjson.find_faults(body, max_depth=1_000):
        if fault.code == "duplicate_key" and is_of_envelope(fault):
            raise malformed(f"{fault.pointer}: {fault.message}")


def is_of_envelope(fault: Fault) -> bool:
    """Return whether a fault is in the envelope, not inside of a key or value."""
    names = fault.pointer.split("/")[1:]
    is_deep = len(names) > _DEPTH_OF_MEMBER
    return not (is_deep and names[_DEPTH_OF_MEMBER - 1] in {"key", "value"})


_DEPTH_OF_MEMBER = 3
"""``records``, index, member."""


def _entry_v2(record: RecordV2, written: Written_, path_partition: int | None, index: int) -> Given:
    key = written(bytes(record.key), "key", index)
    value = written(bytes(record.value), "value", index)
    headers = _headers_v2(record.headers or (), index) if record.headers else ()
    partition = record.partition if isinstance(record.partition, int) else path_partition
    timestamp_ms = record.timestamp if isinstance(record.timestamp, int) else None
    if partition is not None and not 0 <= partition <= MAX_INT32:
        raise unprocessable(f"records[{index}]: the partition is negative or too large.")
    if timestamp_ms is not None and not 0 <= timestamp_ms <= MAX_TIMESTAMP_MS:
        raise unprocessable(f"records[{index}]: the timestamp is in ms from 1970 on.")
    return limited(Entry(key, value, headers, partition, timestamp_ms))


def limited(entry: Entry) -> Given:
    """Return the entry, or why it is too large to be taken."""
    key, value, headers = entry.key, entry.value, entry.headers
    size = (len(key) if key else 0) + (len(value) if value else 0)
    if headers:
        header_bytes = sum(len(name) + len(content or b"") for name, content in headers)
        if len(headers) > MAX_HEADERS or header_bytes > MAX_HEADER_BYTES:
            return HEADERS_TOO_LARGE
        size += header_bytes
    if size > MAX_RECORD_BYTES:
        return TOO_LARGE
    return KEY_TOO_LARGE if key and len(key) > MAX_KEY_BYTES else entry


def _as_it_is(text: bytes, name: str, index: int) -> bytes | None:
    if not text or text == _NULL:
        return None
    if is_too_deep(text):
        raise malformed(f"records[{index}].{name} is more than 64 levels deep")
    return text


def _from_base64(text: bytes, name: str, index: int) -> bytes | None:
    if not text or text == _NULL:
        return None
    if text[:1] != b'"':
        raise malformed(f"records[{index}].{name} must be a base64 string")
    plain = text[1:-1]
    if b"\\" in plain:  # such as an escaped slash
        plain = msgspec.json.decode(text, type=str).encode()
    return from_base64(plain, f"records[{index}].{name}")


def from_base64(text: bytes | str, at: str) -> bytes:
    """Return the bytes; raise Refusal 400 that names the place."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise malformed(f"{at} is not base64") from None


def check_name(name: str, at: str) -> None:
    """Refuse the name of a header that cannot be taken; raise Refusal 422."""
    if not 0 < len(name) <= MAX_NAME or name.lower().startswith(OWN_FRONT):
        text = f"{at}: a header name has 1 to {MAX_NAME} characters; {OWN_FRONT}* are ours."
        raise unprocessable(text)


def _headers_v2(
    headers: Sequence[HeaderV2] | Unset, index: int
) -> tuple[tuple[str, bytes | None], ...]:
    if isinstance(headers, Unset):
        return ()
    found: list[tuple[str, bytes | None]] = []
    for header in headers:
        check_name(header.key, f"records[{index}].headers")
        value = header.value
        given = None if value is None else from_base64(value, f"records[{index}].headers")
        found.append((header.key, given))
    return tuple(found)


def timestamp_ms(text: str, at: str) -> int:
    """Return an ISO 8601 time as Unix ms; raise Refusal 400."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise malformed(f"{at} is not an ISO 8601 time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment < EPOCH:
        raise malformed(f"{at} is before 1970")
    return (moment - EPOCH) // timedelta(milliseconds=1)


def number_of(refused: Refused) -> int:
    """Return Confluent's number for a record that was not written."""
    if refused.code == "partition_not_found":
        return confluent.PARTITION_NOT_FOUND
    return confluent.RETRIABLE if refused.is_retriable else confluent.FINAL


def text_of(refused: Refused) -> str:
    """Return the text for a record that was not written."""
    return "timed out; the record may have been written" if refused.is_unknown else refused.text


def offsets_v2(results: Sequence[Result], *, hides_offset: bool) -> bytes:
    """Return the answer's ``offsets``, one entry a record; -1 where offsets are hidden."""
    parts = [
        b'{"partition":%d,"offset":%d,"error_code":null,"error":null}'
        % (result.partition, -1 if hides_offset else result.offset)
        if type(result) is Written
        else _failed_v2(result)
        for result in results
    ]
    return b"[%b]" % b",".join(parts)


def _failed_v2(result: Result) -> bytes:
    if isinstance(result, Written):  # decided by the caller already; the type must follow
        raise TypeError(result)
    error = msgspec.json.encode(text_of(result))
    return b'{"partition":null,"offset":null,"error_code":%d,"error":%b}' % (
        number_of(result),
        error,
    )


def answer_v2(results: Sequence[Result], *, hides_offset: bool, strict: bool) -> tuple[int, bytes]:
    """Return status and body of a v2 produce answer.

    strict  failures show in the status: 207 for some, 503 or 422 for all
    """
    offsets = offsets_v2(results, hides_offset=hides_offset)
    body = b'{"offsets":%b,"key_schema_id":null,"value_schema_id":null' % offsets
    if strict:
        failed = [result for result in results if isinstance(result, Refused)]
        if failed:
            status, number, text = _strict(failed, len(results))
            more = b',"error_code":%d,"message":%b}' % (number, msgspec.json.encode(text))
            return status, body + more
    return 200, body + b"}"


def _strict(failed: Sequence[Refused], count: int) -> tuple[int, int, str]:
    text = f"{len(failed)} of {count} records were not written."
    if len(failed) < count:
        return 207, 207, text
    if all(number_of(one) == confluent.RETRIABLE for one in failed):
        return 503, 50302, text
    return 422, 422, text


__all__ = ["Refusal", "answer_v2", "read_v2"]
