"""``/openapi.json``: the document made from the operations that the routes declare."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request

from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from subscriptions.api.base import PublicView


class OpenApi(PublicView):
    tag = "descriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(id="getOpenApi", summary="This document", scope=None)
    }

    def get(self, _: Request) -> HttpResponse:
        return HttpResponse(_document(), content_type="application/json")


@functools.cache
def _document() -> bytes:
    """Return the whole document; the routes do not change while a process lives."""
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]  # untyped there
    return answers.encode(generator.get_schema(request=None, public=True))
