"""What Kafka has lost is announced: by the dispatcher, in the transaction of the new position."""

import json
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from delivery import gaps, positions, recreated, tasks
from delivery.batch import Batch
from delivery.checkpoint import Checkpoint
from delivery.database import Conn, connect
from delivery.gap_notices import noticed, of_form
from delivery.gaps import Gap, Noticed
from delivery.inbox import Found, Overtaken, Recreated
from delivery.lanes import LaneState
from delivery.models import DeliveryGap, ParkedDelivery, PartitionPosition
from delivery.positions import Floor, LaneRow
from kafkahub.errors import Conflict
from subscriptions.audit import Actor, ActorKind
from subscriptions.grant_rules import KeyRule, Rules
from subscriptions.live import BatchLimits
from subscriptions.models import AuditEvent, LanePosition, Notice, Subscription, Topic
from subscriptions.projection import Projection, TopicForm
from tests import factories
from tests.delivery import makers
from tests.delivery.links import url
from tests.delivery.rig import PLACE, Rig, offsets, row

A = makers.subscription("sub_a")
SERIAL = replace(makers.subscription("sub_s"), ordering="partition")
BATCH = BatchLimits(max_records=10, max_wait_ms=100, max_bytes=1_024, partial=False)
SYSTEM = Actor(ActorKind.SYSTEM, "test")


def ranges(batch: Batch) -> list[tuple[str, int, int | None, str]]:
    found = [one.gap for one in batch.gaps]
    return [(gap.subscription, gap.from_offset, gap.to_offset, gap.reason) for gap in found]


# The dispatcher.


def test_a_live_lane_is_told_exactly_what_retention_took() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0, 1)
    hub.land(*hub.take())

    hub.post(Overtaken(PLACE, 7))
    hub.feed(7)

    batch = hub.commit()
    assert ranges(batch) == [("sub_a", 2, 7, "retention")]
    assert [floor.next_offset for floor in batch.floors] == [7]
    assert offsets(hub.take()) == [7]


def test_a_lane_that_begins_above_what_is_lost_has_no_gap() -> None:
    hub = Rig(A)
    hub.assign(Found(row("sub_a", next_offset=9)))

    hub.post(Overtaken(PLACE, 7))

    assert ranges(hub.batch()) == []


def test_a_lane_behind_goes_on_after_its_gap_in_one_checkpoint() -> None:
    hub = Rig(A)
    hub.assign(Found(row("sub_a", "behind", 3)), next_offset=50)

    hub.answer_ask(next_offset=20, is_gap=True)

    batch = hub.commit()
    assert ranges(batch) == [("sub_a", 3, 20, "retention")]
    assert [(lane.state, lane.next_offset) for lane in batch.lanes] == [("behind", 20)]
    assert [ask.offset for ask in hub.asks] == [20]


def test_a_recreated_topic_stops_every_lane_and_tells_from_where() -> None:
    other = makers.subscription("sub_b")
    hub = Rig(A, other)
    hub.assign(Found(row("sub_a", next_offset=5)), Found(row("sub_b", "behind", 2)), next_offset=5)
    hub.feed(5, to=["sub_a"])

    hub.post(Recreated(PLACE, "recreated"))

    batch = hub.commit()
    assert sorted(ranges(batch)) == [
        ("sub_a", 5, None, "recreated"),
        ("sub_b", 2, None, "recreated"),
    ]
    assert {(lane.state, lane.reason) for lane in batch.lanes} == {("paused", "recreated")}
    assert hub.take() == []


def test_what_stands_still_for_a_recreated_topic_is_not_told_twice() -> None:
    hub = Rig(A)
    stands = replace_reason(row("sub_a", "paused", 5), "recreated")
    hub.assign(Found(stands), next_offset=5)

    hub.post(Recreated(PLACE, "recreated"))
    hub.set_sending("sub_a", sending=True)

    assert ranges(hub.commit()) == []
    assert (hub.lane("sub_a").state, hub.lane("sub_a").reason) == (LaneState.PAUSED, "recreated")
    assert hub.asks == []


def test_a_subscription_made_after_the_topic_waits_without_a_gap() -> None:
    hub = Rig(A)
    hub.assign(Found(replace_reason(row("sub_a", "paused", 5), "recreated")), next_offset=5)
    hub.post(Recreated(PLACE, "recreated"))

    late = makers.subscription("sub_b")
    hub.change(late, found=[Found(replace_reason(row("sub_b", "behind", 1), "start"))])

    batch = hub.commit()
    assert ranges(batch) == []
    assert [lane.reason for lane in batch.lanes if lane.subscription == "sub_b"] == ["start"]
    assert hub.lane("sub_b").state is LaneState.PAUSED


def replace_reason(of: LaneRow, reason: str) -> LaneRow:
    return of._replace(reason=reason)


def test_a_serial_lane_sends_nothing_until_its_gap_was_told() -> None:
    hub = Rig(SERIAL)
    hub.assign()
    hub.post(Overtaken(PLACE, 7))
    hub.feed(7)
    [told] = hub.batch().gaps

    assert hub.take() == []
    hub.commit()
    hub.see(untold=frozenset({told.gap.delivery}))
    assert hub.take() == []
    hub.see(untold=frozenset())

    assert offsets(hub.take()) == [7]


def test_a_serial_lane_does_not_trust_a_look_from_before_the_commit() -> None:
    hub = Rig(SERIAL)
    hub.assign()
    hub.post(Overtaken(PLACE, 7))
    hub.feed(7)

    hub.see(untold=frozenset())

    assert hub.take() == []


def test_a_serial_lane_waits_on_after_a_crash() -> None:
    hub = Rig(SERIAL)
    hub.assign(Found(row("sub_s"), untold="msg_gap"))
    hub.feed(0)

    hub.see(untold=frozenset({"msg_gap"}))
    waiting = hub.take()
    hub.see(untold=frozenset())

    assert (waiting, offsets(hub.take())) == ([], [0])


@pytest.mark.parametrize(
    ("ordering", "batch", "is_serial"),
    [
        ("none", None, False),
        ("none", BATCH, False),
        ("key", None, False),
        ("key", BATCH, True),
        ("partition", None, True),
    ],
)
def test_only_lanes_that_send_one_after_the_other_wait_for_a_gap(
    ordering: str, batch: BatchLimits | None, *, is_serial: bool
) -> None:
    lane = makers.lane(live=replace(A, ordering=ordering, batch=batch))

    assert lane.is_serial is is_serial


def test_a_lane_lost_before_the_checkpoint_announces_nothing() -> None:
    hub = Rig(A)
    hub.assign()
    hub.post(Overtaken(PLACE, 7))

    hub.board.lose([PLACE])
    hub.tick(1.0)

    assert hub.batches == []


# What the subscription is told.


def told(live: str = "sub_a", *, is_filtered: bool = False) -> tuple[Gap, dict[str, object]]:
    subscription = makers.subscription(live)
    rules = Rules(key_rule=KeyRule(keys=frozenset({b"a"})) if is_filtered else None)
    shows = Projection(rules, TopicForm(makers.TOPIC, "json", "constant", ""), b"", "rules")
    grant = replace(subscription.grants[makers.TOPIC], projection=shows)
    form = makers.form(replace(subscription, grants={makers.TOPIC: grant}))
    made = noticed(makers.NAMING, of_form(form), from_offset=3, to_offset=10, reason="retention")
    assert made.notice is not None
    assert made.notice.body is not None
    return made.gap, json.loads(made.notice.body)


def test_the_envelope_has_the_exact_range() -> None:
    gap, body = told()

    data = body["data"]
    assert isinstance(data, dict)
    assert body["type"] == "kafkahub.gap"
    assert (data["from"], data["to"], data["lost"], data["reason"]) == (3, 10, 7, "retention")
    assert (data["notice"], data["subscription"]) == (gap.id, "sub_a")


def test_a_filtered_grant_shows_no_number() -> None:
    _, body = told(is_filtered=True)

    data = body["data"]
    assert isinstance(data, dict)
    assert not {"from", "to", "lost", "partition", "from_cursor"} & data.keys()


def test_the_id_is_the_same_after_a_crash_and_no_record_s() -> None:
    first, _ = told()
    again, _ = told()

    assert first.delivery == again.delivery
    assert first.delivery != makers.form(A).deliveries.of(3)
    assert first.delivery != told("sub_b")[0].delivery


# The checkpoint, the jobs, and a person's consent.


@pytest.fixture
def conn() -> Iterator[Conn]:
    with factories.connect() as made:
        yield made


@pytest.fixture
def stored() -> Subscription:
    return factories.subscription(factories.partner())


def announced(of: Subscription, from_offset: int = 3, to_offset: int | None = 10) -> Noticed:
    live = replace(makers.subscription(of.pk), partner=of.partner_id)
    return noticed(
        makers.NAMING,
        of_form(makers.form(live)),
        from_offset=from_offset,
        to_offset=to_offset,
        reason="retention",
    )


def write(conn: Conn, *found: Noticed, is_fenced: bool = False) -> None:
    """Let a checkpoint write these gaps."""
    owner = uuid4()
    claim = positions.start(conn, makers.TOPIC, 0, owner, next_offset=0)
    epoch = claim.epoch + is_fenced
    batch = Batch(1, gaps=list(found), floors=[Floor(makers.TOPIC, 0, epoch, owner, 10, 1)])
    done: list[int] = []
    checkpoint = Checkpoint(
        owner,
        lambda: connect(url(), "test"),
        kept_days=30,
        on_committed=lambda note, _: done.append(note.number),
    )
    checkpoint.submit(batch)
    checkpoint.stop()
    checkpoint.run()
    assert done == [1]


@pytest.mark.django_db(transaction=True)
class TestWritten:
    def test_the_row_and_what_tells_of_it_come_together(
        self, conn: Conn, stored: Subscription
    ) -> None:
        gap = announced(stored)

        write(conn, gap)

        kept = DeliveryGap.objects.get()
        assert (kept.from_offset, kept.to_offset, kept.lost) == (3, 10, 7)
        parked = ParkedDelivery.objects.get()
        assert (parked.pk, parked.state, parked.reason) == (kept.delivery, "scheduled", "gap")
        assert parked.is_notice

    def test_a_gap_found_again_is_not_told_again(self, conn: Conn, stored: Subscription) -> None:
        write(conn, announced(stored))
        ParkedDelivery.objects.all().delete()  # it was delivered

        write(conn, announced(stored))

        assert (DeliveryGap.objects.count(), ParkedDelivery.objects.count()) == (1, 0)

    def test_an_engine_that_lost_the_partition_announces_nothing(
        self, conn: Conn, stored: Subscription
    ) -> None:
        write(conn, announced(stored), is_fenced=True)

        assert not DeliveryGap.objects.exists()
        assert not ParkedDelivery.objects.exists()

    def test_a_deleted_subscription_costs_no_checkpoint(
        self, conn: Conn, stored: Subscription
    ) -> None:
        gap = announced(stored)
        stored.delete()

        write(conn, gap)

        assert not DeliveryGap.objects.exists()

    def test_what_is_on_its_way_is_known_until_it_has_arrived(
        self, conn: Conn, stored: Subscription
    ) -> None:
        gap = announced(stored)
        write(conn, gap)

        on_its_way = gaps.untold(conn, makers.TOPIC, 0), gaps.untold_ids(conn)
        ParkedDelivery.objects.update(state="dead", reason="exhausted", next_attempt_at=None)

        assert on_its_way == ({stored.pk: gap.gap.delivery}, frozenset({gap.gap.delivery}))
        assert (gaps.untold(conn, makers.TOPIC, 0), gaps.untold_ids(conn)) == ({}, frozenset())

    def test_the_audit_log_and_the_partner_are_told_once(
        self, conn: Conn, stored: Subscription
    ) -> None:
        topic = factories.topic(makers.TOPIC)
        factories.grant(stored.partner, topic.pk)
        write(conn, announced(stored))

        tasks.announce_gaps()
        tasks.announce_gaps()

        event = AuditEvent.objects.get(verb="gap.found")
        assert (event.partner, event.object_id) == (stored.partner_id, stored.pk)
        notice = Notice.objects.get()
        assert notice.pk == DeliveryGap.objects.get().pk
        assert (notice.data["from"], notice.data["to"]) == (3, 10)

    def test_without_a_grant_the_partner_sees_no_number(
        self, conn: Conn, stored: Subscription
    ) -> None:
        write(conn, announced(stored))

        tasks.announce_gaps()

        assert "from" not in Notice.objects.get().data


class Ends:
    """A cluster that has one topic of one partition."""

    def watermarks(self, _: str, /) -> dict[int, tuple[int, int]]:
        return {0: (4, 9)}

    def topic_id(self, _: str, /) -> str:
        return "another"


@pytest.mark.django_db
class TestAccepting:
    @pytest.fixture
    def topic(self) -> Topic:
        return factories.topic(makers.TOPIC)

    def stand_still(self, topic: Topic, reason: str = "recreated", partition: int = 0) -> None:
        PartitionPosition.objects.create(
            topic=topic.pk, partition=partition, next_offset=70, epoch=3, owner=uuid4()
        )
        LanePosition.objects.create(
            subscription=factories.subscription(factories.partner()),
            topic=topic.pk,
            partition=partition,
            state="paused",
            reason=reason,
            next_offset=60,
        )

    def test_lanes_go_on_at_the_first_record_under_a_new_generation(self, topic: Topic) -> None:
        self.stand_still(topic)

        assert recreated.accept(SYSTEM, topic, Ends()) == 1

        lane, floor = LanePosition.objects.get(), PartitionPosition.objects.get()
        assert (lane.state, lane.next_offset, lane.seeks) == ("behind", 4, 1)
        assert (floor.generation, floor.epoch, floor.next_offset) == (2, 4, 4)
        assert (floor.owner, floor.topic_id) == (None, "another")
        assert AuditEvent.objects.filter(verb="topic.accepted").exists()

    def test_a_lane_that_stands_still_for_another_cause_is_left(self, topic: Topic) -> None:
        self.stand_still(topic, "subscription")

        with pytest.raises(Conflict):
            recreated.accept(SYSTEM, topic, Ends())

        assert LanePosition.objects.get().next_offset == 60
        assert PartitionPosition.objects.get().generation == 1

    def test_a_partition_the_new_topic_does_not_have_is_forgotten(self, topic: Topic) -> None:
        self.stand_still(topic)
        self.stand_still(topic, partition=1)

        recreated.accept(SYSTEM, topic, Ends())

        assert [lane.partition for lane in LanePosition.objects.all()] == [0]
        assert PartitionPosition.objects.count() == 1
