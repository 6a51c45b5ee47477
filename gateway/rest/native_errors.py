"""Errors of our own form, as RFC 9457 problem documents."""

import msgspec

from gateway.rest.call import Call, Reply
from gateway.rest.parts import Parts
from kafkahub.errors import CursorExpired, HubError, Unavailable, UnsupportedMedia
from kafkahub.problems import DOCS_PATH, MEDIA_TYPE, describe, title_of

ACCEPT_POST = (
    b"application/json, application/x-ndjson, text/plain, application/octet-stream,"
    b" application/cloudevents+json, application/cloudevents-batch+json"
)


def refused(parts: Parts, call: Call, error: HubError) -> Reply:
    """Return the answer to what went wrong; before a record was sent ``outcome`` says so."""
    told = describe(
        error,
        base_url=parts.base_url,
        instance=call.path,
        request_id=call.header(b"x-request-id"),
    )
    body = dict(told.body)
    if isinstance(error, Unavailable):
        body["outcome"] = "not_written"
    if isinstance(error, CursorExpired):
        body |= {"gap": error.gap, "resume": error.resume}
    headers = [
        (name.lower().encode(), value.encode("latin-1")) for name, value in told.headers.items()
    ]
    if isinstance(error, UnsupportedMedia):
        headers.append((b"accept-post", ACCEPT_POST))
    headers.append((b"cache-control", b"no-store"))
    return Reply(told.status, msgspec.json.encode(body), MEDIA_TYPE.encode(), headers)


def problem_body(
    parts: Parts, call: Call, status: int, code: str, detail: str
) -> dict[str, object]:
    """Return the members of a problem that no exception stands for."""
    return {
        "type": f"{parts.base_url}{DOCS_PATH}{code}",
        "title": title_of(code),
        "status": status,
        "code": code,
        "detail": detail,
        "instance": call.path,
        "request_id": call.header(b"x-request-id"),
    }
