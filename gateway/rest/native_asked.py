"""What a read in our own form asks for, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.asked import read_start
from gateway.hub.reads import Bounds
from gateway.rest.call import Call
from gateway.rest.native import check_names
from gateway.rest.parts import now_ms
from gateway.starts import Earliest, Start
from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid, NotAcceptable
from subscriptions.filters.closures import Test, compile_filter
from subscriptions.filters.places import refuse_places
from subscriptions.filters.syntax import parse

PARAMETERS: Final = frozenset(
    {"cursor", "from", "since", "limit", "max_bytes", "wait", "filter", "on_gap"}
)
STARTS: Final = ("cursor", "from", "since")
JSON_TYPE, NDJSON_TYPE = "application/json", "application/x-ndjson"
EVENTS_TYPE: Final = "application/cloudevents-batch+json"
_TYPES: Final[Mapping[str, str]] = {
    "": JSON_TYPE,
    "*/*": JSON_TYPE,
    "application/*": JSON_TYPE,
    JSON_TYPE: JSON_TYPE,
    NDJSON_TYPE: NDJSON_TYPE,
    EVENTS_TYPE: EVENTS_TYPE,
}
MAX_FILTER_BYTES: Final = 2_048
MAX_ANSWER: Final = 16 * 1024 * 1024
MAX_WAIT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """What a read asks for."""

    start: Start
    cursor: str | None
    bounds: Bounds
    wait_s: float
    test: Test | None
    fails_on_gap: bool
    kind: str


def asked_of(call: Call, *, hides: bool) -> Asked:
    """Return what a request asks for; ``hides``: the grant shows no places.

    Raises Invalid and NotAcceptable.
    """
    check_names(call, PARAMETERS)
    query = call.query
    if len([name for name in STARTS if name in query]) > 1:
        raise _wrong("cursor", "give one of cursor, from and since.")
    start = read_start(query.get("from"), query.get("since"), now_ms())
    is_open = "from" not in query and "since" not in query
    if query.get("on_gap", "continue") not in ("continue", "fail"):
        raise _wrong("on_gap", "it is continue or fail.")
    return Asked(
        start=Earliest() if is_open else start,
        cursor=query.get("cursor"),
        bounds=Bounds(
            _within(query, "limit", 100, 1, 1_000),
            _within(query, "max_bytes", 1_048_576, 1_024, MAX_ANSWER),
        ),
        wait_s=_seconds(query.get("wait", "0")),
        test=_filter(query.get("filter"), hides=hides),
        fails_on_gap=query.get("on_gap") == "fail",
        kind=_kind(call.header(b"accept")),
    )


def _kind(accept: str) -> str:
    for part in accept.split(","):
        found = _TYPES.get(part.partition(";")[0].strip().lower())
        if found is not None:
            return found
    raise NotAcceptable(f"Answers are {JSON_TYPE}, {NDJSON_TYPE} or {EVENTS_TYPE}.")


def _within(query: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return usual
    if not text.isdecimal() or not text.isascii() or not least <= int(text[:12]) <= most:
        raise _wrong(name, f"it is {least} to {most}.")
    return int(text)


def _seconds(text: str) -> float:
    whole, _, part = text.partition(".")
    is_number = (whole + part).isdecimal() and text.isascii() and len(text) <= len("30.000000")
    if not is_number or not 0 <= float(text) <= MAX_WAIT_S:
        raise _wrong("wait", f"it is 0 to {MAX_WAIT_S} seconds.")
    return float(text)


def _filter(text: str | None, *, hides: bool) -> Test | None:
    if text is None:
        return None
    raw = text.encode()
    if len(raw) > MAX_FILTER_BYTES:
        said = f"A filter in a URL has {MAX_FILTER_BYTES} bytes at most."
        raise Invalid([Fault("", "invalid_filter", said)])
    try:
        value = strictjson.loads(raw)
    except Invalid as error:
        raise Invalid(error.faults, code="invalid_filter") from None
    if value == {}:
        return None
    parsed = parse(value)
    if hides:
        refuse_places(parsed)
    return compile_filter(parsed)


def _wrong(name: str, text: str) -> Invalid:
    return Invalid([Fault("", "invalid_parameter", f"{name}: {text}", {"parameter": name})])
