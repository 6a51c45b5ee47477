"""What the Confluent REST Proxy's clients expect: media types, formats, error numbers (pure)."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from kafkahub.errors import (
    Conflict,
    Forbidden,
    HubError,
    InProgress,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    PartitionNotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)

Embedded = Literal["binary", "json"]
"""How keys and values stand in a body; schema formats come with the Schema Registry."""

JSON: Final = "application/json"
V2: Final = "application/vnd.kafka.v2+json"
EMBEDDED: Final[Mapping[str, Embedded]] = {
    "application/vnd.kafka.binary.v2+json": "binary",
    "application/vnd.kafka.json.v2+json": "json",
}
PRODUCED: Final[Mapping[str, Embedded]] = {**EMBEDDED, JSON: "json"}
"""Content types of a produce request, with the format that each means."""
BODIES: Final = (V2, *EMBEDDED, JSON)
"""Content types of every other request's body."""
ACCEPT_PRODUCE: Final = ", ".join(PRODUCED)
ACCEPT_BODIES: Final = ", ".join(BODIES)
_GROUPS: Final = frozenset({"*/*", "application/*"})

TOPIC_NOT_FOUND: Final = 40401
PARTITION_NOT_FOUND: Final = 40402
INSTANCE_NOT_FOUND: Final = 40403
GROUP_NOT_FOUND: Final = 40405
FORMAT_MISMATCH: Final = 40601
INSTANCE_EXISTS: Final = 40902
ILLEGAL_STATE: Final = 40903
INVALID_CONFIGURATION: Final = 42204
OUT_OF_BOUNDS: Final = 40001
RECORD_TOO_LARGE: Final = 41301
UNDECODABLE: Final = 42207
PAYLOAD: Final = 42206
BATCH: Final = 42208
FINAL: Final = 50002
RETRIABLE: Final = 50003

Headers = tuple[tuple[bytes, bytes], ...]


class Refusal(Exception):
    """An answer that only these doors know: HTTP status, Confluent's number, text."""

    def __init__(self, status: int, number: int, text: str, headers: Headers = ()) -> None:
        super().__init__(text)
        self.status = status
        self.number = number
        self.text = text
        self.headers = headers


class Answer(NamedTuple):
    """An error as it goes out."""

    status: int
    body: bytes
    headers: Headers = ()


def malformed(text: str) -> Refusal:
    """Return the refusal of a body that is no JSON, or JSON of the wrong type."""
    return Refusal(400, 400, f"Bad Request: {text}")


def unprocessable(text: str) -> Refusal:
    """Return the refusal of a field that is unknown, missing or empty."""
    return Refusal(422, 422, text)


def illegal_state(text: str) -> Refusal:
    """Return the refusal of what the state of an instance forbids."""
    return Refusal(409, ILLEGAL_STATE, f"Illegal state: {text}")


def instance_not_found() -> Refusal:
    """Return the one answer for an instance that is unknown, expired or another partner's."""
    return Refusal(404, INSTANCE_NOT_FOUND, "Consumer instance not found.")


def topic_not_found() -> Refusal:
    return Refusal(404, TOPIC_NOT_FOUND, "Topic not found.")


def partition_not_found() -> Refusal:
    return Refusal(404, PARTITION_NOT_FOUND, "Partition not found.")


def not_found(text: str = "HTTP 404 Not Found") -> Refusal:
    return Refusal(404, 404, text)


def body_of(number: int, text: str) -> bytes:
    """Return the body of every error at these doors."""
    return msgspec.json.encode({"error_code": number, "message": text})


def describe(error: HubError | Refusal) -> Answer:
    """Return an error as these doors write it."""
    if isinstance(error, Refusal):
        return Answer(error.status, body_of(error.number, error.text), error.headers)
    status, number, text = _described(error)
    return Answer(status, body_of(number, text), _headers(error))


_NUMBERS: Sequence[tuple[type[HubError], int, int]] = (
    (Unauthenticated, 401, 40101),
    (Forbidden, 403, 40301),
    (NotFound, 404, TOPIC_NOT_FOUND),
    (MethodNotAllowed, 405, 405),
    (NotAcceptable, 406, 406),
    (Conflict, 409, 409),
    (TooLarge, 413, 413),
    (RateLimited, 429, 429),
    (Unavailable, 503, 50302),
)
_TEXTS: Mapping[int, str] = {
    404: "Topic not found.",
    415: "HTTP 415 Unsupported Media Type",
    500: "Internal Server Error",
}
"""Texts that are always the same; ours may say what is nobody's business."""
_MALFORMED = frozenset({"invalid_json", "duplicate_key", "too_deep", "two_credentials"})


def _described(error: HubError) -> tuple[int, int, str]:
    if isinstance(error, PartitionNotFound):
        return 404, PARTITION_NOT_FOUND, "Partition not found."
    if isinstance(error, Invalid):
        if error.instance_code in _MALFORMED:
            return 400, 400, f"Bad Request: {error.detail}"
        return 422, 422, error.detail
    for kind, status, number in _NUMBERS:
        if isinstance(error, kind):
            return status, number, _TEXTS.get(status, error.detail)
    return error.status, error.status, _TEXTS.get(error.status, error.detail)


def _headers(error: HubError) -> Headers:
    if isinstance(error, Unauthenticated):
        return (
            (b"www-authenticate", b'Bearer realm="kafkahub"'),
            (b"www-authenticate", b'Basic realm="kafkahub"'),
        )
    wait_s = error.retry_after_s
    if isinstance(error, InProgress):
        wait_s = wait_s or 1
    elif isinstance(error, RateLimited | Unavailable):
        wait_s = wait_s or 5
    return () if wait_s is None else ((b"retry-after", b"%d" % wait_s),)


def media_type(text: str) -> str:
    """Return a ``Content-Type`` without its parameters, in lower case.

    Raises UnsupportedMedia for a charset other than UTF-8.
    """
    kind, _, parameters = text.partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() != "utf-8":
            raise UnsupportedMedia("Only UTF-8 is taken.")
    return kind.strip().lower()


def produced(content_type: str) -> Embedded:
    """Return the embedded format of a produce request.

    Raises Refusal 415, which names the types that are taken.
    """
    found = PRODUCED.get(content_type)  # as nearly all clients spell it
    if found is None:
        found = PRODUCED.get(_checked(content_type, ACCEPT_PRODUCE))
    if found is None:
        raise unsupported(ACCEPT_PRODUCE)
    return found


def check_body(content_type: str) -> None:
    """Refuse a body of a kind that no request but produce takes; raise Refusal 415."""
    if _checked(content_type, ACCEPT_BODIES) not in BODIES:
        raise unsupported(ACCEPT_BODIES)


def unsupported(accepted: str) -> Refusal:
    """Return the refusal of a content type or encoding; ``accepted`` names those that work."""
    text = "HTTP 415 Unsupported Media Type"
    return Refusal(415, 415, text, ((b"accept-post", accepted.encode()),))


def _checked(content_type: str, accepted: str) -> str:
    try:
        return media_type(content_type)
    except UnsupportedMedia:
        raise unsupported(accepted) from None


def check_accept(accept: str) -> None:
    """Refuse an ``Accept`` that none of our answers meets; raise Refusal 406."""
    if accept in ("", "*/*") or accept in BODIES:
        return
    if not any(kind in _GROUPS or kind in BODIES for kind in accepted_types(accept)):
        raise Refusal(406, 406, "HTTP 406 Not Acceptable")


def read_type(accept: str, own: Embedded) -> str:
    """Return the content type in which an instance of format ``own`` answers a read.

    Raises Refusal 40601 where another format is asked for, 406 where nothing fits.
    """
    if accept == "":
        return _embedded_type(own)
    kinds = accepted_types(accept)
    if any(EMBEDDED.get(kind) == own for kind in kinds):
        return _embedded_type(own)
    if any(kind in _GROUPS or kind in (V2, JSON) for kind in kinds):
        return _embedded_type(own)
    if any(kind in EMBEDDED for kind in kinds):
        text = (
            "The requested embedded data format does not match the deserializer for this"
            " consumer instance"
        )
        raise Refusal(406, FORMAT_MISMATCH, text)
    raise Refusal(406, 406, "HTTP 406 Not Acceptable")


def _embedded_type(own: Embedded) -> str:
    return next(kind for kind, embedded in EMBEDDED.items() if embedded == own)


def accepted_types(accept: str) -> list[str]:
    """Return the media types of an ``Accept`` header that are not refused by ``q=0``."""
    found = []
    for part in accept.split(","):
        kind, _, parameters = part.partition(";")
        if parameters.replace(" ", "").rstrip("0.").endswith("q="):
            continue
        found.append(kind.strip().lower())
    return found
