"""``/deliveries/why``: the first step that stopped a record, or that it was sent."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import CharField, JSONField

from delivery import why
from delivery.api.deliveries import find_line, place_of
from delivery.api.logs import ends_now
from delivery.cursors import shown_with
from delivery.explain import Step
from delivery.serializers import AttemptOut, GapOut, ParkedOut, StandingOut
from kafkahub.drf import answers
from kafkahub.drf.fields import Json, Moment, OneOf, Strict, Text, Values, Whole
from kafkahub.drf.operations import Operation
from kafkahub.errors import Fault, Invalid, NotFound
from kafkahub.kafka.record import Position
from subscriptions import ownership, starts
from subscriptions.api import places
from subscriptions.api.base import PartnerView
from subscriptions.cursor import Cursor, tag
from subscriptions.inputs import as_start
from subscriptions.models import Subscription
from subscriptions.starts import At, Start, Unopened


def _as_cursor(value: object) -> Start:
    return as_start({"cursor": value})


class PlaceIn(Strict):
    """A record by its place, under a grant that shows places."""

    topic = Text(max_length=249)
    partition = Whole(min_value=0, max_value=100_000)
    offset = Whole(min_value=0, max_value=(1 << 63) - 1)


class WhyIn(Strict):
    """One record of one subscription: by id, cursor, position, or topic, key and time."""

    subscription = Text(max_length=40)
    id = Text(max_length=40, required=False)
    cursor = Json(read=_as_cursor, schema={"type": "string"}, required=False)
    position = PlaceIn(required=False)
    topic = Text(max_length=249, required=False)
    key = Text(max_length=300, required=False)
    time = Moment(required=False)

    def checked(self, values: Values) -> Values:
        ways = [name for name in ("id", "cursor", "position", "key") if name in values]
        by_key = {"topic", "time"} & values.keys()
        needed = {"topic", "time"} if ways == ["key"] else set()
        if len(ways) != 1 or by_key != needed:
            text = "One of id, cursor and position is needed, or topic, key and time together."
            raise Invalid([Fault("", "bad_combination", text)])
        return values


class WhyOut(serializers.Serializer[Any]):
    """What became of the record; ``filter`` says what each clause of the filter gave."""

    step = OneOf(choices=[step.value for step in Step])
    text = CharField()
    topic = CharField()
    type = CharField(allow_null=True)
    attempts = AttemptOut(many=True)
    parked = ParkedOut(allow_null=True)
    gap = GapOut(allow_null=True)
    lane = StandingOut(allow_null=True)
    filter = JSONField(allow_null=True)


class WhyDelivery(PartnerView):
    tag = "deliveries"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="explainDelivery",
            summary="Why a record was sent, or which step stopped it",
            scope="deliveries:read",
            body=WhyIn,
            answer=WhyOut,
            codes=(
                "not_found",
                "invalid_cursor",
                "bad_combination",
                "not_allowed_by_grant",
                "unavailable",
            ),
            example={
                "subscription": "sub_01jd0q2v7kz3v1m8x9c4b5n6a7",
                "id": "msg_5VSfZ5qhZj7575Js21URzT",
            },
            answered={
                "step": "filtered_out",
                "text": "The subscription's filter does not let it pass.",
                "topic": "orders",
                "type": "orders",
                "attempts": [],
                "parked": None,
                "gap": None,
                "lane": None,
                "filter": {"result": "false"},
            },
        )
    }

    def post(self, _: Request) -> HttpResponse:
        values = self.values()
        row = ownership.get_subscription(self.partner, values["subscription"])
        place = self._place(row, values)
        if place.topic not in row.topics:
            raise NotFound
        found = why.why(row, place, ends_now)
        context = shown_with(self.partner)
        is_shown = place.topic in context["telling"].placed
        shown = {
            "step": found.step.value,
            "text": found.text,
            "topic": place.topic,
            "type": found.event_type,
            "attempts": found.attempts,
            "parked": found.parked,
            "gap": found.gap,
            "lane": found.lane if is_shown else None,
            "filter": found.filter,
        }
        return answers.json(WhyOut(shown, context=context).data)

    def _place(self, row: Subscription, values: Values) -> Position:
        """Return where the record stands; raise NotFound for what the partner may not see."""
        if "id" in values:
            line = find_line(self, values["id"])
            owner = line.attempt.subscription if line.attempt else None
            owner = owner or (line.parked.subscription_id if line.parked else None)
            if owner != row.pk:
                raise NotFound
            return place_of(line).position
        if "cursor" in values:
            return self._at_cursor(row, values["cursor"])
        if "position" in values:
            return self._at_position(values["position"])
        if values["topic"] not in row.topics:
            raise NotFound
        admin = starts.process_admin()
        return why.find(row, values["topic"], values["key"], values["time"], admin)

    def _at_cursor(self, row: Subscription, start: Start) -> Position:
        if isinstance(start, Unopened):
            start = places.opened(start, self.partner, row.topics, "")
        if not isinstance(start, At):
            raise NotFound
        found = _first_place(start.cursor, row)
        if found is None:
            raise NotFound
        return found

    def _at_position(self, named: Values) -> Position:
        if named["topic"] not in ownership.telling_of(self.partner).placed:
            text = "Your grant hides records of this topic, so its offsets too: use a cursor."
            raise Invalid([Fault("/position", "not_allowed_by_grant", text)])
        return Position(named["topic"], named["partition"], named["offset"])


def _first_place(position: Cursor, row: Subscription) -> Position | None:
    """Return the first place that a cursor names in the subscription's topics."""
    names = {tag(topic): topic for topic in row.topics}
    for one in position.topics:
        if one.name_tag in names and one.offsets:
            partition, offset = min(one.offsets.items())
            return Position(names[one.name_tag], partition, offset)
    return None
