"""What the URL of a stream asks for (pure)."""

import re
from collections import Counter
from collections.abc import Sequence

from gateway.asked import read_start
from gateway.frames import Door, Format, Ndjson, Sse
from gateway.http import Request
from gateway.stream import MAX_TOPICS, Wanted
from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid, NotAcceptable
from subscriptions import cursor as codec
from subscriptions.authentication.tickets import Ticket

MAX_FILTER_BYTES = 2_048
PARAMETERS = frozenset(
    {
        "filter",
        "from",
        "since",
        "last_event_id",
        "format",
        "id",
        "on_gap",
        "errors",
        "ticket",
    }
)
CHOICES = {
    "format": ("envelope", "raw", "cloudevents"),
    "id": ("batch", "every"),
    "on_gap": ("continue", "fail"),
    "errors": ("auto", "http"),
}
"""Values of the parameters that have a few; the first is the default."""

SSE_TYPE, NDJSON_TYPE = "text/event-stream", "application/x-ndjson"
_ACCEPTED = {SSE_TYPE: "sse", "text/*": "sse", "*/*": "sse", NDJSON_TYPE: "ndjson"}
_QUALITY = re.compile(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)", re.ASCII)


def topics_of(path: str, prefix: str) -> tuple[str, ...]:
    """Return the topic names of a path. Raises Invalid for none, too many, or one twice."""
    names = tuple(path.removeprefix(prefix).split(","))
    if len(names) > MAX_TOPICS:
        text = f"A stream has 1 to {MAX_TOPICS} topics."
        raise Invalid([Fault("", "too_many_topics", text)])
    if len(set(names)) < len(names) or not all(names):
        raise Invalid([Fault("", "invalid_parameter", "Each topic is named once.")])
    return names


def check_names(request: Request, known: frozenset[str] = PARAMETERS) -> None:
    """Raise Invalid for parameters that nobody knows, or that come twice."""
    if request.is_garbled:
        text = "The query is no UTF-8, or has too many parameters."
        raise Invalid([Fault("", "invalid_parameter", text)])
    counts = Counter(name for name, _ in request.query)
    faults = [
        Fault("", "unknown_parameter", f"{name}: there is no such parameter.", {"parameter": name})
        for name in counts
        if name not in known
    ]
    faults += [_fault(name, "it may come once.") for name, count in counts.items() if count > 1]
    if faults:
        raise Invalid(faults)


def choice(request: Request, name: str) -> str:
    """Return one of a parameter's few values, by default the first. Raises Invalid."""
    given = request.parameter(name)
    allowed = CHOICES[name]
    if given is None:
        return allowed[0]
    if given not in allowed:
        raise Invalid([_fault(name, f"it is one of {', '.join(allowed)}.")])
    return given


def filter_of(text: str | None) -> object:
    """Return a filter as decoded JSON, None without one. Raises Invalid ``invalid_filter``."""
    if text is None:
        return None
    raw = text.encode()
    if len(raw) > MAX_FILTER_BYTES:
        message = f"A filter in a URL has {MAX_FILTER_BYTES} bytes at most."
        raise Invalid([Fault("", "invalid_filter", message)])
    try:
        return strictjson.loads(raw)
    except Invalid as error:
        raise Invalid(error.faults, code="invalid_filter") from None


def wanted_of(
    request: Request, topics: Sequence[str], door: Door, ticket: Ticket | None, now_ms: int
) -> Wanted:
    """Return what a stream's URL and headers ask for; what a ticket has set stands before.

    The first that is there decides where it begins: ``Last-Event-ID``, ``last_event_id``,
    ``since``, ``from``. A reconnecting browser repeats its old URL, so that is no conflict.
    """
    form: Format = choice(request, "format")  # type: ignore[assignment]  # one of CHOICES
    if ticket is not None and ticket.format:
        form = ticket.format  # type: ignore[assignment]  # checked when the ticket was made
    if form == "raw" and door.text != "sse":
        raise Invalid([_fault("format", "raw is for server-sent events.")])
    has_filter = ticket is not None and ticket.filter is not None
    given = filter_of(request.parameter("filter"))
    return Wanted(
        topics=tuple(topics),
        text=door.text,
        filter=ticket.filter if ticket is not None and has_filter else given,
        start=read_start(request.parameter("from"), request.parameter("since"), now_ms),
        cursor=cursor_of(request),
        format=form,
        every=choice(request, "id") == "every",
        on_gap_fail=choice(request, "on_gap") == "fail",
    )


def cursor_of(request: Request) -> str | None:
    """Return the cursor that a request brings; an empty one is none."""
    return request.header("last-event-id") or request.parameter("last_event_id") or None


def is_well_formed(cursor: str | None) -> bool:
    """Return whether a cursor could be one of ours: its bearer had a stream before."""
    if cursor is None:
        return False
    try:
        if cursor.lstrip().startswith("["):
            codec.read_array(cursor)
            return True
        content = codec.raw(cursor)
        if content.startswith(codec.PLAIN):
            codec.decode(cursor)
            return True
    except Invalid:
        return False
    return content.startswith(codec.SEALED)


def door_of(request: Request) -> Door:
    """Return the door that ``Accept`` asks for: SSE on a tie. Raises NotAcceptable."""
    best: dict[str, float] = {}
    for part in (request.header("accept") or "*/*").split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        name = _ACCEPTED.get(kind)
        if name is not None:
            best[name] = max(best.get(name, 0.0), _quality(parameters))
    every = request.parameter("id") == "every"
    sse, ndjson = best.get("sse", 0.0), best.get("ndjson", 0.0)
    if sse and sse >= ndjson:
        return Sse(every)
    if ndjson:
        return Ndjson(every)
    raise NotAcceptable(f"This is {SSE_TYPE} or {NDJSON_TYPE}.")


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            return float(parameter[2:]) if _QUALITY.fullmatch(parameter) else 0.0
    return 1.0


def _fault(name: str, text: str) -> Fault:
    return Fault("", "invalid_parameter", f"{name}: {text}", {"parameter": name})
