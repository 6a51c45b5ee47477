"""What is said on a WebSocket, both ways: operations, answers, and their limits (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.batch import doubled
from gateway.frames import Beat, Closing, Gap, Message, Run, Text, beat_members, gap_members
from kafkahub import strictjson
from kafkahub.errors import Invalid
from kafkahub.limits.gcra import Rate

SUBPROTOCOL = "kafkahub.v1.json"
VERSION = 1
MAX_CONTROL_BYTES = 256 * 1024
"""A message that is no ``produce``; one of those may have what the server takes at all."""
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_SUBSCRIPTIONS = 20
MAX_PRODUCES = 8
"""``produce`` operations without their answer."""
MAX_RECORDS = 100
"""Records in one ``produce``."""
MAX_CREDIT = 100_000
MAX_ACK_WINDOW = 10_000
MAX_UNACKED_CURSORS = 10_000
"""Cursors of which an ack is known: a client without a window that never acks costs no more."""
MAX_ERRORS, ERRORS_S = 10, 60.0
"""A client that is told more errors in this time is broken, and does not learn."""
MESSAGES = Rate(per_s=50, burst=200)
"""How fast a client may send."""
IDLE_S = 60.0
"""Longest time without a subscription and without a ``produce``."""
FIRST_SUB = "0"
"""The subscription that the URL asks for."""

LIMITS: Mapping[str, int] = {
    "subscriptions": MAX_SUBSCRIPTIONS,
    "control_bytes": MAX_CONTROL_BYTES,
    "produce_bytes": MAX_MESSAGE_BYTES,
    "produce_records": MAX_RECORDS,
    "outstanding_produces": MAX_PRODUCES,
    "messages_per_second": int(MESSAGES.per_s),
    "messages_burst": MESSAGES.burst,
    "credit": MAX_CREDIT,
    "ack_window": MAX_ACK_WINDOW,
}

MAX_REF = 64
"""Characters of an ``id``, which comes back as ``ref``."""

Ref = Annotated[str, Meta(min_length=1, max_length=MAX_REF)]
Sub = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
GroupName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
_encode = msgspec.json.encode


class _Operation(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True
):
    """What a client asks for."""


class Subscribe(_Operation, frozen=True, tag="subscribe", rename={"start": "from"}):
    """Open a subscription; ``credit`` None leaves the pace to TCP.

    group     of which it is one instance: it goes on where the group stands
    instance  the same name again takes its place; None for one of its own
    """

    id: Ref
    sub: Sub
    topics: Annotated[list[str], Meta(min_length=1, max_length=20)]
    filter: dict[str, object] | None = None
    start: str | None = None
    since: str | int | None = None
    cursor: str | None = None
    format: Literal["envelope", "cloudevents"] | None = None
    on_gap: Literal["continue", "fail"] = "continue"
    credit: Annotated[int, Meta(ge=0, le=MAX_CREDIT)] | None = None
    ack_window: Annotated[int, Meta(ge=1, le=MAX_ACK_WINDOW)] | None = None
    group: GroupName | None = None
    instance: GroupName | None = None


class Unsubscribe(_Operation, frozen=True, tag="unsubscribe"):
    """End a subscription."""

    id: Ref
    sub: Sub


class Credit(_Operation, frozen=True, tag="credit"):
    """Let ``n`` more records be sent."""

    sub: Sub
    n: Annotated[int, Meta(ge=1, le=MAX_CREDIT)]


class Ack(_Operation, frozen=True, tag="ack"):
    """Everything up to this cursor is processed."""

    sub: Sub
    cursor: str


class Ping(_Operation, frozen=True, tag="ping"):
    """Ask for a sign of life."""

    id: Ref


class Produce(_Operation, frozen=True, tag="produce"):
    """Write records; each of them is still as it was sent."""

    id: Ref
    topic: str
    records: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_RECORDS)]


Control = Subscribe | Unsubscribe | Credit | Ack | Ping
Operation = Control | Produce
KINDS = ("subscribe", "unsubscribe", "credit", "ack", "produce", "ping")


class BadMessage(Exception):
    """A message that cannot be understood; ``ref`` is its ``id`` where it could be read."""

    def __init__(self, detail: str, ref: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.ref = ref


class TooBig(Exception):
    """A control message beyond its size; it is not looked into."""


class _Head(msgspec.Struct):
    type: str = ""
    id: str | None = None


def read(text: str) -> Operation:
    """Return what a message asks for. Raises BadMessage, TooBig."""
    content = text.encode()
    is_large = len(content) > MAX_CONTROL_BYTES
    try:
        head = msgspec.json.decode(content, type=_Head)
    except (msgspec.DecodeError, RecursionError):
        if is_large:
            raise TooBig from None
        raise BadMessage(_why_not_json(content)) from None
    ref = head.id if head.id and len(head.id) <= MAX_REF else None
    if head.type == "produce":
        return _read_produce(content, ref)
    if is_large:
        raise TooBig
    if head.type not in KINDS:
        raise BadMessage(f"`type` is one of {', '.join(KINDS)}.", ref)
    try:
        found: Control = msgspec.convert(strictjson.loads(content), Control)
    except Invalid as error:
        raise BadMessage(error.detail, ref) from None
    except msgspec.ValidationError as error:
        raise BadMessage(f"{error}.", ref) from None
    if isinstance(found, Subscribe):
        _check(found, ref)
    return found


def _check(wish: Subscribe, ref: str | None) -> None:
    if len(set(wish.topics)) < len(wish.topics):
        raise BadMessage("A topic is there twice.", ref)
    if wish.instance is not None and wish.group is None:
        raise BadMessage("An instance is one of a group; name it.", ref)


def _read_produce(content: bytes, ref: str | None) -> Produce:
    try:
        found = msgspec.json.decode(content, type=Produce)
        members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise BadMessage(f"{error}.", ref) from None
    if doubled(content, members):
        raise BadMessage("A field is there twice.", ref)
    return found


def format_of(wish: Subscribe, set_before: str) -> Literal["envelope", "cloudevents"]:
    """Return the format of a subscription; ``set_before`` is that of its ticket, or ``""``."""
    if set_before == "cloudevents":
        return "cloudevents"
    return wish.format or "envelope"


def names(operation: Operation) -> tuple[str | None, str | None]:
    """Return the ``id`` and the ``sub`` of an operation, as far as it has them."""
    match operation:
        case Subscribe(id=ref, sub=sub) | Unsubscribe(id=ref, sub=sub):
            return ref, sub
        case Credit(sub=sub) | Ack(sub=sub):
            return None, sub
        case Produce(id=ref) | Ping(id=ref):
            return ref, None


def _why_not_json(content: bytes) -> str:
    faults = strictjson.find_faults(content)
    return faults[0].message if faults else "A message is one JSON object with a `type`."


@dataclass(frozen=True, slots=True)
class WebSocketDoor:
    """How one subscription of a WebSocket is told of its records."""

    sub: str
    name: str = "ws"
    text: Text = "object"

    def records(self, runs: Sequence[Run]) -> bytes:
        """Return one ``events`` message: objects joined as they are, and where they end."""
        return b'{"type":"events","sub":"%b","events":[%b],"cursor":"%b"}' % (
            self.sub.encode(),
            b",".join(one for run in runs for one in run.frames),
            runs[-1].token.encode(),
        )

    def heartbeat(self, beat: Beat, token: str, *, retry_ms: int = 0) -> bytes:  # noqa: ARG002 - the door's shape; a retry time is SSE's
        return heartbeat(beat.time, {self.sub: (beat, token)})

    def gap(self, gap: Gap, token: str, *, hides_place: bool) -> bytes:
        members = gap_members(gap, hides_place=hides_place)
        return _encode({"type": "gap", "sub": self.sub, **members, "cursor": token})

    def closing(self, closing: Closing) -> bytes:
        return closing_message(closing, {self.sub: closing.cursor})

    def error(self, code: str, detail: str, topic: str) -> bytes:
        told = {"type": "error", "sub": self.sub, "code": code, "detail": detail}
        return _encode(told | {"topic": topic})

    def message(self, payload: bytes, *, is_last: bool = False) -> Message:  # noqa: ARG002 - the Close frame is a message of its own
        return text_message(payload)


def text_message(payload: bytes) -> Message:
    """Return the ASGI message that sends JSON."""
    return {"type": "websocket.send", "text": payload.decode()}


def hello(connection: str, heartbeat_ms: int) -> bytes:
    """Return the first message of a connection."""
    told = {"type": "hello", "connection": connection, "version": VERSION}
    return _encode(told | {"limits": LIMITS, "heartbeat_ms": heartbeat_ms})


def subscribed(
    ref: str | None, sub: str, topics: Sequence[str], cursor: str, credit: int | None
) -> bytes:
    """Return the answer to ``subscribe``."""
    told = {"type": "subscribed", "ref": ref, "sub": sub, "topics": list(topics)}
    return _encode(told | {"cursor": cursor, "credit": credit})


def unsubscribed(ref: str, sub: str, cursor: str) -> bytes:
    """Return the answer to ``unsubscribe``: where the subscription stood."""
    return _encode({"type": "unsubscribed", "ref": ref, "sub": sub, "cursor": cursor})


def produced(ref: str, records: Sequence[Mapping[str, object]]) -> bytes:
    """Return the answer to ``produce``; a record with an ``error`` was not confirmed."""
    failed = sum("error" in record for record in records)
    told = {"type": "produced", "ref": ref, "written": len(records) - failed, "failed": failed}
    return _encode(told | {"records": records})


def pong(ref: str) -> bytes:
    """Return the answer to ``ping``."""
    return _encode({"type": "pong", "ref": ref})


def error(
    code: str,
    detail: str,
    *,
    ref: str | None = None,
    sub: str | None = None,
    wait_s: int | None = None,
) -> bytes:
    """Return what went wrong with one message; the connection stays.

    wait_s  after which it may be sent again
    """
    retry_ms = None if wait_s is None else wait_s * 1_000
    told = {"type": "error", "code": code, "detail": detail}
    more = (("ref", ref), ("sub", sub), ("retry_ms", retry_ms))
    return _encode(told | {name: value for name, value in more if value is not None})


def heartbeat(time: str, subs: Mapping[str, tuple[Beat, str]]) -> bytes:
    """Return a heartbeat: what is known of each subscription, and its cursor."""
    told = {sub: {"cursor": token} | _state(beat) for sub, (beat, token) in subs.items()}
    return _encode({"type": "heartbeat", "time": time, "subs": told})


def closing_message(closing: Closing, cursors: Mapping[str, str | None]) -> bytes:
    """Return the last message; the Close frame follows with the same code."""
    told = {"type": "closing", "code": closing.ws_code, "reason": closing.reason}
    more = {"action": closing.action, "retry_ms": closing.retry_ms, "detail": closing.detail}
    return _encode(told | more | {"cursors": cursors})


def _state(beat: Beat) -> dict[str, object]:
    members = beat_members(beat)
    return {name: members[name] for name in members if name != "time"}
