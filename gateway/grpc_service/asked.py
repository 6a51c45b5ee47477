"""What requests of the contract ask for, as values of ours, with every fault at once (pure)."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.asked import MAX_LAST
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.received import OWN_FRONT
from gateway.starts import Earliest, Last, Latest, Since, Start
from gateway.stream import MAX_TOPICS, Wanted
from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid
from kafkahub.kafka.record import Entry

MAX_RECORDS = 1_000
"""Records of one Publish."""
MAX_KEY_BYTES, MAX_RECORD_BYTES = 64 * 1024, 1024 * 1024
MAX_HEADERS, MAX_HEADERS_BYTES = 100, 32 * 1024
MAX_NAME = 249
MAX_CLIENT_ID = 200
MAX_FILTER_BYTES = 2_048
MAX_TOPIC = 249
MAX_CREDIT_RECORDS, MAX_CREDIT_BYTES = 1_000_000, 1 << 32
"""What a balance may come to."""
MAX_MS = 253_402_300_799_999
"""The end of the year 9999."""


def wrong(field: str, text: str, code: str = "invalid_parameter") -> Fault:
    """Return what is wrong with a field, named as JSON pointers name it."""
    return Fault(f"/{field}" if field else "", code, text)


def entries_of(request: pb.PublishRequest, at: str = "records") -> list[Entry]:
    """Return the records of a batch. Raises Invalid with the faults of all of them."""
    if not 1 <= len(request.records) <= MAX_RECORDS:
        raise Invalid([wrong(at, f"A batch has 1 to {MAX_RECORDS} records.")])
    if request.ack not in pb.AckMode.values():
        raise Invalid([wrong("ack", "There is no such acknowledgement.")])
    faults: list[Fault] = []
    entries = [
        _entry(record, f"{at}/{number}", faults) for number, record in enumerate(request.records)
    ]
    if faults:
        raise Invalid(faults)
    return entries


def _entry(record: pb.Record, at: str, faults: list[Fault]) -> Entry:
    key = record.key if record.HasField("key") else None
    value = record.value if record.HasField("value") else None
    headers = _headers(record.headers, at, faults) if record.headers else ()
    size = len(key or b"") + len(value or b"") + sum(len(n) + len(v or b"") for n, v in headers)
    if key is not None and len(key) > MAX_KEY_BYTES:
        faults.append(wrong(f"{at}/key", f"A key has up to {MAX_KEY_BYTES} bytes."))
    if size > MAX_RECORD_BYTES:
        faults.append(wrong(at, f"A record has up to {MAX_RECORD_BYTES} bytes."))
    if len(record.client_id) > MAX_CLIENT_ID:
        faults.append(wrong(f"{at}/client_id", f"It has up to {MAX_CLIENT_ID} characters."))
    partition = record.partition if record.HasField("partition") else None
    if partition is not None and partition < 0:
        faults.append(wrong(f"{at}/partition", "A partition is 0 or more."))
    stamp = None
    if record.HasField("timestamp"):
        stamp = ms_of(record.timestamp)
        if stamp is None:
            faults.append(wrong(f"{at}/timestamp", "A time is of 1970 to 9999."))
    return Entry(key, value, headers, partition, stamp)


def _headers(
    given: Sequence[pb.Header], at: str, faults: list[Fault]
) -> tuple[tuple[str, bytes | None], ...]:
    found = []
    for number, header in enumerate(given):
        name = header.key
        if not 0 < len(name) <= MAX_NAME or name.lower().startswith(OWN_FRONT):
            said = f"A name has 1 to {MAX_NAME} characters; {OWN_FRONT}* are ours."
            faults.append(wrong(f"{at}/headers/{number}", said))
        found.append((name, header.value if header.HasField("value") else None))
    size = sum(len(name) + len(value or b"") for name, value in found)
    if len(found) > MAX_HEADERS or size > MAX_HEADERS_BYTES:
        said = f"Up to {MAX_HEADERS} headers and {MAX_HEADERS_BYTES} bytes of them are taken."
        faults.append(wrong(f"{at}/headers", said))
    return tuple(found)


def ms_of(given: Timestamp) -> int | None:
    """Return a time in Unix ms, None for one outside of 1970 to 9999."""
    unix_ms = given.seconds * 1_000 + given.nanos // 1_000_000
    return unix_ms if 0 <= unix_ms <= MAX_MS and given.nanos >= 0 else None


def seconds_of(given: Duration) -> float:
    return given.seconds + given.nanos / 1_000_000_000


def check_topic(name: str, field: str = "topic") -> None:
    """Raise Invalid for what cannot be the name of a topic."""
    if not 0 < len(name) <= MAX_TOPIC:
        raise Invalid([wrong(field, f"A topic's name has 1 to {MAX_TOPIC} characters.")])


def wanted_of(start: pb.Start, now_ms: int) -> Wanted:
    """Return what a subscription asks for. Raises Invalid."""
    _check_start(start)
    begin, cursor = start_of(getattr(start, "from"), now_ms, "start/from")
    return Wanted(
        topics=tuple(start.topics),
        text="protobuf",
        filter=_filter_of(start.filter),
        start=begin,
        cursor=cursor,
        on_gap_fail=start.on_gap == pb.ON_GAP_FAIL,
    )


def _check_start(start: pb.Start) -> None:
    faults = []
    if not 1 <= len(start.topics) <= MAX_TOPICS:
        faults.append(wrong("start/topics", f"There are 1 to {MAX_TOPICS} topics."))
    if len(set(start.topics)) < len(start.topics) or "" in start.topics:
        faults.append(wrong("start/topics", "Each topic is named once."))
    if start.mode not in pb.GroupMode.values():
        faults.append(wrong("start/mode", "There is no such mode."))
    if start.on_gap not in pb.OnGap.values():
        faults.append(wrong("start/on_gap", "There is no such choice."))
    if not start.group and (start.instance or start.mode or start.HasField("ack_lease")):
        faults.append(wrong("start/group", "instance, mode and ack_lease need a group."))
    if faults:
        raise Invalid(faults)


def start_of(position: pb.Position, now_ms: int, at: str) -> tuple[Start, str | None]:
    """Return a start, and the cursor that decides before it. Raises Invalid."""
    match position.WhichOneof("at"):
        case "cursor":
            if not position.cursor:
                raise Invalid([wrong(f"{at}/cursor", "The cursor is empty.", "invalid_cursor")])
            return Latest(), position.cursor
        case "last":
            if not 1 <= position.last <= MAX_LAST:
                raise Invalid([wrong(f"{at}/last", f"It is 1 to {MAX_LAST}.")])
            return Last(position.last), None
        case "time":
            unix_ms = ms_of(position.time)
            if unix_ms is None or unix_ms > now_ms:
                raise Invalid([wrong(f"{at}/time", "It is a time of 1970 until now.")])
            return Since(unix_ms), None
        case "edge" if position.edge not in pb.Edge.values():
            raise Invalid([wrong(f"{at}/edge", "There is no such edge.")])
    return (Earliest() if position.edge == pb.EDGE_EARLIEST else Latest()), None


def _filter_of(text: str) -> object:
    if not text:
        return None
    if len(text.encode()) > MAX_FILTER_BYTES:
        said = f"A filter has up to {MAX_FILTER_BYTES} bytes."
        raise Invalid([wrong("start/filter", said, "invalid_filter")])
    try:
        return strictjson.loads(text.encode())
    except Invalid as error:
        raise Invalid(error.faults, code="invalid_filter") from None
