"""The records of v3: typed keys and values to entries, reports back, and a body cut in objects.

Pure. A JSON key or value reaches Kafka byte for byte as it stood in the request.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway import confluent, envelopes
from gateway.batch import is_too_deep
from gateway.confluent import Refusal
from gateway.envelopes import Given, check_name, check_text, from_base64, limited, number_of
from kafkahub.kafka.envelope import timestamp_text
from kafkahub.kafka.record import Entry, Refused, Result, Written

MAX_OBJECT_BYTES: Final = 2 * 1024 * 1024
"""Of one object as it comes: a record at its limit in base64, with room to spare."""
MAX_ENTRIES: Final = 10
"""Of a batch; the bound of the servers in use."""
ID: Final = re.compile(r"[0-9A-Za-z_-]{1,80}", re.ASCII)
_TOKEN = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SPACE: Final = b" \t\r\n"
_NULL = b"null"
_ABSENT = msgspec.Raw()
_encode = msgspec.json.encode


class Typed(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A key or a value; the schema fields are of use with a Schema Registry only."""

    type: str | None = None
    data: msgspec.Raw = _ABSENT
    subject: str | None = None
    subject_name_strategy: str | None = None
    schema_id: int | None = None
    schema_version: int | None = None
    schema: str | None = None


class HeaderV3(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    value: str | None = None


class RecordV3(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One record as it is sent; ``id`` in a batch only."""

    id: msgspec.Raw = _ABSENT
    partition_id: int | None = None
    headers: list[HeaderV3] | None = None
    key: Typed | None = None
    value: Typed | None = None
    timestamp: str | None = None


class BatchV3(msgspec.Struct, forbid_unknown_fields=True):
    entries: list[msgspec.Raw] | None = None


_record = msgspec.json.Decoder(RecordV3).decode
_batch = msgspec.json.Decoder(BatchV3).decode


@dataclass(frozen=True, slots=True)
class Read:
    """A record that was read, or why it is not taken; types for its report."""

    given: Given | Refusal
    key_type: str | None = None
    value_type: str | None = None
    id: str = ""


def read_record(text: bytes) -> Read:
    """Return one record; a bad one is its own report and stops nothing."""
    try:
        check_text(text)
        record = envelopes.decode(text, _record)
        return _read(record, "")
    except Refusal as refusal:
        return Read(refusal)


def read_batch(body: bytes) -> list[Read]:
    """Return the entries of a batch in their order. Raises Refusal for the batch itself."""
    check_text(body)
    entries = envelopes.decode(body, _batch).entries
    if not entries:
        raise Refusal(422, confluent.BATCH, "Empty batch.")
    if len(entries) > MAX_ENTRIES:
        raise Refusal(422, confluent.BATCH, "Too many entries in batch.")
    ids = [_id(bytes(entry)) for entry in entries]
    if len(set(ids)) < len(ids):
        raise Refusal(422, confluent.BATCH, "Batch entry IDs are not distinct.")
    return [_entry(bytes(entry), name) for entry, name in zip(entries, ids, strict=True)]


def _id(text: bytes) -> str:
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        name = msgspec.json.decode(members.get("id", _ABSENT), type=str)
    except msgspec.DecodeError:
        name = ""
    if ID.fullmatch(name) is None:
        raise Refusal(422, confluent.BATCH, "Batch entry identifier is not a valid string.")
    return name


def _entry(text: bytes, name: str) -> Read:
    try:
        return _read(envelopes.decode(text, _record), name)
    except Refusal as refusal:
        return Read(refusal, id=name)


def _read(record: RecordV3, name: str) -> Read:
    key_type, key = _typed(record.key, "key")
    value_type, value = _typed(record.value, "value")
    number = record.partition_id
    if number is not None and not 0 <= number <= envelopes.MAX_INT32:
        raise confluent.partition_not_found()
    stamp = record.timestamp
    at_ms = None if stamp is None else envelopes.timestamp_ms(stamp, "timestamp")
    entry = Entry(key, value, _headers(record.headers or ()), number, at_ms)
    return Read(limited(entry), key_type, value_type, name)


def _headers(headers: Sequence[HeaderV3]) -> tuple[tuple[str, bytes | None], ...]:
    found: list[tuple[str, bytes | None]] = []
    for header in headers:
        check_name(header.name, "headers")
        value = header.value
        found.append((header.name, None if value is None else from_base64(value, "headers")))
    return tuple(found)


def _typed(typed: Typed | None, name: str) -> tuple[str | None, bytes | None]:
    """Return type and bytes. Raises Refusal 42206."""
    if typed is None:
        return None, None
    text = bytes(typed.data)
    kind = (typed.type or "").upper()
    if kind not in _BYTES:
        said = f"{name}: the type is BINARY, JSON or STRING; others need a Schema Registry."
        raise _payload(said)
    if not text or text == _NULL:
        return kind, None
    if kind == "JSON":
        if is_too_deep(text):
            raise _payload(f"{name}: the data is more than 64 levels deep.")
        return kind, text
    if text[:1] != b'"':
        raise _payload(f"{name}: the data of {kind} is a string.")
    plain = msgspec.json.decode(text, type=str)
    if kind == "STRING":
        return kind, plain.encode()
    try:
        return kind, from_base64(plain, name)
    except Refusal:
        raise _payload(f"{name}: the data is not base64.") from None


_BYTES: Final = frozenset({"BINARY", "JSON", "STRING"})


def _payload(text: str) -> Refusal:
    return Refusal(422, confluent.PAYLOAD, f"Payload error. {text}")


def empty_body() -> Refusal:
    """Return the refusal of a request without a record."""
    return _payload("Request body is empty. Data is required.")


def report(
    read: Read, result: Result | Refusal, *, cluster: str, topic: str, hides: bool
) -> dict[str, object]:
    """Return what became of one record; ``hides``: without its offset."""
    own: dict[str, object] = {"id": read.id} if read.id else {}
    if not isinstance(result, Written):
        return own | failure(result)
    entry = read.given
    sizes: dict[str, object] = {}
    if isinstance(entry, Entry):
        sizes |= _size("key", read.key_type, entry.key)
        sizes |= _size("value", read.value_type, entry.value)
    return own | {
        "error_code": 200,
        "cluster_id": cluster,
        "topic_name": topic,
        "partition_id": result.partition,
        "offset": -1 if hides else result.offset,
        "timestamp": timestamp_text(result.timestamp_ms),
        **sizes,
    }


def _size(name: str, kind: str | None, content: bytes | None) -> Mapping[str, object]:
    return {} if kind is None else {name: {"type": kind, "size": len(content or b"")}}


def failure(result: Refused | Refusal) -> dict[str, object]:
    """Return the report of a record that was not written."""
    if isinstance(result, Refusal):
        return {"error_code": result.number, "message": result.text}
    number = TOO_LARGE if result.code == "record_too_large" else number_of(result)
    return {"error_code": number, "message": envelopes.text_of(result)}


TOO_LARGE: Final = 413


class Splitter:
    """Cuts a stream of bytes into JSON objects that stand one after another.

    fault  why nothing more can be read; None while all is well
    """

    def __init__(self) -> None:
        self.fault: Refusal | None = None
        self._held = b""
        self._at = 0
        self._depth = 0

    @property
    def is_between(self) -> bool:
        """Whether the bytes so far end behind an object."""
        return not self._held.strip(_SPACE)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the objects that are whole now, up to where the bytes are no objects any more.

        Then ``fault`` says why: 400 for bytes between objects, 413 for an object too large.
        """
        found: list[bytes] = []
        self._held += chunk
        try:
            self._cut(found)
        except Refusal as refusal:
            self.fault = refusal
        return found

    def _cut(self, found: list[bytes]) -> None:
        start = 0
        while (token := _TOKEN.search(self._held, self._at)) is not None:
            sign = token.group()
            if self._depth == 0:
                start = self._begin(start, token.start(), sign)
            if sign == b'"':
                end = _STRING_END.match(self._held, token.end())
                if end is None:
                    self._at = token.start()
                    break
                self._at = end.end()
                continue
            self._depth += 1 if sign in b"{[" else -1
            self._at = token.end()
            if self._depth == 0:
                found.append(self._held[start : self._at])
                start = self._at
        self._keep(start)

    def _begin(self, start: int, at: int, sign: bytes) -> int:
        if sign != b"{" or self._held[start:at].strip(_SPACE):
            raise confluent.malformed("a record is a JSON object")
        return at

    def _keep(self, start: int) -> None:
        rest = self._held[start:]
        if self._depth == 0 and rest.strip(_SPACE)[:1] not in (b"", b"{"):
            raise confluent.malformed("a record is a JSON object")
        if len(rest) > MAX_OBJECT_BYTES:
            raise Refusal(413, 413, f"A record has {MAX_OBJECT_BYTES} bytes at most.")
        self._at = max(0, self._at - start)
        self._held = rest
