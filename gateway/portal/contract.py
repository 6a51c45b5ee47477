"""The gRPC contract as a file, for who wants to make a client of it."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

PROTO = Path(__file__).parents[1] / "proto" / "kafkahub" / "v1" / "kafkahub.proto"
_text = PROTO.read_bytes()


@require_safe
def proto(_: HttpRequest) -> HttpResponse:
    """Answer with ``kafkahub.proto``; it is the same for everybody."""
    return HttpResponse(_text, content_type="text/plain; charset=utf-8")
