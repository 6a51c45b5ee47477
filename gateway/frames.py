"""The text of SSE and NDJSON streams, and the words that every door of a stream shares (pure).

Event names and ids come from fixed sets, never from a record, and every frame ends where the next
begins, so a stream may be cut between any two.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from gateway import objects, received
from kafkahub.kafka.record import Record
from subscriptions.live import LiveTopic

Format = Literal["envelope", "raw", "cloudevents"]
Text = Literal["sse", "ndjson", "object", "protobuf"]
State = Literal["live", "catching_up", "stalled"]
Action = Literal["reconnect", "backoff", "stop"]
Message = Mapping[str, Any]
"""One ASGI message; it may be shared by listeners and is never changed."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_encode = msgspec.json.encode


class Style(NamedTuple):
    """How records are written for one kind of listener; the key under which frames are shared.

    text         ``object`` is the bare JSON, for doors that join objects in their own way;
                 ``protobuf`` an entry of gRPC's events, for which the format does not matter
    hides_place  True under a filtered grant: no partition and no offset anywhere
    """

    text: Text
    format: Format
    hides_place: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets ``start`` to ``end`` (exclusive) that this listener will never get.

    partition   None for all of the topic
    start, end  None where nobody can tell, as under another cluster's cursor
    lost        offsets missed, an upper bound of records; None where nobody can tell
    reason      retention, truncated, recreated, foreign_cluster, grant_window, grant_changed,
                too_large
    resumed_at  RFC 3339
    """

    topic: str
    partition: int | None
    start: int | None
    end: int | None
    lost: int | None
    reason: str
    resumed_at: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat tells; ``stream`` and ``heartbeat_ms`` only in the first one."""

    time: str
    state: State
    lag_records: int | None
    lag_seconds: float
    stream: str = ""
    heartbeat_ms: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """Why a stream ends, and what its client is to do.

    token     goes into the id: where to resume, or the final one; "" for none
    cursor    where to resume; None where credentials were refused
    status    what a hard client would have got; None where the stream had begun
    ws_code   close code of a WebSocket
    """

    reason: str
    action: Action
    retry_ms: int
    ws_code: int
    token: str = ""
    cursor: str | None = None
    status: int | None = None
    detail: str = ""


class Rule(NamedTuple):
    """One row of the table of endings: what a client does, when it comes back, its close code."""

    action: Action
    least_ms: int
    most_ms: int
    ws_code: int


RULES: Mapping[str, Rule] = {
    "protocol_error": Rule("stop", 60_000, 60_000, 4000),
    "revoked": Rule("stop", 60_000, 60_000, 4001),
    "gap": Rule("stop", 60_000, 60_000, 4004),
    "kicked": Rule("stop", 60_000, 60_000, 4005),
    "taken_over": Rule("stop", 60_000, 60_000, 4006),
    "invalid_cursor": Rule("stop", 60_000, 60_000, 4007),
    "idle": Rule("stop", 60_000, 60_000, 4008),
    "overloaded": Rule("backoff", 5_000, 30_000, 4100),
    "quota_exceeded": Rule("backoff", 10_000, 30_000, 4101),
    "rate_limited": Rule("backoff", 10_000, 30_000, 4102),
    "unavailable": Rule("backoff", 5_000, 30_000, 4103),
    "slow_reader": Rule("backoff", 2_000, 10_000, 4104),
    "drain": Rule("reconnect", 250, 1_000, 4200),
    "rotation": Rule("reconnect", 100, 1_000, 4201),
    "token_expired": Rule("reconnect", 100, 1_000, 4202),
    "moved": Rule("reconnect", 100, 1_000, 4203),
    "grant_changed": Rule("reconnect", 100, 1_000, 4204),
}
"""Why streams end, by reason; the same at every door. ``retry_ms`` is drawn between the bounds."""


class Run(Protocol):
    """Frames that belong together, and the cursor after the last of them."""

    @property
    def frames(self) -> Sequence[bytes]: ...
    @property
    def token(self) -> str: ...


class Door(Protocol):
    """How one protocol writes what a listener is told.

    Shared by listeners and compared by value: equal doors get the same bytes. ``name`` is the
    ``transport`` label of metrics, ``text`` what frames the hub keeps for it.
    """

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> Text: ...
    def records(self, runs: Sequence[Run]) -> bytes: ...
    def heartbeat(self, beat: Beat, token: str, *, retry_ms: int = 0) -> bytes: ...
    def gap(self, gap: Gap, token: str, *, hides_place: bool) -> bytes: ...
    def closing(self, closing: Closing) -> bytes: ...
    def error(self, code: str, detail: str, topic: str) -> bytes: ...
    def message(self, payload: bytes, *, is_last: bool = False) -> Message: ...


def frame(
    record: Record, style: Style, topic: LiveTopic, source: str, record_id: str = ""
) -> bytes:
    """Return a record as one frame, without an id.

    source     address of the topic, for CloudEvents
    record_id  the partner's id of the record, needed where the style hides its place
    """
    if style.text == "protobuf":
        return received.received(record, record_id)
    if style.format == "raw":
        return _raw(record)
    if style.format == "cloudevents":
        content = objects.cloudevent_object(record, topic, source, record_id)
    else:
        content = objects.envelope_object(record, topic, record_id)
    match style.text:
        case "sse":
            return b"data: %b\n\n" % content
        case "ndjson":
            return b'{"type":"message",%b\n' % content[1:]
        case "object" | "protobuf":
            return content


def _raw(record: Record) -> bytes:
    """Return the value itself, as lines; what is no UTF-8 in base64, a tombstone as its key."""
    if record.value is None:
        return b"event: tombstone\ndata: %b\n\n" % objects.key_json(record.key)
    try:
        record.value.decode()
    except UnicodeDecodeError:
        return b"event: binary\ndata: %b\n\n" % b64encode(record.value)
    lines = _LINE_END.split(record.value)
    return b"data: %b\n\n" % b"\ndata: ".join(lines)


@dataclass(frozen=True, slots=True)
class Sse:
    """Server-sent events; ``every`` puts an id on each record instead of the last of a write."""

    every: bool = False
    name: str = "sse"
    text: Text = "sse"

    def records(self, runs: Sequence[Run]) -> bytes:
        """Return the frames with the id before the last one's first line.

        A client keeps an id with the frame it stands in, so a write that is cut repeats and
        never loses.
        """
        if not self.every:
            frames = [one for run in runs for one in run.frames]
            frames[-1] = b"id: %b\n%b" % (runs[-1].token.encode(), frames[-1])
            return b"".join(frames)
        return b"".join(
            b"id: %b\n%b" % (run.token.encode(), one) for run in runs for one in run.frames
        )

    def heartbeat(self, beat: Beat, token: str, *, retry_ms: int = 0) -> bytes:
        retry = b"retry: %d\n" % retry_ms if retry_ms else b""
        return retry + _event(b"heartbeat", beat_members(beat), token)

    def gap(self, gap: Gap, token: str, *, hides_place: bool) -> bytes:
        return _event(b"gap", gap_members(gap, hides_place=hides_place), token)

    def closing(self, closing: Closing) -> bytes:
        retry = b"retry: %d\n" % closing.retry_ms
        return retry + _event(b"closing", closing_members(closing), closing.token)

    def error(self, code: str, detail: str, topic: str) -> bytes:
        return _event(b"error", {"code": code, "detail": detail, "topic": topic}, "")

    def message(self, payload: bytes, *, is_last: bool = False) -> Message:
        return body_message(payload, is_last=is_last)


@dataclass(frozen=True, slots=True)
class Ndjson:
    """One JSON object a line; ``every`` puts a cursor into each record instead of a last line."""

    every: bool = False
    name: str = "ndjson"
    text: Text = "ndjson"

    def records(self, runs: Sequence[Run]) -> bytes:
        if not self.every:
            lines = [one for run in runs for one in run.frames]
            lines.append(_line("position", {"cursor": runs[-1].token}))
            return b"".join(lines)
        start = len(b'{"type":"message"')
        return b"".join(
            b'%b,"cursor":"%b"%b' % (one[:start], run.token.encode(), one[start:])
            for run in runs
            for one in run.frames
        )

    def heartbeat(self, beat: Beat, token: str, *, retry_ms: int = 0) -> bytes:  # noqa: ARG002 - the door's shape; a retry time is SSE's
        return _line("heartbeat", beat_members(beat) | {"cursor": token})

    def gap(self, gap: Gap, token: str, *, hides_place: bool) -> bytes:
        return _line("gap", gap_members(gap, hides_place=hides_place) | {"cursor": token})

    def closing(self, closing: Closing) -> bytes:
        return _line("closing", closing_members(closing))

    def error(self, code: str, detail: str, topic: str) -> bytes:
        return _line("error", {"code": code, "detail": detail, "topic": topic})

    def message(self, payload: bytes, *, is_last: bool = False) -> Message:
        return body_message(payload, is_last=is_last)


def body_message(payload: bytes, *, is_last: bool = False) -> Message:
    """Return the ASGI message that writes bytes of an answer's body."""
    return {"type": "http.response.body", "body": payload, "more_body": not is_last}


def beat_members(beat: Beat) -> dict[str, object]:
    """Return the members of a heartbeat."""
    members: dict[str, object] = {"time": beat.time, "state": beat.state}
    if beat.lag_records is not None:
        members["lag_records"] = beat.lag_records
    members["lag_seconds"] = round(beat.lag_seconds, 3)
    if beat.stream:
        members |= {"stream": beat.stream, "heartbeat_ms": beat.heartbeat_ms}
    return members


def gap_members(gap: Gap, *, hides_place: bool) -> dict[str, object]:
    """Return the members of a gap; a filtered grant's has no place and no numbers."""
    members: dict[str, object] = {"topic": gap.topic}
    if not hides_place:
        members |= {
            "partition": gap.partition,
            "from": gap.start,
            "to": gap.end,
            "lost": gap.lost,
        }
    return members | {"reason": gap.reason, "resumed_at": gap.resumed_at}


def closing_members(closing: Closing) -> dict[str, object]:
    """Return the members of a closing."""
    return {
        "reason": closing.reason,
        "action": closing.action,
        "retry_ms": closing.retry_ms,
        "status": closing.status,
        "detail": closing.detail,
        "cursor": closing.cursor,
    }


def _event(name: bytes, members: Mapping[str, object], token: str) -> bytes:
    own = b"id: %b\n" % token.encode() if token else b""
    return b"%bevent: %b\ndata: %b\n\n" % (own, name, _encode(members))


def _line(kind: str, members: Mapping[str, object]) -> bytes:
    return _encode({"type": kind, **members}) + b"\n"
