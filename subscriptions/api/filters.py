"""``/filters/explain``: whether a filter is sound, before it is saved."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub import clock
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from kafkahub.errors import NotFound
from kafkahub.kafka.record import Record
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.filters.explain import explain
from subscriptions.filters.syntax import parse
from subscriptions.filters.view import View
from subscriptions.models import Topic
from subscriptions.serializers import ExplainIn, ExplainOut, types_of


class ExplainFilter(PartnerView):
    tag = "subscriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="explainFilter",
            summary="Try a filter on a record of your own making",
            scope="webhooks:read",
            body=ExplainIn,
            answer=ExplainOut,
            codes=("invalid_filter", "not_found"),
            example={
                "filter": {"value": {"amount": {"$gte": 100}}},
                "topic": "orders",
                "sample": {"amount": 80},
            },
            answered={
                "tested": 1,
                "matched": 0,
                "records": [
                    {
                        "result": "false",
                        "first_false": {
                            "pointer": "/value/amount/$gte",
                            "value": 80,
                            "operand": 100,
                        },
                        "clauses": [{"pointer": "/value/amount/$gte", "result": "false"}],
                    }
                ],
            },
        )
    }

    def post(self, _: Request) -> HttpResponse:
        values = self.values()
        seen = ownership.topics_of(self.principal).get(values["topic"])
        if seen is None:
            raise NotFound
        if "sample" not in values:
            return answers.json({"tested": 0, "matched": 0, "records": []})
        view = _view(seen.topic, values["sample"])
        explained = explain(parse(values["filter"]), view)
        matched = int(explained.result == "true")
        return answers.json({"tested": 1, "matched": matched, "records": [explained.as_json()]})


def _view(topic: Topic, sample: object) -> View:
    """Return a record of this topic whose value reads as ``sample``, whatever the format."""
    moment_ms = int(clock.now().timestamp() * 1000)
    record = Record(
        topic=topic.name,
        partition=0,
        offset=0,
        timestamp_ms=moment_ms,
        key=None,
        value=msgspec.json.encode(sample),
    )
    types = types_of(topic)
    return View(record, "json", types[0] if types else topic.name)
