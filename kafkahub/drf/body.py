"""Request bodies: read with a cap, of the right kind, as one strict JSON object."""

from collections.abc import Collection
from dataclasses import replace

from django.http import HttpRequest

from kafkahub import strictjson
from kafkahub.errors import Fault, Invalid, TooLarge, UnsupportedMedia

MAX_BODY_BYTES = 1024 * 1024
"""Largest body of the control API: a filter is 16 KiB, a page of text much less."""
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MAX_CONTENT_TYPE = 256


def parse_object(request: HttpRequest, raw: bytes, *, is_optional: bool) -> dict[str, object]:
    """Return the members of the body ``raw`` of a request.

    is_optional  no body at all stands for ``{}``

    Raises UnsupportedMedia, and Invalid for anything that is no strict JSON object.
    """
    if not raw and is_optional:
        return {}
    if not raw:
        raise Invalid([Fault("", "invalid_json", "A body with a JSON object is needed.")])
    check_media(request, (JSON, MERGE_PATCH) if request.method == "PATCH" else (JSON,))
    value = strictjson.loads(raw)
    if not isinstance(value, dict):
        raise Invalid([Fault("", "wrong_type", "A JSON object is needed.")])
    return value


def merge_patch(target: object, patch: object) -> object:
    """Return ``target`` after the merge patch (RFC 7396); neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def with_places(error: Invalid, raw: bytes) -> Invalid:
    """Return ``error`` with line, column and offset of each fault that stands in the body."""
    places = strictjson.find_places(raw, {fault.pointer for fault in error.faults}) if raw else {}
    faults = [
        replace(fault, more={**fault.more, **places[fault.pointer]._asdict()})
        if fault.pointer in places
        else fault
        for fault in error.faults
    ]
    return Invalid(faults, code=error.instance_code)


def read(request: HttpRequest) -> bytes:
    """Return the bytes of the body; raise TooLarge as soon as there are too many."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isascii() and length.isdigit() and int(length[:18]) > MAX_BODY_BYTES:
        raise _too_large()
    raw = request.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES:
        raise _too_large()
    return raw


def check_media(request: HttpRequest, accepted: Collection[str]) -> None:
    """Raise UnsupportedMedia unless the body is plain UTF-8 of an accepted type."""
    names = " or ".join(accepted)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMedia(f"The body must not be compressed; send plain {names}.")
    given = request.headers.get("Content-Type", "")
    essence = given.partition(";")[0].strip().lower()
    if len(given) > MAX_CONTENT_TYPE or essence not in accepted:
        raise UnsupportedMedia(f"The body must be {names}; say so in Content-Type.")
    charset = request.content_params.get("charset") if request.content_params else None
    if charset is not None and charset.lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMedia(f"The body must be {names} in UTF-8.")


def _too_large() -> TooLarge:
    return TooLarge(f"A body may have {MAX_BODY_BYTES} bytes here.")
