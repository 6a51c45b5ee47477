"""``/attempts``: one line a request."""

from collections.abc import Mapping
from typing import ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from delivery import ownership
from delivery.api import filters
from delivery.models import DeliveryAttempt
from delivery.serializers import AttemptOut
from kafkahub.drf import pages, parameters
from kafkahub.drf.operations import Operation
from kafkahub.drf.parameters import Arguments
from subscriptions.api.base import PartnerView

ATTEMPT = {
    "id": "att_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "delivery": "msg_5VSfZ5qhZj7575Js21URzT",
    "subscription": "sub_01jd0000000000000000000000",
    "endpoint": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "topic": "orders",
    "number": 1,
    "kind": "first",
    "at": "2026-11-23T04:19:00.456Z",
    "outcome": "http_5xx",
    "http_status": 503,
    "duration_ms": 12.3,
    "timings": {
        "dns": 0.4,
        "tcp": 1.2,
        "tls": 4.8,
        "sent": 4.9,
        "first_byte": 12.1,
        "body": 12.3,
    },
    "reused": False,
    "request_bytes": 93,
    "response_excerpt": "try later",
    "response_note": None,
    "retry_after_s": None,
    "next_attempt_at": "2026-11-23T04:20:00.456Z",
    "secret_ids": ["sec_01jd0000000000000000000001"],
    "batch": None,
    "replay": None,
    "class": "overloaded",
}
EXACT = {
    "subscription": "subscription",
    "endpoint": "endpoint",
    "topic": "topic",
    "outcome": "outcome",
    "id": "delivery",
    "kind": "kind",
}
"""Parameter to column, where the text given is the column's value."""


class Attempts(PartnerView):
    tag = "deliveries"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listAttempts",
            summary="Requests that were made, newest first",
            scope="deliveries:read",
            query=(
                *filters.SENT,
                parameters.choice("kind", "Only those.", DeliveryAttempt.Kind.values),
                parameters.whole("number", "Only the n-th of each.", low=1, high=1_000_000),
            ),
            answer=AttemptOut,
            is_list=True,
            answered=ATTEMPT,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        rows = _filtered(ownership.attempts_of(self.principal), self.arguments)
        found, next_cursor = pages.take(rows, self.page(self.partner), order=("-at", "-id"))
        return self.listed([AttemptOut(row).data for row in found], next_cursor)


class OneAttempt(PartnerView):
    tag = "deliveries"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getAttempt",
            summary="A request that was made",
            scope="deliveries:read",
            answer=AttemptOut,
            has_version=True,
            answered=ATTEMPT,
        )
    }

    def get(self, _: Request, attempt: str) -> HttpResponse:
        row = ownership.get_attempt(self.principal, attempt)
        return self.single(AttemptOut(row).data, version=1)  # attempts never change


def _filtered(rows: QuerySet[DeliveryAttempt], arguments: Arguments) -> QuerySet[DeliveryAttempt]:
    since, until = filters.window(arguments)
    rows = rows.filter(at__gte=since, at__lt=until)
    for parameter, column in EXACT.items():
        if wanted := arguments.text(parameter):
            rows = rows.filter(**{column: wanted})
    if key := arguments.text("key"):
        rows = rows.filter(key=key.encode())
    if status := arguments.text("http_status"):
        rows = rows.filter(http_status__range=filters.statuses(status))
    if number := arguments.whole("number"):
        rows = rows.filter(number=number)
    return rows
