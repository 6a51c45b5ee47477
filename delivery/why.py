"""What became of one record for one subscription, from the log, the tables and Kafka."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from delivery import explain, lag, matcher
from delivery.attempts import possible_ms
from delivery.explain import Facts, Step
from delivery.models import DeliveryAttempt, DeliveryGap, ParkedDelivery
from delivery.reread import granted, open_reader, record_at
from kafkahub import clock
from kafkahub.errors import NotFound, RecordGone
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Position, Record
from subscriptions.access import authorize_and_project
from subscriptions.filters import explain as filters
from subscriptions.filters.syntax import parse
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic
from subscriptions.models import Subscription

MAX_ATTEMPTS = 20
LOOK_S = 5.0
"""Longest look for a key, in seconds."""
LOOK_RECORDS = 2_000
"""Records of a partition that are looked at for a key, from the time given on."""
WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Why:
    """What is shown of a record's way.

    filter  what each clause of the filter says; None where it was not asked
    lane    where the subscription stands there; None where it has no lane
    """

    step: Step
    place: Position
    attempts: list[DeliveryAttempt]
    parked: ParkedDelivery | None
    gap: DeliveryGap | None
    lane: lag.Standing | None
    filter: Mapping[str, object] | None
    event_type: str | None

    @property
    def text(self) -> str:
        return explain.TEXTS[self.step]


@dataclass(frozen=True, slots=True)
class Looked:
    """The record as the partner sees it, with what its filter says; None where there is none."""

    is_granted: bool
    record: Record | None = None
    is_wanted: bool = True
    result: str = "true"
    filter: Mapping[str, object] | None = None
    event_type: str | None = None


def why(subscription: Subscription, place: Position, ends: lag.Ends) -> Why:
    """Return what became of the record at a place.

    Asks Kafka, so it must not run inside a transaction. Raises Unavailable.
    """
    attempts = _attempts(subscription, place)
    parked = _parked(subscription, place)
    gap = _gap(subscription, place)
    lane = next(
        (
            one
            for one in lag.standings(subscription, ends)
            if (one.topic, one.partition) == (place.topic, place.partition)
        ),
        None,
    )
    looked = _looked(subscription, place)
    facts = Facts(
        outcomes=[one.outcome_class for one in attempts],
        parked_state="" if parked is None else parked.state,
        is_in_gap=gap is not None,
        is_granted=looked.is_granted,
        is_there=looked.record is not None,
        is_wanted=looked.is_wanted,
        filter_result=looked.result,
        is_settled=lane is not None and place.offset < lane.next_offset,
        record_at=_moment(looked.record),
        began_at=subscription.created_at,
    )
    return Why(
        explain.first_step(facts),
        place,
        attempts,
        parked,
        gap,
        lane,
        looked.filter,
        looked.event_type,
    )


def find(
    subscription: Subscription, topic: str, key: str, since: datetime, admin: Admin
) -> Position:
    """Return where the first record with this key stands, from this time on.

    Only what the grant shows is found. Asks Kafka; raises NotFound when there is none among the
    first ``LOOK_RECORDS`` of each partition, and Unavailable.
    """
    grant, _ = granted(subscription, topic)
    wanted = key.encode()
    begin = admin.offsets_at(topic, int(since.timestamp() * 1000))
    now_ms = int(clock.now().timestamp() * 1000)
    with open_reader() as (reader, _):
        deadline = time.monotonic() + LOOK_S
        for partition, offset in begin.items():
            reader.assign([Position(topic, partition, offset)])
            looked = 0
            while looked < LOOK_RECORDS and time.monotonic() < deadline:
                records = reader.read(LOOK_RECORDS - looked, WAIT_S)
                looked += len(records)
                for record in records:
                    seen = authorize_and_project(record, grant, now_ms)
                    if seen is not None and seen.key == wanted:
                        return Position(topic, partition, record.offset)
                if reader.is_at_end(topic, partition):
                    break
    raise NotFound


def _looked(subscription: Subscription, place: Position) -> Looked:
    try:
        grant, topic = granted(subscription, place.topic)
    except NotFound:
        return Looked(is_granted=False)
    record = _record(place, grant)
    if record is None:
        return Looked(is_granted=True)
    return _judged(subscription, record, topic)


def _record(place: Position, grant: Grant) -> Record | None:
    try:
        record = record_at(place)
    except RecordGone:
        return None
    return authorize_and_project(record, grant, int(clock.now().timestamp() * 1000))


def _judged(subscription: Subscription, record: Record, topic: LiveTopic) -> Looked:
    view = matcher.view_of(record, topic)
    is_wanted = not subscription.types or view.event_type in subscription.types
    result, shown = "true", None
    if subscription.filter:
        try:
            explained = filters.explain(parse(subscription.filter), view)
            result, shown = explained.result, explained.as_json()
        except Undecodable:
            result = explain.Step.UNDECODABLE.value
    return Looked(
        is_granted=True,
        record=record,
        is_wanted=is_wanted,
        result=result,
        filter=shown,
        event_type=view.event_type,
    )


def _attempts(subscription: Subscription, place: Position) -> list[DeliveryAttempt]:
    rows = DeliveryAttempt.objects.filter(  # by attempt_of_lane
        subscription=subscription.pk,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
    )
    return list(rows.order_by("at", "id")[:MAX_ATTEMPTS])


def _parked(subscription: Subscription, place: Position) -> ParkedDelivery | None:
    return ParkedDelivery.objects.filter(  # by parked_position
        subscription=subscription,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
    ).first()


def _gap(subscription: Subscription, place: Position) -> DeliveryGap | None:
    gaps = DeliveryGap.objects.filter(  # by delivery_gap_once
        subscription=subscription,
        topic=place.topic,
        partition=place.partition,
        from_offset__lte=place.offset,
        to_offset__gt=place.offset,
    )
    return gaps.order_by("-found_at").first()


def _moment(record: Record | None) -> datetime | None:
    possible = None if record is None else possible_ms(record.timestamp_ms)
    return None if possible is None else datetime.fromtimestamp(possible / 1000, UTC)
