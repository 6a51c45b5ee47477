"""A subscription is moved back or forward, and an engine at the old place writes nothing."""

from uuid import UUID, uuid4

import pytest

from delivery import failures, ledger, positions, seeking
from delivery.inbox import Found
from delivery.models import DeliveryGap, ParkedDelivery, PartitionPosition
from delivery.positions import LaneRow
from kafkahub.errors import Conflict
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import AuditEvent, LanePosition, Notice, Subscription
from subscriptions.starts import Earliest
from tests import attempt_log, factories
from tests.delivery import makers
from tests.delivery.rig import Rig, offsets, row

A = makers.subscription("sub_a")
ACTOR = Actor(ActorKind.KEY, "key_1")
PLACE = ("orders", 0)
OWNER = UUID(int=1)


# The engine that hears of it.


def test_a_lane_that_was_moved_back_sends_again_from_there() -> None:
    hub = Rig(A)
    hub.assign(next_offset=50)
    hub.feed(50, 51)
    hub.land(*hub.take())

    moved = Found(row("sub_a", "behind", 10)._replace(seeks=1))
    hub.change(found=[moved])
    hub.answer_ask(10, 11, next_offset=12)

    assert offsets(hub.take()) == [10, 11]
    [lane] = hub.batch().lanes
    assert (lane.next_offset, lane.seeks) == (10, 1)


def test_a_snapshot_without_a_move_leaves_the_lane_alone() -> None:
    hub = Rig(A)
    hub.assign(next_offset=50)
    hub.feed(50)

    hub.change(found=[Found(row("sub_a", "behind", 10))])

    assert offsets(hub.take()) == [50]
    assert hub.asks == []


def test_what_was_out_when_a_lane_was_moved_lands_and_counts_no_more() -> None:
    hub = Rig(A)
    hub.assign(next_offset=50)
    hub.feed(50)
    [out] = hub.take()

    hub.change(found=[Found(row("sub_a", "behind", 10)._replace(seeks=1))])
    hub.land(out)

    assert not hub.board.is_busy((makers.TOPIC, 0))
    assert [lane.next_offset for lane in hub.commit().lanes] == [10]


# What a person's word writes.


@pytest.fixture
def subscription() -> Subscription:
    made = factories.subscription(factories.partner())
    PartitionPosition.objects.create(topic="orders", partition=0, next_offset=100, epoch=4)
    LanePosition.objects.create(
        subscription=made, topic="orders", partition=0, state="live", next_offset=30
    )
    return made


def move(of: Subscription, to: int) -> int:
    return seeking.seek(ACTOR, of, Earliest(), {PLACE: to}, makers.NAMING)


@pytest.mark.django_db
class TestMoved:
    def test_back_begins_a_new_pass(self, subscription: Subscription) -> None:
        before = LanePosition.objects.get()

        assert move(subscription, 40) == 1

        lane = LanePosition.objects.get()
        assert (lane.state, lane.reason, lane.next_offset) == ("behind", "seek", 40)
        assert lane.seeks == before.seeks + 1
        assert lane.since > before.since
        assert Subscription.objects.get().seeks == 1
        event = AuditEvent.objects.get(verb="subscription.seeked")
        assert event.object_id == subscription.pk
        assert not DeliveryGap.objects.exists()

    def test_back_owes_dead_letters_anew_and_leaves_what_was_discarded(
        self, subscription: Subscription
    ) -> None:
        for offset, state in ((39, "dead"), (40, "dead"), (41, "discarded"), (42, "scheduled")):
            factories.parked(subscription, offset=offset, state=state)

        move(subscription, 40)

        left = ParkedDelivery.objects.order_by("offset").values_list("offset", "state")
        assert list(left) == [(39, "dead"), (41, "discarded"), (42, "scheduled")]

    def test_forward_is_a_chosen_loss(self, subscription: Subscription) -> None:
        factories.grant(subscription.partner, factories.topic("orders").pk)

        move(subscription, 130)

        gap = DeliveryGap.objects.get()
        assert (gap.from_offset, gap.to_offset, gap.reason) == (100, 130, "skipped")
        assert gap.announced_at is not None
        assert ParkedDelivery.objects.get().pk == gap.delivery
        assert Notice.objects.get().data["lost"] == 30
        assert AuditEvent.objects.filter(verb="gap.found").count() == 1

    def test_where_it_stands_already_nothing_moves(self, subscription: Subscription) -> None:
        assert move(subscription, 100) == 0

        assert LanePosition.objects.get().state == "live"

    def test_a_topic_that_waits_for_a_person_is_not_moved(self, subscription: Subscription) -> None:
        LanePosition.objects.update(state="paused", reason="recreated")

        with pytest.raises(Conflict):
            move(subscription, 0)


@pytest.mark.django_db(transaction=True)
def test_a_write_of_the_older_pass_changes_nothing(subscription: Subscription) -> None:
    move(subscription, 40)
    old = LaneRow(subscription.pk, "orders", 0, "live", "", 100)
    with factories.connect() as conn:
        claim = positions.claim(conn, "orders", 0, OWNER)
        epochs = {PLACE: claim.epoch}
        with conn.transaction(), conn.cursor() as cur:
            late = positions.save_lanes(cur, [old], owner=OWNER, epochs=epochs)
            kept = positions.save_lanes(cur, [old._replace(seeks=1)], owner=OWNER, epochs=epochs)

    assert (len(late), len(kept)) == (0, 1)


@pytest.mark.django_db(transaction=True)
def test_after_a_crash_only_what_the_new_pass_delivered_is_passed(
    subscription: Subscription,
) -> None:
    attempt_log.clear()
    attempt_log.write(subscription, offset=50, outcome_class="delivered")
    move(subscription, 40)
    attempt_log.write(subscription, offset=41, outcome_class="delivered")

    with factories.connect() as conn:
        settled = ledger.settled_above(conn, "orders", 0, generation=1, floor=100)

    assert settled == {(subscription.pk, 41)}
    attempt_log.clear()


@pytest.mark.django_db
def test_the_first_failure_is_the_first_since_the_last_success(subscription: Subscription) -> None:
    attempt_log.clear()
    attempt_log.write(subscription, offset=1, outcome_class="failed")
    attempt_log.write(subscription, offset=2, outcome_class="delivered")
    attempt_log.write(subscription, offset=5, outcome_class="failed")
    attempt_log.write(subscription, offset=4, outcome_class="overloaded")
    attempt_log.write(subscription, offset=9, partition=1, outcome_class="failed")

    assert failures.first(subscription.pk) == {"orders": {0: 4, 1: 9}}
    assert failures.first(str(uuid4())) == {}
