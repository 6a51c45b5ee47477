"""``/filters/explain``: whether a filter is sound, before it is saved."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub import clock
from kafkahub.drf import answers
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.errors import NotFound
from kafkahub.kafka import envelope
from kafkahub.kafka.record import Record
from subscriptions import newest, ownership, starts
from subscriptions.api.base import PartnerView
from subscriptions.filters.explain import explain
from subscriptions.filters.places import refuse_places
from subscriptions.filters.syntax import parse
from subscriptions.filters.tree import Filter
from subscriptions.filters.view import View
from subscriptions.models import Topic
from subscriptions.serializers import ExplainIn, ExplainOut, types_of

SHOWN = 3
"""Records shown that pass, and as many that do not."""
MAX_SHOWN = 2_000
"""Bytes of a value that are shown."""


class ExplainFilter(PartnerView):
    tag = "subscriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="explainFilter",
            summary="Try a filter on a record of your own making, or on the newest of a topic",
            scope="webhooks:read",
            body=ExplainIn,
            answer=ExplainOut,
            codes=("invalid_filter", "not_found", "bad_combination", "unavailable"),
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
        if "last" in values:
            return answers.json(self._on_newest(seen.topic, values))
        if "sample" not in values:
            return answers.json({"tested": 0, "matched": 0, "records": []})
        view = _view(seen.topic, values["sample"])
        explained = explain(parse(values["filter"]), view)
        matched = int(explained.result == "true")
        return answers.json({"tested": 1, "matched": matched, "records": [explained.as_json()]})

    def _on_newest(self, topic: Topic, values: Values) -> dict[str, object]:
        parsed = parse(values["filter"])
        if topic.pk not in ownership.telling_of(self.partner).placed:
            refuse_places(parsed, "/filter")
        found = newest.records(self.partner, topic, values["last"], starts.process_admin())
        tried = [_tried(parsed, record, topic) for record in found]
        matched = [one for one in tried if one["result"] == "true"]
        others = [one for one in tried if one["result"] != "true"]
        return {
            "tested": len(tried),
            "matched": len(matched),
            "slowest_us": max((one["took_us"] for one in tried), default=0),
            "records": [*matched[:SHOWN], *others[:SHOWN]],
        }


def _tried(parsed: Filter, record: Record, topic: Topic) -> dict[str, Any]:
    """Return what became of one record, and enough of it to know it by."""
    event_type = envelope.event_type(record, topic.type_source, topic.type_value, topic.name)
    view = View(record, topic.format, event_type)
    begun_s = time.perf_counter()
    try:
        explained = explain(parsed, view).as_json()
    except envelope.Undecodable as error:
        explained = {"result": "missing", "clauses": [], "undecodable": str(error)}
    took_us = round((time.perf_counter() - begun_s) * 1e6)
    return {**explained, "took_us": took_us, "record": _shown(record, view)}


def _shown(record: Record, view: View) -> dict[str, object]:
    text = (record.value or b"")[:MAX_SHOWN].decode("utf-8", "replace")
    moment = record.timestamp_ms
    time_shown = (
        None if moment is None else clock.rfc3339(datetime.fromtimestamp(moment / 1e3, UTC))
    )
    return {"time": time_shown, "key": view.key(), "value": text}


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
