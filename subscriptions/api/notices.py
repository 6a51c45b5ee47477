"""``/notices``: what the partner was told beside its records."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import CharField, JSONField, SerializerMethodField

from kafkahub.drf import pages, parameters
from kafkahub.drf.fields import Moment
from kafkahub.drf.operations import Operation
from subscriptions import notices, ownership
from subscriptions.api.base import PartnerView
from subscriptions.models import Notice
from subscriptions.notice_types import FORMS, Kind, schema

NOTICE: Mapping[str, object] = {
    "id": "ntc_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "type": "kafkahub.endpoint.disabled",
    "created_at": "2026-11-23T04:19:00.123Z",
    "data": {
        "notice": "ntc_01jd0q2v7kz3v1m8x9c4b5n6a7",
        "partner": "ptn_01jd0q2v7kz3v1m8x9c4b5n6a7",
        "text": "The endpoint ep_01jd0q2v7kz3v1m8x9c4b5n6a7 is disabled (gone).",
        "link": "https://hub.example/api/v1/endpoints/ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
        "endpoint": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
        "reason": "gone",
        "by": "delivery",
    },
}


class NoticeOut(serializers.Serializer[Notice]):
    """Something the partner was told; ``data`` is as subscriptions of notices get it."""

    id = CharField()
    type = CharField()
    created_at = Moment()
    data = SerializerMethodField()  # type: ignore[assignment]  # a Serializer has a data, too

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_data(self, notice: Notice) -> dict[str, object]:
        return notices.data(notice)


class NoticeTypeOut(serializers.Serializer[Mapping[str, object]]):
    """A kind of notice, and the JSON Schema of its ``data``."""

    type = CharField()
    description = CharField()
    schema = JSONField()


class Notices(PartnerView):
    tag = "notices"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listNotices",
            summary="What you were told, newest first; kept for 90 days",
            scope="webhooks:read",
            query=(
                parameters.choice("type", "Only those.", [kind.value for kind in Kind]),
                parameters.moment("since", "Written at this time or later."),
                parameters.moment("until", "Written before this time."),
            ),
            answer=NoticeOut,
            is_list=True,
            answered=NOTICE,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        rows = ownership.notices_of(self.partner)
        if kind := self.arguments.text("type"):
            rows = rows.filter(type=kind)
        if since := self.arguments.moment("since"):
            rows = rows.filter(created_at__gte=since)
        if until := self.arguments.moment("until"):
            rows = rows.filter(created_at__lt=until)
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([NoticeOut(row).data for row in found], next_cursor)


class OneNotice(PartnerView):
    tag = "notices"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getNotice",
            summary="One thing that you were told",
            scope="webhooks:read",
            answer=NoticeOut,
            has_version=True,
            answered=NOTICE,
        )
    }

    def get(self, _: Request, notice: str) -> HttpResponse:
        row = ownership.get_notice(self.partner, notice)
        return self.single(NoticeOut(row).data, 1)  # it never changes


class NoticeTypes(PartnerView):
    tag = "notices"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listNoticeTypes",
            summary="Kinds of notices, with the form of their data",
            scope="",
            answer=NoticeTypeOut,
            is_list=True,
            answered={
                "type": "kafkahub.endpoint.disabled",
                "description": FORMS[Kind.ENDPOINT_DISABLED].description,
                "schema": schema(Kind.ENDPOINT_DISABLED),
            },
        )
    }

    def get(self, _: Request) -> HttpResponse:
        kinds = {kind.value: kind for kind in Kind}
        names, next_cursor = pages.take_named(sorted(kinds), self.page(self.partner))
        return self.listed([_shown(kinds[name]) for name in names], next_cursor)


def _shown(kind: Kind) -> Mapping[str, object]:
    shown = {"type": kind.value, "description": FORMS[kind].description, "schema": schema(kind)}
    return NoticeTypeOut(shown).data
