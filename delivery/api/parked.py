"""``/parked``: records set aside, their payload, redriving and discarding them."""

import base64
from collections.abc import Mapping
from typing import ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from delivery import actions, ownership, parking
from delivery.actions import Place
from delivery.api import filters
from delivery.cursors import shown_with
from delivery.models import ParkedDelivery
from delivery.reread import Remade
from delivery.serializers import (
    MAX_REASON,
    MIN_REASON,
    DiscardedOut,
    DiscardIn,
    ParkedOut,
    PayloadOut,
    RedrivenOut,
)
from kafkahub.drf import answers, pages, parameters
from kafkahub.drf.operations import Operation
from kafkahub.errors import Fault, Invalid, NotFound, RecordGone
from kafkahub.kafka.record import Position
from subscriptions import audit
from subscriptions import ownership as owners
from subscriptions.api.base import PartnerView
from subscriptions.audit import Subject, Verb

MAX_INLINE = 65_536
"""Bytes of a payload that an answer carries."""
PARKED = {
    "id": "msg_5VSfZ5qhZj7575Js21URzT",
    "state": "dead",
    "reason": "exhausted",
    "subscription": "sub_01jd0000000000000000000000",
    "topic": "orders",
    "key": "7",
    "time": "2026-11-23T04:19:00.123Z",
    "first_failed_at": "2026-11-23T04:19:00.456Z",
    "attempts": 10,
    "next_attempt_at": None,
    "blocked_by": None,
    "last_outcome": "http_5xx",
    "bytes": 93,
    "cursor": None,
    "expires_at": "2026-12-23T04:19:00.456Z",
}
REASON = parameters.text("reason", "Why it is given up, 3 to 200 characters.", longest=MAX_REASON)
LISTED_STATES = ("scheduled", "sending", "blocked", "held", "dead")


class ParkedRows(PartnerView):
    tag = "parked"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listParked",
            summary="Records set aside, newest first",
            scope="deliveries:read",
            query=(
                parameters.choice("state", "Only those.", LISTED_STATES),
                parameters.choice("reason", "Only those.", ParkedDelivery.Reason.values),
                filters.SUBSCRIPTION,
                filters.TOPIC,
                filters.KEY,
                parameters.moment("since", "First failed at this time or later."),
                parameters.moment("until", "First failed before this time."),
            ),
            answer=ParkedOut,
            is_list=True,
            answered=PARKED,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        rows = narrowed(ownership.parked_of(self.principal), self.arguments.values)
        order = ("-first_failed_at", "-id")
        found, next_cursor = pages.take(rows, self.page(self.partner), order=order)
        context = shown_with(self.partner)
        return self.listed([ParkedOut(row, context=context).data for row in found], next_cursor)


class OneParked(PartnerView):
    tag = "parked"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getParked",
            summary="A record set aside",
            scope="deliveries:read",
            answer=ParkedOut,
            has_version=True,
            answered=PARKED,
        ),
        "DELETE": Operation(
            id="discardParked",
            summary="Give a record up, for good",
            scope="deliveries:write",
            query=(REASON,),
            status=204,
            has_version=True,
            codes=("conflict", "out_of_range"),
        ),
    }

    def get(self, _: Request, parked: str) -> HttpResponse:
        shown = _shown(self.partner, ownership.get_parked(self.principal, parked))
        return self.single(shown, filters.version_of(shown))

    def delete(self, _: Request, parked: str) -> HttpResponse:
        ownership.get_parked(self.principal, parked)
        self.expect_no_body()
        reason = self.arguments.text("reason") or ""
        if len(reason) < MIN_REASON:
            text = f"reason: {MIN_REASON} to {MAX_REASON} characters are needed, as ?reason=…"
            raise Invalid([Fault("", "out_of_range", text, {"parameter": "reason"})])
        return self.commit(lambda: self._discard(parked, reason))

    def _discard(self, parked: str, reason: str) -> HttpResponse:
        parking.hold([parked])
        locked = ownership.get_parked(self.principal, parked, lock=True)
        self.require_match(filters.version_of(_shown(self.partner, locked)))
        actions.discard(self.actor, locked, reason)
        return HttpResponse(status=204)


class ParkedPayload(PartnerView):
    tag = "parked"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getParkedPayload",
            summary="The body that is sent for a record set aside",
            scope="deliveries:read",
            answer=PayloadOut,
            answered={
                "id": "msg_5VSfZ5qhZj7575Js21URzT",
                "content_type": "application/json",
                "bytes": 43,
                "text": '{"type":"orders","timestamp":null,"data":1}',
                "base64": None,
                "is_cut": False,
            },
        )
    }

    def get(self, _: Request, parked: str) -> HttpResponse:
        row = ownership.get_parked(self.principal, parked)
        self._require_grant(row)
        content = row.content
        if content is None:
            raise NotFound
        subject = Subject("parkeddelivery", row.pk, self.partner)
        audit.record(self.actor, Verb.PAYLOAD_VIEWED, subject, {})
        return answers.json(_payload(row.pk, content, row.headers))

    def _require_grant(self, row: ParkedDelivery) -> None:
        """Raise NotFound unless the body may be seen: as projected under the grant of now."""
        if row.is_notice:
            return
        if "read" not in owners.get_topic(self.principal, row.topic).actions:
            raise NotFound
        if row.grant_version != actions.grant_version(row.subscription, row.topic):
            raise RecordGone(
                "The grant has changed since this body was made; resend makes it anew."
            )


class RedriveParked(PartnerView):
    tag = "parked"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="redriveParked",
            summary="Make a dead letter due again now, its attempts counted from 1",
            scope="deliveries:write",
            answer=RedrivenOut,
            codes=("conflict", "record_gone"),
            answered={**PARKED, "state": "scheduled", "attempts": 0, "order": None},
        )
    }

    def post(self, _: Request, parked: str) -> HttpResponse:
        row = ownership.get_parked(self.principal, parked)
        self.expect_no_body()
        remade = self._remade(row)  # asks Kafka, so before the transaction
        return self.commit(lambda: self._redrive(row, remade))

    def _remade(self, row: ParkedDelivery) -> Remade | None:
        version = actions.grant_version(row.subscription, row.topic)
        if row.state not in actions.REDRIVABLE or not actions.needs_body(row, version):
            return None
        place = Place(Position(row.topic, row.partition, row.offset), row.pk, row.sends)
        return actions.remade_at(row.subscription, place)

    def _redrive(self, row: ParkedDelivery, remade: Remade | None) -> HttpResponse:
        actions.send_again(self.actor, row, remade, verb=Verb.PARKED_REDRIVEN)
        now = ownership.get_parked(self.principal, row.pk)
        return answers.json(RedrivenOut(now, context=shown_with(self.partner)).data)


class DiscardParked(PartnerView):
    tag = "parked"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="discardManyParked",
            summary="Give many records up, if there are as many as you expect",
            scope="deliveries:write",
            body=DiscardIn,
            answer=DiscardedOut,
            codes=("conflict", "out_of_range"),
            example={
                "reason": "test data",
                "expected_count": 0,
                "filter": {"state": "dead", "topic": "orders"},
            },
            answered={"discarded": 0},
        )
    }

    def post(self, _: Request) -> HttpResponse:
        values = self.values()
        rows = narrowed(ownership.parked_of(self.principal), values["filter"])

        def work() -> HttpResponse:
            done = actions.discard_many(
                self.actor, rows, values["reason"], expected_count=values["expected_count"]
            )
            return answers.json({"discarded": done})

        return self.commit(work)


def narrowed(
    rows: QuerySet[ParkedDelivery], wanted: Mapping[str, object]
) -> QuerySet[ParkedDelivery]:
    """Return the rows that pass; the names are those of the list's parameters."""
    for name in ("state", "reason", "topic"):
        if value := wanted.get(name):
            rows = rows.filter(**{name: value})
    if subscription := wanted.get("subscription"):
        rows = rows.filter(subscription_id=subscription)
    if isinstance(key := wanted.get("key"), str):
        rows = rows.filter(key=key.encode())
    if since := wanted.get("since"):
        rows = rows.filter(first_failed_at__gte=since)
    if until := wanted.get("until"):
        rows = rows.filter(first_failed_at__lt=until)
    return rows


def _shown(partner: str, row: ParkedDelivery) -> Mapping[str, object]:
    return ParkedOut(row, context=shown_with(partner)).data


def _payload(row_id: str, body: bytes, headers: Mapping[str, str]) -> dict[str, object]:
    """Return the body inline: as text where it is UTF-8 and not too long, else as base64."""
    inline = body[:MAX_INLINE]
    try:
        text = inline.decode() if len(body) <= MAX_INLINE else None
    except UnicodeDecodeError:
        text = None
    return {
        "id": row_id,
        "content_type": headers.get("content-type"),
        "bytes": len(body),
        "text": text,
        "base64": None if text is not None else base64.b64encode(inline).decode("ascii"),
        "is_cut": len(body) > MAX_INLINE,
    }
