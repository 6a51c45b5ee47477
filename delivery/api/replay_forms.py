"""What the API takes and shows of replays."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.serializers import (
    BooleanField,
    CharField,
    FloatField,
    IntegerField,
    JSONField,
)

from delivery.serializers import GapOut
from kafkahub.drf.fields import Json, Moment, Number, OneOf, Strict, Text, Truth, Values
from kafkahub.errors import Fault, Invalid
from subscriptions.inputs import FILTER, START, as_filter, as_start
from subscriptions.starts import Latest

PLACE: Mapping[str, object] = {key: of for key, of in START.items() if key != "default"}


class KafkaSource(Strict):
    """Records between two places; ``to`` is the end of the log unless told."""

    to = Json(read=as_start, schema=PLACE, default=Latest)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # A member named like a keyword of Python cannot be declared by assignment.
        begin = Json(read=as_start, schema=PLACE)
        return {"from": begin, **super().get_fields()}


class ParkedSource(Strict):
    """Parked rows; absent members mean all."""

    state = OneOf(choices=["dead", "scheduled"], default="dead")
    reason = Text(max_length=16, required=False)
    topic = Text(max_length=249, required=False)
    key = Text(max_length=300, required=False)
    since = Moment(required=False)
    until = Moment(required=False)


class SourceIn(Strict):
    """Where the records come from: one of the two."""

    kafka = KafkaSource(required=False)
    parked = ParkedSource(required=False)

    def checked(self, values: Values) -> Values:
        if len(values) != 1:
            text = "Either kafka or parked is needed."
            raise Invalid([Fault("", "bad_combination", text)])
        return values


class ReplayIn(Strict):
    """A replay: records sent again, under their own ids."""

    subscription = Text(max_length=40)
    source = SourceIn()  # type: ignore[assignment]  # DRF takes fields out of the class
    filter = Json(read=as_filter, schema=FILTER, default=dict)
    endpoint = Text(max_length=40, required=False, allow_null=True)
    only_missing = Truth(default=False)
    rate_per_s = Number(min_value=0.1, max_value=10_000, allow_null=True, default=None)
    auto_start = Truth(default=False)

    def checked(self, values: Values) -> Values:
        if "parked" in values["source"] and (values["filter"] or values["only_missing"]):
            text = "Parked rows are chosen by their own members, not by a filter of records."
            raise Invalid([Fault("/source/parked", "bad_combination", text)])
        return values


class DryRunOut(serializers.Serializer[Any]):
    """What was counted before anything was sent; beyond a million matches an estimate."""

    count = IntegerField()
    exact = BooleanField()
    bytes = IntegerField()
    duration_s = IntegerField(allow_null=True)
    first_at = Moment(allow_null=True)
    last_at = Moment(allow_null=True)
    already_delivered = IntegerField()
    order = OneOf(choices=["holds", "late"])


class ProgressOut(serializers.Serializer[Any]):
    """How far it is, at most 2 s old; ``scanned`` counts offsets, the others records.

    Offsets count what a grant hides, so under one that hides records it is null.
    """

    scanned = IntegerField(allow_null=True)
    matched = IntegerField()
    sent = IntegerField()
    delivered = IntegerField()
    failed = IntegerField()
    parked = IntegerField()
    remaining = IntegerField()
    percent = FloatField()
    eta_s = IntegerField(allow_null=True)
    rate_per_s = FloatField()


class ReplayOut(serializers.Serializer[Any]):
    """A replay with its dry run and its progress."""

    id = CharField()
    state = CharField()
    reason = CharField(allow_null=True)
    blocked_by = CharField(allow_null=True)
    subscription = CharField()
    endpoint = CharField(allow_null=True)
    source = JSONField()  # type: ignore[assignment]  # DRF takes fields out of the class
    filter = JSONField()
    only_missing = BooleanField()
    rate_per_s = FloatField(allow_null=True)
    auto_start = BooleanField()
    dry_run = DryRunOut(allow_null=True)
    progress = ProgressOut()
    gaps = GapOut(many=True)
    version = IntegerField()
    created_at = Moment()
    started_at = Moment(allow_null=True)
    ended_at = Moment(allow_null=True)
