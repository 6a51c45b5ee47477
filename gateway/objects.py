"""Records as JSON objects, the same at every door of the gateway (pure).

A value is spliced as the bytes it is after one look at its syntax. CR and LF become spaces: in
valid JSON they can only stand between tokens, and a line of a stream must stay one line.
"""

from base64 import b64encode

import msgspec

from kafkahub.kafka import cloudevents, envelope
from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import OWN_FRONT, Record
from subscriptions.live import LiveTopic

_encode = msgspec.json.encode


def envelope_object(record: Record, topic: LiveTopic, record_id: str = "") -> bytes:
    """Return ``{"topic", "partition", "offset", "timestamp", "key", "headers", "value"}``.

    record_id  the partner's id of the record under a filtered grant, which shows neither
               partition nor offset; ``""`` under any other
    """
    timestamp = envelope.timestamp_text(record.timestamp_ms)
    if record_id:
        head = b'{"id":"%b","topic":"%b"' % (record_id.encode(), record.topic.encode())
    else:
        head = b'{"topic":"%b","partition":%d,"offset":%d' % (
            record.topic.encode(),
            record.partition,
            record.offset,
        )
    return b'%b,"timestamp":%b,%b,"headers":%b,%b}' % (
        head,
        b'"%b"' % timestamp.encode() if timestamp else b"null",
        _key(record.key),
        _encode(header_values(record)) if record.headers else b"{}",
        _value(record.value, topic.format),
    )


def cloudevent_object(record: Record, topic: LiveTopic, source: str, record_id: str = "") -> bytes:
    """Return a record as a CloudEvent in JSON; one that is an event already keeps its attributes.

    source     address of the topic, ``<base URL>/topics/<topic>``
    record_id  as in ``envelope_object``; it then is the event's id, and there is no sequence
    """
    if cloudevents.is_structured(record) and cloudevents.parse(record.value):
        return one_line(record.value or b"")
    event = cloudevents.carried(record)
    attributes = event.attributes if event else _attributes(record, topic, source, record_id)
    content_type = (event and event.content_type) or topic.content_type
    head = _encode({**attributes, "datacontenttype": content_type})[:-1]
    if record.value is None:
        return head + b"}"
    spliced = _spliced(record.value, topic.format)
    if spliced is None:
        return b'%b,"data_base64":"%b"}' % (head, b64encode(record.value))
    return b'%b,"data":%b}' % (head, spliced)


def header_values(record: Record) -> dict[str, object]:
    """Return headers but ours by name; the values of a name that repeats are a list, in order."""
    named: dict[str, list[object]] = {}
    for name, value in record.headers:
        if name.startswith(OWN_FRONT):
            continue
        named.setdefault(name, []).append(_text_or_base64(value))
    return {name: values if len(values) > 1 else values[0] for name, values in named.items()}


def one_line(value: bytes) -> bytes:
    """Return valid JSON without line ends; what is on one line already is the same object."""
    if b"\n" in value or b"\r" in value:
        return value.replace(b"\n", b" ").replace(b"\r", b" ")
    return value


def key_json(key: bytes | None) -> bytes:
    """Return a key as JSON: text, ``{"base64": …}`` where it is no UTF-8, or null."""
    return _encode(_text_or_base64(key))


def _key(key: bytes | None) -> bytes:
    if key is None:
        return b'"key":null'
    try:
        return b'"key":%b' % _encode(key.decode())
    except UnicodeDecodeError:
        return b'"key_base64":"%b"' % b64encode(key)


def _value(value: bytes | None, topic_format: str) -> bytes:
    if value is None:
        return b'"value":null'
    spliced = _spliced(value, topic_format)
    if spliced is not None:
        return b'"value":%b' % spliced
    error = b"" if topic_format == "binary" else b',"error":"undecodable"'
    return b'"value_base64":"%b"%b' % (b64encode(value), error)


def _spliced(value: bytes, topic_format: str) -> bytes | None:
    """Return the JSON that stands for a value; None where only base64 can carry it."""
    try:
        match topic_format:
            case "json":
                envelope.check_value(value, "json")
                return one_line(value)
            case "string":
                return _encode(value.decode())
            case _:
                return None
    except (Undecodable, UnicodeDecodeError):
        return None


def _text_or_base64(value: bytes | None) -> object:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _attributes(record: Record, topic: LiveTopic, source: str, record_id: str) -> dict[str, str]:
    """Return the attributes of a record whose producer gave it none."""
    kind = envelope.event_type(record, topic.type_source, topic.type_value, topic.name)
    own_id = record_id or f"{record.topic}-{record.partition}-{record.offset}"
    attributes = {"specversion": "1.0", "id": own_id, "source": source, "type": kind}
    if time := envelope.timestamp_text(record.timestamp_ms):
        attributes["time"] = time
    if record.key:
        attributes["partitionkey"] = _partition_key(record.key)
    if not record_id:
        attributes["sequence"] = str(record.offset)
    return attributes


def _partition_key(key: bytes) -> str:
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return b64encode(key).decode()
    return text if cloudevents.is_string(text) else b64encode(key).decode()
