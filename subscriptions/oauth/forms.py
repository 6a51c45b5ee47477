"""Requests to the OAuth endpoints, read strictly; every refusal is JSON of RFC 6749."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse, JsonResponse

MAX_BODY_BYTES = 8 * 1024
MAX_FIELDS = 20
MEDIA = "application/x-www-form-urlencoded"


class Refused(Exception):
    """A request that is answered with an error of RFC 6749.

    error    its code, such as ``invalid_request``
    headers  what the answer carries beside
    """

    def __init__(
        self, error: str, text: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.error = error
        self.text = text
        self.status = status
        self.headers = dict(headers or {})

    def answer(self) -> HttpResponse:
        """Return the answer."""
        body = {"error": self.error, "error_description": self.text}
        return sealed(JsonResponse(body, status=self.status, headers=self.headers))


def not_authenticated() -> Refused:
    """Return the one refusal: unknown, wrong secret, revoked, or a call from elsewhere."""
    return Refused("invalid_client", "The client is not accepted.", 401, CHALLENGE)


CHALLENGE: Mapping[str, str] = {"WWW-Authenticate": 'Basic realm="kafkahub"'}


def sealed(response: HttpResponse) -> HttpResponse:
    """Return the answer with the headers that every one of these has: nobody may keep it."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    response.headers["Referrer-Policy"] = "no-referrer"
    if response.status_code == 401:  # noqa: PLR2004 - a status reads best as its number
        for name, value in CHALLENGE.items():
            response.headers[name] = value
    return response


def read(request: HttpRequest) -> Mapping[str, str]:
    """Return the fields of a form, each of which stands there once; raise Refused."""
    if request.method != "POST":
        raise Refused("invalid_request", "Use POST.", 405, {"Allow": "POST"})
    if request.GET:
        raise Refused("invalid_request", "Nothing may stand in the URL's query.")
    essence = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if essence != MEDIA:
        raise Refused("invalid_request", f"Use form encoding: the body must be {MEDIA}.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length[:18]) > MAX_BODY_BYTES:
        raise _too_large()
    if len(request.body) > MAX_BODY_BYTES:
        raise _too_large()
    return _fields(request.body)


def _fields(body: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise Refused("invalid_request", "The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Refused("invalid_request", "A parameter stands there twice.")
    if any("\x00" in text for pair in pairs for text in pair):
        raise Refused("invalid_request", "The form holds a NUL.")
    return fields


def _too_large() -> Refused:
    return Refused("invalid_request", f"A body may have {MAX_BODY_BYTES} bytes.", 413)
