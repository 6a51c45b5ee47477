"""``/audit``: who did what to the partner's objects."""

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
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.audit import ActorKind, Verb
from subscriptions.models import AuditEvent

OURS = frozenset({ActorKind.OPERATOR.value, ActorKind.SYSTEM.value})
"""Actors of the installation: partners see that one acted, not who and from where."""
EVENT: Mapping[str, object] = {
    "id": "1042",
    "at": "2026-11-23T04:19:00.123Z",
    "actor_kind": "key",
    "actor": "key_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "address": "198.51.100.7",
    "request_id": "req_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "verb": "endpoint.updated",
    "object_type": "endpoint",
    "object_id": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "changes": {"timeout_ms": [15000, 5000]},
    "reason": "",
}


class EventOut(serializers.Serializer[AuditEvent]):
    """One change; of a secret it says only that it changed."""

    id = CharField()
    at = Moment()
    actor_kind = CharField()
    actor = SerializerMethodField()
    address = SerializerMethodField()
    request_id = CharField()
    verb = CharField()
    object_type = CharField()
    object_id = CharField()
    changes = JSONField()
    reason = CharField()

    @extend_schema_field({"type": "string"})
    def get_actor(self, event: AuditEvent) -> str:
        return "" if event.actor_kind in OURS else event.actor

    @extend_schema_field({"type": ["string", "null"]})
    def get_address(self, event: AuditEvent) -> str | None:
        return None if event.actor_kind in OURS else event.address


class Audit(PartnerView):
    tag = "audit"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listAuditEvents",
            summary="Who did what to your objects, newest first",
            scope="keys:manage",
            query=(
                parameters.choice("verb", "Only those.", [verb.value for verb in Verb]),
                parameters.text("object_id", "Only changes of this object."),
                parameters.moment("since", "Done at this time or later."),
                parameters.moment("until", "Done before this time."),
            ),
            answer=EventOut,
            is_list=True,
            answered=EVENT,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        rows = ownership.audit_of(self.partner)
        if verb := self.arguments.text("verb"):
            rows = rows.filter(verb=verb)
        if about := self.arguments.text("object_id"):
            rows = rows.filter(object_id=about)
        if since := self.arguments.moment("since"):
            rows = rows.filter(at__gte=since)
        if until := self.arguments.moment("until"):
            rows = rows.filter(at__lt=until)
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([EventOut(row).data for row in found], next_cursor)
