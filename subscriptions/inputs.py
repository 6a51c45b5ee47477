"""JSON values of the control API to what is kept; each function raises Invalid with the fault."""

import re
from datetime import datetime
from ipaddress import ip_network

from kafkahub import clock
from kafkahub.drf.fields import ListOf, Whole, parse_moment
from kafkahub.errors import Fault, Invalid
from subscriptions import cors, headers
from subscriptions.cursor import SEALED, decode, raw
from subscriptions.filters.syntax import parse
from subscriptions.models.topics import TOPIC_NAME
from subscriptions.starts import At, Earliest, FirstFailure, Latest, Offsets, Since, Start, Unopened

MAX_SCHEDULE_S = 30 * 86_400
INCLUDES = ("id", "record", "topic", "key", "headers", "position")
"""Members that an envelope may carry beside its own, in the order they stand there."""
FIXED_SCOPES = (
    "webhooks:read",
    "webhooks:write",
    "deliveries:read",
    "deliveries:write",
    "keys:manage",
)

THUMBPRINT = re.compile(r"[0-9a-f]{64}")
_TOPIC_SCOPE = re.compile(r"topic:(\*|[A-Za-z0-9._-]{1,249}):(read|write)")
MAX_OFFSET = 1 << 63
_PARTITION = re.compile(r"0|[1-9][0-9]{0,5}")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def wrong(code: str, text: str, pointer: str = "", **more: object) -> Invalid:
    """Return the refusal of one value."""
    return Invalid([Fault(pointer, code, text, more)])


def as_text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong("wrong_type", "A string is needed here.")
    return value


def as_topic(value: object) -> str:
    if not TOPIC_NAME.fullmatch(text := as_text(value)):
        raise wrong("not_a_topic", "A topic name is needed here.")
    return text


def as_event_type(value: object) -> str:
    if not _EVENT_TYPE.fullmatch(text := as_text(value)):
        raise wrong("not_a_type", "An event type is 1 to 128 of A-Z, a-z, 0-9, _ . and -.")
    return text


def as_scope(value: object) -> str:
    text = as_text(value)
    if text not in FIXED_SCOPES and not _TOPIC_SCOPE.fullmatch(text):
        allowed = [*FIXED_SCOPES, "topic:<name or *>:read", "topic:<name or *>:write"]
        raise wrong("not_one_of", f"A scope is one of {', '.join(allowed)}.", allowed=allowed)
    return text


def as_cidr(value: object) -> str:
    try:
        return str(ip_network(as_text(value)))
    except ValueError:
        raise wrong("wrong_type", "A network such as 192.0.2.0/24 is needed here.") from None


def as_thumbprint(value: object) -> str:
    """Return the SHA-256 of a certificate as 64 hex digits; colons between them are left out."""
    text = as_text(value).replace(":", "").lower()
    if not THUMBPRINT.fullmatch(text):
        raise wrong("wrong_type", "A SHA-256 in hex is needed here: 64 digits, colons allowed.")
    return text


def as_origin(value: object) -> str:
    return cors.canonical(as_text(value))


def as_filter(value: object) -> object:
    try:
        parse(value, at="/filter")
    except Invalid as error:
        # The form puts the member's name before each place; the sentences have it already.
        inner = [
            Fault(each.pointer.removeprefix("/filter"), each.code, each.message, each.more)
            for each in error.faults
        ]
        raise Invalid(inner, code=error.instance_code) from None
    return value


def as_headers(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise wrong("wrong_type", "An object of header names and values is needed here.")
    return headers.check(value, "")


def as_start(value: object) -> Start:
    match value:
        case "latest":
            return Latest()
        case "earliest":
            return Earliest()
        case {"time": str(text), **rest} if not rest:
            return Since(_start_time(text))
        case {"cursor": str(token), **rest} if not rest:
            return _start_cursor(token)
        case {"offsets": dict(of), **rest} if not rest and of:
            return Offsets({as_topic(topic): _start_offsets(topic, at) for topic, at in of.items()})
        case "first_failure":
            return FirstFailure()
    allowed = '"latest", "earliest", "first_failure", {"time": …}, {"cursor": …} or {"offsets": …}'
    raise wrong("not_one_of", f"{allowed} is needed here.")


def _start_offsets(topic: str, value: object) -> dict[int, int]:
    """Return offsets by partition, as JSON writes them: ``{"0": 42}``."""
    pointer = f"/offsets/{topic}"
    if not isinstance(value, dict) or not value:
        raise wrong("wrong_type", 'Offsets by partition are needed, such as {"0": 42}.', pointer)
    found: dict[int, int] = {}
    for number, offset in value.items():
        is_whole = isinstance(offset, int) and not isinstance(offset, bool)
        if not _PARTITION.fullmatch(number) or not is_whole or not 0 <= offset < MAX_OFFSET:
            text = "A partition's number and an offset of 0 or more are needed."
            raise wrong("wrong_type", text, f"{pointer}/{number}")
        found[int(number)] = offset
    return found


def _start_cursor(token: str) -> Start:
    try:
        if raw(token).startswith(SEALED):
            return Unopened(token)
        return At(decode(token), token)
    except Invalid as error:
        # The form puts the member's name before the place.
        raise wrong("invalid_cursor", error.detail, "/cursor") from None


def _start_time(text: str) -> datetime:
    try:
        moment = parse_moment(text)
    except ValueError as error:
        raise wrong("wrong_type", str(error), "/time") from None
    if moment > clock.now():
        raise wrong("out_of_range", "The time is in the future; start at latest.", "/time")
    return moment


TEXT = {"type": "string"}
FILTER = {
    "type": "object",
    "description": "The filter language; {} lets everything pass.",
    "additionalProperties": True,
}
START = {
    "description": "Where each partition begins.",
    "oneOf": [
        {"type": "string", "enum": ["latest", "earliest", "first_failure"]},
        {
            "type": "object",
            "required": ["time"],
            "properties": {"time": {"type": "string", "format": "date-time"}},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["cursor"],
            "properties": {"cursor": {"type": "string"}},
            "additionalProperties": False,
        },
        {
            "type": "object",
            "required": ["offsets"],
            "properties": {
                "offsets": {
                    "type": "object",
                    "description": "Offsets by topic and partition, under an unfiltered grant.",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": {"type": "integer", "minimum": 0},
                    },
                }
            },
            "additionalProperties": False,
        },
    ],
    "default": "latest",
}
HEADERS = {
    "type": "object",
    "maxProperties": headers.MAX_HEADERS,
    "additionalProperties": {"type": "string", "maxLength": headers.MAX_VALUE},
}


def as_schedule(value: object) -> list[int]:
    delays = ListOf(child=Whole(min_value=1, max_value=604_800), max_length=50)
    kept: list[int] = delays.run_validation(value)
    if sum(kept) > MAX_SCHEDULE_S:
        raise wrong("out_of_range", f"The delays may be {MAX_SCHEDULE_S} s together.")
    return kept


def as_it_is(value: object) -> object:
    return value
