"""``/streams``: what is open right now, how far behind it is, and ending one."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import CharField, FloatField, IntegerField, JSONField, ListField

from kafkahub import clock
from kafkahub.drf import answers, pages, parameters
from kafkahub.drf.operations import Operation
from kafkahub.errors import NotFound
from subscriptions import streams
from subscriptions.actions.streams import CLOSINGS, close_stream
from subscriptions.api.base import PartnerView
from subscriptions.streams import OpenStream

STREAM: Mapping[str, object] = {
    "id": "str_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "transport": "sse",
    "key_id": "key_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "ticket_id": "tkt_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "ip": "203.0.113.7",
    "user_agent": "Mozilla/5.0",
    "origin": "https://shop.example.com",
    "topics": ["orders"],
    "filter": None,
    "format": "envelope",
    "opened_at": "2026-11-23T04:19:00.123Z",
    "expires_at": "2026-11-23T05:19:00.123Z",
    "state": "live",
    "lag_records": 0,
    "lag_seconds": 0.0,
    "records": 1842,
    "bytes": 310_400,
    "paused_ms": 0,
    "credit": None,
    "unacked": None,
    "process": "web-1:4711",
}


class StreamOut(serializers.Serializer[Mapping[str, object]]):
    """One open stream at one moment."""

    id = CharField()
    transport = CharField()
    key_id = CharField()
    ticket_id = CharField(allow_null=True)
    ip = CharField()
    user_agent = CharField()
    origin = CharField(allow_null=True)
    topics = ListField(child=CharField())
    filter = JSONField(allow_null=True)
    format = CharField()
    opened_at = CharField()
    expires_at = CharField(allow_null=True)
    state = CharField()
    lag_records = IntegerField(allow_null=True)
    lag_seconds = FloatField(allow_null=True)
    records = IntegerField()
    bytes = IntegerField()
    paused_ms = IntegerField()
    credit = IntegerField(allow_null=True)
    unacked = IntegerField(allow_null=True)
    process = CharField()


class OneStreamOut(StreamOut):
    """One open stream, with the cursor that would resume it now."""

    cursor = CharField(allow_null=True)


ORDERS: Mapping[str, Callable[[OpenStream], tuple[float, str]]] = {
    "opened_at": lambda stream: (-stream.opened_at_ms, stream.id),
    "lag": lambda stream: (-_lag(stream), stream.id),
}


class Streams(PartnerView):
    tag = "streams"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listStreams",
            summary="Streams that are open now, on all web processes, with their lag",
            scope="deliveries:read",
            query=(
                parameters.text("topic", "Only those that read this topic."),
                parameters.choice("transport", "Only those.", ["sse", "ndjson", "ws"]),
                parameters.choice("sort", "Newest first, or the most behind first.", [*ORDERS]),
            ),
            answer=StreamOut,
            is_list=True,
            answered=STREAM,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        found, complete = streams.listing(self.partner)
        topic, transport = self.arguments.text("topic"), self.arguments.text("transport")
        wanted = [
            stream
            for stream in found
            if topic in {None, *stream.topics} and transport in {None, stream.transport}
        ]
        wanted.sort(key=ORDERS[self.arguments.text("sort") or "opened_at"])
        page = self.page(self.partner)
        # By number, not by key: the list lives, and lag is no key. A stream may be seen twice.
        start = int(page.after[0]) if page.after else 0
        end = start + page.limit
        next_cursor = pages.close_page(page, [end]) if end < len(wanted) else None
        shown = [as_shown(stream) for stream in wanted[start:end]]
        # ``complete`` is false while the lists of other processes cannot be read.
        return answers.json({"data": shown, "next_cursor": next_cursor, "complete": complete})


class OneStream(PartnerView):
    tag = "streams"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getStream",
            summary="An open stream, with the cursor that would resume it",
            scope="deliveries:read",
            answer=OneStreamOut,
            answered={**STREAM, "cursor": "AfK3kD…"},
        ),
        "DELETE": Operation(
            id="closeStream",
            summary="Close a stream within 2 s; its client may come again at once",
            scope="deliveries:write",
            query=(
                parameters.choice(
                    "action",
                    "`stop` tells the client to stay away, `reconnect` to come again.",
                    [*CLOSINGS],
                ),
            ),
            status=202,
        ),
    }

    def get(self, _: Request, stream: str) -> HttpResponse:
        found = get_stream(self.partner, stream)
        return answers.json({**as_shown(found), "cursor": found.cursor})

    def delete(self, _: Request, stream: str) -> HttpResponse:
        found = get_stream(self.partner, stream)
        self.expect_no_body()
        return self.commit(lambda: self._close(found))

    def _close(self, stream: OpenStream) -> HttpResponse:
        close_stream(self.actor, stream, self.arguments.text("action") or "stop")
        return HttpResponse(status=202)


def get_stream(partner: str, stream: str) -> OpenStream:
    """Return an open stream of the partner, or raise NotFound."""
    found = next((each for each in streams.listing(partner).streams if each.id == stream), None)
    if found is None:
        raise NotFound
    return found


def as_shown(stream: OpenStream) -> dict[str, object]:
    """Return a stream as partners see it."""
    times = {
        "opened_at": _moment(stream.opened_at_ms),
        "expires_at": None if stream.expires_at_ms is None else _moment(stream.expires_at_ms),
    }
    plain = {name: getattr(stream, name) for name in STREAM if name not in times}
    return {name: {**plain, **times}[name] for name in STREAM}


def _moment(unix_ms: int) -> str:
    return clock.rfc3339(datetime.fromtimestamp(unix_ms / 1000, UTC))


def _lag(stream: OpenStream) -> float:
    if stream.lag_records is not None:
        return stream.lag_records
    return stream.lag_seconds if stream.lag_seconds is not None else -math.inf
