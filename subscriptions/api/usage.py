"""``/usage``: what the partner used, by day or hour, topic and door."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import CharField, IntegerField

from kafkahub.drf import pages, parameters
from kafkahub.drf.fields import Moment
from kafkahub.drf.operations import Operation
from subscriptions import ownership, usage
from subscriptions.api.base import PartnerView

ORDER = ("-period", "-topic", "-door")
ROW: Mapping[str, object] = {
    "period": "2026-11-23T00:00:00.000Z",
    "topic": "orders",
    "door": "sse",
    "requests": 12,
    "refused": 0,
    "records_in": 0,
    "bytes_in": 0,
    "records_out": 1842,
    "bytes_out": 310_400,
}


class UsageOut(serializers.Serializer[Any]):
    """What was used of one topic through one door in one period; an empty topic: of none."""

    period = Moment()
    topic = CharField()
    door = CharField()
    requests = IntegerField(source="requests_sum")
    refused = IntegerField(source="refused_sum")
    records_in = IntegerField(source="records_in_sum")
    bytes_in = IntegerField(source="bytes_in_sum")
    records_out = IntegerField(source="records_out_sum")
    bytes_out = IntegerField(source="bytes_out_sum")


class Usage(PartnerView):
    tag = "partner"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listUsage",
            summary="What you used, by day or hour, topic and door; kept for 90 days",
            scope="",
            query=(
                parameters.choice("per", "Length of a period; days are of UTC.", ("day", "hour")),
                parameters.moment("since", "Hours that begin at this time or later."),
                parameters.moment("until", "Hours that begin before this time."),
                parameters.text("topic", "Only this topic."),
            ),
            answer=UsageOut,
            is_list=True,
            answered=ROW,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        rows = ownership.usage_of(self.principal)
        if since := self.arguments.moment("since"):
            rows = rows.filter(hour__gte=since)
        if until := self.arguments.moment("until"):
            rows = rows.filter(hour__lt=until)
        if topic := self.arguments.text("topic"):
            rows = rows.filter(topic=topic)
        per: Literal["day", "hour"] = "hour" if self.arguments.text("per") == "hour" else "day"
        page = self.page(self.partner)
        found, next_cursor = pages.take(usage.totals(rows, per), page, ORDER)
        return self.listed([UsageOut(row).data for row in found], next_cursor)
