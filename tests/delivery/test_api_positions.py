"""``/subscriptions/{sub}/position``: how far behind a partner's subscription is."""

import pytest

from delivery import lag
from delivery.models import DeliveryGap, PartitionPosition
from kafkahub.kafka.faults import KafkaUnavailable
from subscriptions import cursor
from subscriptions.models import LanePosition, Subscription
from tests import factories
from tests.api import Caller, json_of, without_request_id
from tests.conftest import MakeTopic
from tests.delivery.kafka import produce

pytestmark = pytest.mark.django_db


@pytest.fixture
def subscription(alice: Caller) -> Subscription:
    made = factories.subscription(alice.partner)
    PartitionPosition.objects.create(topic="orders", partition=0, next_offset=100)
    PartitionPosition.objects.create(topic="orders", partition=1, next_offset=50)
    lane(made, 0, state="live", next_offset=10)
    lane(made, 1, state="behind", next_offset=20, reason="endpoint_down")
    return made


def lane(of: Subscription, partition: int, **members: object) -> None:
    LanePosition.objects.create(subscription=of, topic="orders", partition=partition, **members)


def ends(_: str) -> dict[int, tuple[int, int]]:
    return {0: (0, 130), 1: (0, 60)}


def test_a_live_lane_stands_at_the_floor_and_one_behind_at_its_own_offset(
    subscription: Subscription,
) -> None:
    found = lag.standings(subscription, ends)

    assert [(one.state, one.next_offset, one.lag_records) for one in found] == [
        ("live", 100, 30),
        ("behind", 20, 40),
    ]


def test_a_lane_that_begins_above_the_floor_stands_where_it_begins(alice: Caller) -> None:
    made = factories.subscription(alice.partner)
    PartitionPosition.objects.create(topic="orders", partition=0, next_offset=5)
    lane(made, 0, state="live", next_offset=9)

    [found] = lag.standings(made, ends)

    assert found.next_offset == 9


def test_while_kafka_is_away_the_place_is_told_and_the_lag_is_not(
    subscription: Subscription,
) -> None:
    def away(topic: str) -> dict[int, tuple[int, int]]:
        raise KafkaUnavailable(topic)

    found = lag.standings(subscription, away)

    assert [(one.next_offset, one.lag_records) for one in found] == [(100, None), (20, None)]


def test_one_cursor_spans_all_lanes(subscription: Subscription) -> None:
    found = lag.cursor_of(lag.standings(subscription, ends), cursor.tag("cluster"))

    assert found is not None
    [topic] = found.topics
    assert dict(topic.offsets) == {0: 100, 1: 20}


@pytest.mark.kafka
def test_a_partner_sees_its_own_position_and_a_stranger_nothing(
    alice: Caller, charlie: Caller, subscription: Subscription
) -> None:
    mine = alice.get(f"/subscriptions/{subscription.id}/position")
    foreign = charlie.get(f"/subscriptions/{subscription.id}/position")
    nothing = charlie.get("/subscriptions/sub_00000000000000000000000000/position")

    assert [one["next_offset"] for one in json_of(mine)["lanes"]] == [100, 20]
    assert foreign.status_code == 404
    assert without_request_id(foreign) == without_request_id(nothing)


@pytest.mark.kafka
def test_a_partner_sees_how_old_its_debt_is_and_what_was_lost(
    alice: Caller, topic: MakeTopic
) -> None:
    name = topic()
    factories.grant(alice.partner, factories.topic(name).pk)
    made = factories.subscription(alice.partner, topics=(name,))
    produce(name, 3)
    PartitionPosition.objects.create(topic=name, partition=0, next_offset=3)
    LanePosition.objects.create(
        subscription=made, topic=name, partition=0, state="behind", next_offset=1
    )
    DeliveryGap.objects.create(
        subscription=made, topic=name, partition=0, from_offset=0, to_offset=1, reason="retention"
    )

    shown = json_of(alice.get(f"/subscriptions/{made.pk}/position"))

    [gap] = shown["gaps"]
    assert (gap["from"], gap["to"], gap["lost"], gap["reason"]) == (0, 1, 1, "retention")
    assert (shown["lag_records"], shown["oldest_undelivered_at"] is not None) == (2, True)
    assert 0 <= shown["lag_s"] < 600
    assert shown["headroom_s"] > 0


@pytest.mark.kafka
def test_without_debt_nothing_is_old(alice: Caller, topic: MakeTopic) -> None:
    name = topic()
    factories.grant(alice.partner, factories.topic(name).pk)
    made = factories.subscription(alice.partner, topics=(name,))
    LanePosition.objects.create(
        subscription=made, topic=name, partition=0, state="live", next_offset=0
    )

    shown = json_of(alice.get(f"/subscriptions/{made.pk}/position"))

    assert (shown["lag_records"], shown["lag_s"], shown["oldest_undelivered_at"]) == (0, 0, None)
    assert shown["gaps"] == []
