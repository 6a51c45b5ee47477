"""Replays: who may have how many, what moves them, what engines and jobs write of them."""

from datetime import timedelta
from uuid import UUID

import pytest

from delivery import parking, positions, redriving, replay_view, replaying, replays, tasks
from delivery.attempts import AttemptRow
from delivery.ledger import NewlyParked
from delivery.models import DeliveryGap, ParkedDelivery
from delivery.positions import LaneRow
from delivery.replaying import Done
from delivery.replays import Spans, Wish
from kafkahub import clock
from kafkahub.errors import Conflict, LimitReached
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import (
    AuditEvent,
    Notice,
    Replay,
    ReplayLane,
    ReplayProgress,
    Subscription,
)
from tests import attempt_log, factories

ACTOR = Actor(ActorKind.KEY, "key_1")
KAFKA = Wish("kafka", {"kafka": {"from": "earliest", "to": "latest"}})
SPANS: Spans = {("orders", 0): (10, 20), ("orders", 1): (5, 8)}
OWNER = UUID(int=1)
State = Replay.State


@pytest.fixture
def subscription() -> Subscription:
    return factories.subscription(factories.partner())


def made(of: Subscription, state: State = State.COUNTING, wish: Wish = KAFKA) -> Replay:
    replay = replays.create(ACTOR, of, wish, SPANS if wish.kind == "kafka" else {})
    Replay.objects.filter(pk=replay.pk).update(state=state)
    return Replay.objects.select_related("subscription__endpoint", "progress").get(pk=replay.pk)


@pytest.mark.django_db
class TestMade:
    def test_it_has_a_lane_for_each_partition_and_is_counted_first(
        self, subscription: Subscription
    ) -> None:
        replay = made(subscription)

        lanes = ReplayLane.objects.order_by("partition").values_list("next_offset", "end_offset")
        assert (replay.state, list(lanes)) == ("counting", [(10, 20), (5, 8)])
        assert AuditEvent.objects.get(verb="replay.created").object_id == replay.pk

    def test_a_subscription_has_two_at_a_time(self, subscription: Subscription) -> None:
        made(subscription)
        made(subscription, State.PAUSED)

        with pytest.raises(LimitReached):
            made(subscription)
        Replay.objects.filter(state=State.PAUSED).update(state=State.DONE)
        made(subscription)

    def test_a_partner_has_five_at_a_time(self, subscription: Subscription) -> None:
        partner, endpoint = subscription.partner, subscription.endpoint
        for _ in range(5):
            made(factories.subscription(partner, endpoint))

        with pytest.raises(LimitReached):
            made(subscription)


MOVES = {
    replays.start: ({State.READY}, State.RUNNING),
    replays.pause: ({State.RUNNING}, State.PAUSED),
    replays.resume: ({State.PAUSED}, State.RUNNING),
    replays.cancel: (set(Replay.OPEN), State.CANCELLED),
}


@pytest.mark.django_db
@pytest.mark.parametrize("state", State)
def test_every_move_is_allowed_from_its_states_only(
    subscription: Subscription, state: State
) -> None:
    for move, (before, after) in MOVES.items():
        replay = made(subscription, state)

        if state in before or state == after:
            assert move(ACTOR, replay).state == after
        else:
            with pytest.raises(Conflict):
                move(ACTOR, replay)
        Replay.objects.all().delete()


@pytest.mark.django_db
def test_one_that_waits_too_long_to_be_started_is_cancelled(subscription: Subscription) -> None:
    late, fresh = made(subscription, State.READY), made(subscription, State.READY)
    Replay.objects.filter(pk=late.pk).update(ready_at=clock.now() - timedelta(minutes=61))
    Replay.objects.filter(pk=fresh.pk).update(ready_at=clock.now())

    tasks.keep_replays()

    states = {one.pk: one.state for one in Replay.objects.all()}
    assert states == {late.pk: "cancelled", fresh.pk: "ready"}


@pytest.mark.django_db
def test_one_with_nothing_to_send_ends_and_its_partner_is_told_once(
    subscription: Subscription,
) -> None:
    replay = made(subscription, State.RUNNING)
    ReplayLane.objects.update(next_offset=30)

    tasks.keep_replays()
    tasks.keep_replays()

    assert Replay.objects.get().state == "done"
    assert Notice.objects.get().data["replay"] == replay.pk


@pytest.mark.django_db
def test_replays_go_a_month_after_their_end_and_gaps_after_three(
    subscription: Subscription,
) -> None:
    old, fresh = made(subscription, State.DONE), made(subscription, State.DONE)
    now = clock.now()
    Replay.objects.filter(pk=old.pk).update(ended_at=now - timedelta(days=31))
    Replay.objects.filter(pk=fresh.pk).update(ended_at=now - timedelta(days=29))
    for number, days in enumerate((91, 89)):
        DeliveryGap.objects.create(
            subscription=subscription,
            topic="orders",
            partition=0,
            from_offset=number,
            reason="retention",
            found_at=now - timedelta(days=days),
            announced_at=now,
        )

    assert replays.expire(10) == 2

    assert [one.pk for one in Replay.objects.all()] == [fresh.pk]
    assert [one.from_offset for one in DeliveryGap.objects.all()] == [1]


# What a checkpoint writes.


def attempt(replay: str | None, outcome_class: str = "delivered") -> AttemptRow:
    return AttemptRow(
        0, "ptn", "sub", "ep", "msg_1", "orders", 0, 10, None, None, 1, "replay", "", outcome_class,
        200, 1, (0, 0, 0, 0, 0, 0), False, 1, None, None, None, None, (), replay,
    )  # fmt: skip


def parked(of: Subscription, replay: str, row_id: str = "msg_1", offset: int = 10) -> NewlyParked:
    return NewlyParked(
        row_id, of.pk, "orders", 0, offset, 1, None, None, b"{}", False, {}, 1, "scheduled",
        "failed", 1, 1, 5.0, "http_5xx", 500, None, replay,
    )  # fmt: skip


def test_a_batch_counts_for_each_replay_and_for_nothing_else() -> None:
    attempts = [attempt("rep_b"), attempt("rep_a", "failed"), attempt("rep_b"), attempt(None)]

    assert replaying.done(attempts, []) == [Done("rep_a", 1, 0, 1, 0), Done("rep_b", 2, 2, 0, 0)]


@pytest.mark.django_db(transaction=True)
class TestWritten:
    def test_figures_add_up(self, subscription: Subscription) -> None:
        replay = made(subscription, State.RUNNING)

        with factories.connect() as conn, conn.transaction(), conn.cursor() as cur:
            for _ in range(2):
                replaying.count(cur, [Done(replay.pk, 3, 2, 1, 1)])

        figures = ReplayProgress.objects.get()
        assert (figures.sent, figures.delivered, figures.failed, figures.parked) == (6, 4, 2, 2)

    def test_the_last_lane_ends_the_replay(self, subscription: Subscription) -> None:
        replay = made(subscription, State.RUNNING)

        ended = [self.save(replay, 0, 20), self.save(replay, 1, 8)]

        assert ended == [set(), {replay.pk}]
        assert Replay.objects.get().state == "done"

    def test_an_engine_that_lost_the_partition_moves_no_replay(
        self, subscription: Subscription
    ) -> None:
        replay = made(subscription, State.RUNNING)

        self.save(replay, 0, 20, is_ours=False)

        assert ReplayLane.objects.get(partition=0).next_offset == 10

    def save(self, of: Replay, partition: int, at: int, *, is_ours: bool = True) -> set[str]:
        row = LaneRow(of.subscription_id, "orders", partition, "behind", "replay", at)
        with factories.connect() as conn:
            claim = positions.start(conn, "orders", partition, OWNER, next_offset=50)
            epochs = {("orders", partition): claim.epoch + (not is_ours)}
            with conn.transaction(), conn.cursor() as cur:
                moved = positions.save_replay_lanes(
                    cur, [row._replace(replay=of.pk)], owner=OWNER, epochs=epochs
                )
                return replaying.end(cur, moved)

    def test_a_dead_row_begins_anew_and_never_has_a_second_beside_it(
        self, subscription: Subscription
    ) -> None:
        dead = factories.parked(subscription, offset=10, state="dead", attempts=10, sends=10)

        with factories.connect() as conn, conn.transaction(), conn.cursor() as cur:
            again = replaying.reset(cur, [parked(subscription, "rep_1", dead.pk)], kept_days=30)

        row = ParkedDelivery.objects.get()
        assert again == {dead.pk}
        assert (row.state, row.attempts, row.sends, row.replay) == ("scheduled", 1, 11, "rep_1")

    def test_a_row_on_its_way_and_a_discarded_one_stay_as_they_are(
        self, subscription: Subscription
    ) -> None:
        rows = [
            factories.parked(subscription, offset=10, state="scheduled"),
            factories.parked(subscription, offset=11, state="discarded"),
        ]

        with factories.connect() as conn, conn.transaction(), conn.cursor() as cur:
            again = replaying.reset(
                cur, [parked(subscription, "rep_1", row.pk) for row in rows], kept_days=30
            )

        assert again == set()

    def test_a_dead_letter_goes_when_its_record_was_delivered(
        self, subscription: Subscription
    ) -> None:
        factories.parked(subscription, id="msg_1", state="dead")

        with factories.connect() as conn, conn.transaction(), conn.cursor() as cur:
            replaying.forget_dead(cur, [attempt("rep_1")])

        assert not ParkedDelivery.objects.exists()

    def test_after_a_crash_only_its_own_pass_is_settled(self, subscription: Subscription) -> None:
        attempt_log.clear()
        for offset, replay, outcome in (
            (11, None, "delivered"),
            (12, "rep_1", "delivered"),
            (13, "rep_1", "failed"),
            (14, "rep_2", "delivered"),
        ):
            attempt_log.write(subscription, offset=offset, replay=replay, outcome_class=outcome)
        factories.parked(subscription, offset=13, replay="rep_1")
        factories.parked(subscription, offset=15, state="dead")

        with factories.connect() as conn:
            settled = replaying.settled(conn, "rep_1", topic="orders", partition=0, next_offset=10)

        assert settled == {12, 13}
        attempt_log.clear()


# Replays of parked rows.


def of_parked(of: Subscription, *, state: State = State.RUNNING, **asked: object) -> Replay:
    rate = asked.pop("rate_per_s", None)
    assert rate is None or isinstance(rate, float)
    return made(of, state, Wish("parked", {"parked": asked}, rate_per_s=rate))


@pytest.mark.django_db
class TestParked:
    @pytest.fixture(autouse=True)
    def _granted(self, subscription: Subscription) -> None:
        factories.grant(subscription.partner, factories.topic("orders").pk)

    def test_dead_letters_are_counted_then_made_due_once(self, subscription: Subscription) -> None:
        for offset in range(3):
            factories.parked(subscription, offset=offset, state="dead", reason="exhausted")
        replay = of_parked(subscription, state=State.COUNTING)

        redriving.step()
        counted = ReplayProgress.objects.get().count
        replays.start(ACTOR, replay)
        made_due = [redriving.step(), redriving.step()]

        assert (counted, made_due) == (3, [3, 0])
        rows = {(row.state, row.attempts, row.replay) for row in ParkedDelivery.objects.all()}
        assert rows == {("scheduled", 0, replay.pk)}
        assert Replay.objects.get().state == "running"  # they are not sent yet

    def test_only_what_was_asked_for_is_taken(self, subscription: Subscription) -> None:
        wanted = factories.parked(
            subscription, offset=1, state="dead", reason="too_large", key=b"7"
        )
        factories.parked(subscription, offset=2, state="dead", reason="exhausted", key=b"7")
        factories.parked(subscription, offset=3, state="dead", reason="too_large", key=b"8")
        factories.parked(subscription, offset=4, state="scheduled", reason="too_large", key=b"7")

        replay = of_parked(subscription, reason="too_large", key="7")
        redriving.step()

        assert [row.pk for row in ParkedDelivery.objects.filter(replay=replay.pk)] == [wanted.pk]

    def test_a_rate_spreads_what_is_due(self, subscription: Subscription) -> None:
        for offset in range(30):
            factories.parked(subscription, offset=offset, state="dead")

        of_parked(subscription, rate_per_s=5.0)

        assert redriving.step() == 10

    def test_a_pause_takes_back_what_was_not_sent_yet(self, subscription: Subscription) -> None:
        factories.parked(subscription, offset=1, state="dead", reason="exhausted")
        replay = of_parked(subscription)
        redriving.step()

        replays.pause(ACTOR, replay)
        redriving.step()
        row = ParkedDelivery.objects.get()
        paused = (row.state, row.reason, row.replay)
        replays.resume(ACTOR, replay)
        redriving.step()

        assert paused == ("dead", "exhausted", "")
        assert ParkedDelivery.objects.get().state == "scheduled"

    def test_it_is_done_when_every_row_was_tried(self, subscription: Subscription) -> None:
        row = factories.parked(subscription, offset=1, state="dead")
        of_parked(subscription)
        redriving.step()

        ParkedDelivery.objects.filter(pk=row.pk).update(attempts=1)
        redriving.step()

        assert Replay.objects.get().state == "done"

    def test_a_row_whose_record_is_gone_is_passed_over(self, subscription: Subscription) -> None:
        factories.parked(subscription, offset=1, state="dead", grant_version=7, topic="gone")
        of_parked(subscription)

        redriving.step()
        redriving.step()

        assert ReplayProgress.objects.get().failed == 1
        assert Replay.objects.get().state == "done"
        assert parking.expire(10) == []


# What is shown.


@pytest.mark.django_db
class TestShown:
    def test_progress_is_what_engines_wrote(self, subscription: Subscription) -> None:
        replay = made(subscription, State.RUNNING)
        ReplayLane.objects.filter(partition=0).update(next_offset=15)
        ReplayProgress.objects.update(count=13, sent=6, delivered=4, failed=2, parked=1)
        replay = Replay.objects.select_related("progress", "subscription__endpoint").get()

        shown = replay_view.progress(replay, list(ReplayLane.objects.all()))

        assert (shown["scanned"], shown["matched"], shown["remaining"]) == (5, 5, 8)
        assert shown["percent"] == 38.5

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            ("subscription", "subscription_paused"),
            ("endpoint", "endpoint_disabled"),
            ("lane", "endpoint_down"),
            ("", None),
        ],
    )
    def test_it_says_what_it_waits_for(
        self, subscription: Subscription, change: str, cause: str | None
    ) -> None:
        made(subscription, State.RUNNING)
        if change == "subscription":
            Subscription.objects.update(status="paused")
        if change == "endpoint":
            type(subscription.endpoint).objects.update(status="disabled")  # type: ignore[union-attr]  # it has one
        if change == "lane":
            subscription.lanes.create(
                topic="orders", partition=0, state="behind", reason="endpoint_down", next_offset=1
            )

        replay = Replay.objects.select_related("subscription__endpoint", "endpoint").get()

        assert replay_view.blocked_by(replay) == cause
