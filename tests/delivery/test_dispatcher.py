"""What goes out next, and what follows from each answer."""

from collections import Counter
from dataclasses import replace

import pytest

from delivery import inbox
from delivery.board import Room
from delivery.inbox import Found
from delivery.lanes import LaneState
from kafkahub.egress.curl import Answer
from tests.delivery import makers
from tests.delivery.rig import CHECKPOINT_S, PLACE, Rig, names, offsets, row

ONE = makers.endpoint("ep_1", max_in_flight=2)
TWO = makers.endpoint("ep_2", max_in_flight=2)
A, B = makers.subscription("sub_a", to=ONE), makers.subscription("sub_b", to=TWO)
ROOMY = Room(100, 1 << 20)


def rig(checkpoint_outcomes: int = 1_000) -> Rig:
    """Return a dispatcher with one live lane that has one window of 32."""
    made = Rig(makers.subscription(), room=ROOMY, checkpoint_outcomes=checkpoint_outcomes)
    made.assign()
    return made


# Requests out.


def test_endpoints_take_turns_and_no_window_is_exceeded() -> None:
    hub = Rig(A, B, room=ROOMY)
    hub.assign()
    hub.feed(*range(10))

    first = hub.take()

    assert Counter(names(first)) == {"sub_a": 2, "sub_b": 2}
    assert hub.take() == []
    hub.land(first[0])
    assert names(hub.take()) == [names(first)[0]]


def test_an_endpoint_that_does_not_answer_keeps_only_its_own_window() -> None:
    hub = Rig(A, B, room=ROOMY)
    hub.assign()
    hub.feed(*range(10))
    answered = 0

    while fresh := [one for one in hub.take() if one.delivery.form.subscription is B]:
        answered += len(fresh)
        hub.land(*fresh)

    assert answered == 10
    assert hub.window("sub_a").in_flight == 2


def test_every_request_of_a_record_has_the_same_id_and_its_own_number() -> None:
    hub = rig()
    hub.feed(0)
    [first] = hub.take()
    hub.land(first, answer=makers.answer(429, retry_after=("1",)))
    hub.tick(60)

    [second] = hub.take()

    assert first.delivery.webhook_id == second.delivery.webhook_id
    assert "kafkahub-attempt: 1" in first.headers
    assert "kafkahub-attempt: 2" in second.headers
    assert first.body == second.body


def test_nothing_is_sent_while_too_many_outcomes_are_not_durable() -> None:
    hub = rig(checkpoint_outcomes=3)
    hub.feed(*range(10))

    hub.land(*hub.take(3))
    assert hub.take() == []
    batch = hub.batch()
    assert hub.take() == [], "a batch under way may be lost as well"
    hub.batches.clear()
    hub.post(inbox.Committed(batch.number, frozenset()))

    assert offsets(hub.take(1)) == [3]


def test_half_the_limit_is_worth_a_checkpoint_before_its_time() -> None:
    hub = rig(checkpoint_outcomes=4)
    hub.feed(*range(4))
    hub.tick(CHECKPOINT_S)

    hub.land(*hub.take(2))
    hub.tick(0.001)

    assert len(hub.batches) == 1


def test_a_rotated_secret_signs_what_is_queued_already() -> None:
    hub = rig()
    hub.feed(0)
    old = hub.lives["sub_1"]
    fresh = makers.endpoint(keys=(makers.signing_key(9),))

    hub.change(replace(old, endpoint=fresh))

    [request] = hub.take()
    assert request.secret_ids == ("sec_9",)


def test_a_subscription_that_moves_to_another_endpoint_leaves_no_request_uncounted() -> None:
    hub = Rig(makers.subscription("sub_a", to=ONE), room=ROOMY)
    hub.assign()
    hub.feed(*range(6))
    out = hub.take()
    old = hub.window("sub_a")

    hub.change(makers.subscription("sub_a", to=TWO))
    moved = hub.take()
    hub.land(*out, *moved)

    assert [request.delivery.form.subscription.endpoint.id for request in moved] == ["ep_2", "ep_2"]
    assert (old.in_flight, hub.window("sub_a").in_flight) == (0, 0)


# What follows from an answer.


def test_a_delivered_record_moves_the_floor_in_the_batch_of_its_attempt() -> None:
    hub = rig()
    hub.feed(0, 1)
    hub.land(*hub.take())

    batch = hub.commit()

    assert [attempt.outcome for attempt in batch.attempts] == ["delivered", "delivered"]
    assert [floor.next_offset for floor in batch.floors] == [2]
    assert batch.parked == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (makers.answer(500), "http_5xx"),
        (makers.answer(400), "http_4xx"),
        (makers.answer(302), "redirect"),
        (makers.answer(0, "tcp_refused"), "tcp_refused"),
        (makers.answer(0, "timeout_headers"), "timeout_headers"),
    ],
)
def test_a_failed_record_is_parked_by_its_schedule_and_the_floor_goes_on(
    answer: Answer, outcome: str
) -> None:
    hub = rig()
    hub.feed(0, 1)
    first, second = hub.take()
    hub.land(first, answer=answer)
    hub.land(second)

    batch = hub.commit()

    [parked] = batch.parked
    assert (parked.offset, parked.state, parked.reason) == (0, "scheduled", "failed")
    assert (parked.attempts, parked.sends, parked.last_outcome) == (1, 1, outcome)
    assert parked.delay_s is not None
    assert parked.body == first.body
    assert [floor.next_offset for floor in batch.floors] == [2]


def test_an_overloaded_endpoint_gives_the_record_at_least_a_minute() -> None:
    hub = rig()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(503))

    [parked] = hub.commit().parked

    assert parked.delay_s is not None
    assert parked.delay_s >= 60


def test_a_used_up_schedule_makes_a_dead_letter() -> None:
    hub = Rig(makers.subscription(schedule_s=()))
    hub.assign()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(500))

    [parked] = hub.commit().parked

    assert (parked.state, parked.reason, parked.delay_s) == ("dead", "exhausted", None)


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (makers.answer(429, retry_after=("30",)), 30),
        (makers.answer(503, retry_after=("30",)), 30),
        (makers.answer(429), 1),
    ],
)
def test_a_throttled_record_is_given_back_and_its_endpoint_left_alone(
    answer: Answer, wait_s: float
) -> None:
    hub = rig()
    hub.feed(0, 1)
    [first] = hub.take(1)
    hub.land(first, answer=answer)

    hub.tick(wait_s - 0.2)
    assert hub.take() == []
    hub.tick(wait_s * 0.1 + 0.3)
    again = hub.take()

    assert sorted(offsets(again)) == [0, 1]
    assert again[0].delivery.attempts == 0
    batch = hub.commit()
    assert batch.parked == []
    assert [attempt.outcome_class for attempt in batch.attempts] == ["throttled"]


def test_a_fault_of_ours_costs_the_partner_no_attempt() -> None:
    hub = rig()
    hub.feed(0)
    hub.land(*hub.take(), answer=makers.answer(0, "local_resources"))
    hub.tick(1)

    [again] = hub.take()

    assert again.delivery.attempts == 0
    batch = hub.batch()
    assert batch.parked == []
    assert [attempt.outcome_class for attempt in batch.attempts] == ["ours"]


def test_what_nothing_can_sign_waits_and_leaves_once_it_can() -> None:
    hub = Rig(makers.subscription(to=makers.endpoint(is_unreadable=True)))
    hub.assign()
    hub.feed(0)
    assert hub.take() == []
    assert hub.window().in_flight == 0

    hub.change(makers.subscription())
    hub.tick(1)

    assert offsets(hub.take()) == [0]


def test_what_can_never_be_sent_is_born_dead_without_an_attempt() -> None:
    hub = Rig(makers.subscription(to=makers.endpoint(max_body_bytes=10)))
    hub.assign()
    hub.feed(0)

    assert hub.take() == []

    batch = hub.commit()
    [parked] = batch.parked
    assert (parked.state, parked.reason, parked.body) == ("dead", "too_large", None)
    assert batch.attempts == []
    assert [floor.next_offset for floor in batch.floors] == [1]
    assert hub.window().in_flight == hub.partition().in_flight == 0


# Parked rows.


def test_a_parked_row_is_sent_with_its_own_body_and_id() -> None:
    hub = rig()
    hub.post(inbox.ParkedClaimed([makers.parked_row(7)]))

    [request] = hub.take()

    assert request.body == b'{"parked":true}'
    assert f"webhook-id: msg_{7:022d}" in request.headers
    assert "x-of-format: kept" in request.headers
    assert "kafkahub-attempt: 2" in request.headers


def test_a_delivered_parked_row_is_finished() -> None:
    hub = rig()
    hub.post(inbox.ParkedClaimed([makers.parked_row(7)]))
    hub.land(*hub.take())

    batch = hub.batch()

    assert batch.delivered == [f"msg_{7:022d}"]
    assert [attempt.kind for attempt in batch.attempts] == ["retry"]


def test_a_parked_row_that_fails_is_tried_later_and_at_last_buried() -> None:
    hub = rig()
    rows = [makers.parked_row(7, attempts=1), makers.parked_row(8, attempts=2)]
    hub.post(inbox.ParkedClaimed(rows))
    hub.land(*hub.take(), answer=makers.answer(500))

    batch = hub.batch()

    [later], [dead] = batch.rescheduled, batch.dead
    assert (later.id, later.attempts, later.sends) == (rows[0].id, 2, 2)
    assert 240 <= later.delay_s <= 360
    assert (dead.id, dead.attempts, dead.reason) == (rows[1].id, 3, "exhausted")


def test_a_throttled_parked_row_is_put_off_uncounted() -> None:
    hub = rig()
    hub.post(inbox.ParkedClaimed([makers.parked_row(7)]))
    hub.land(*hub.take(), answer=makers.answer(429, retry_after=("30",)))

    [later] = hub.batch().rescheduled

    assert (later.attempts, later.sends) == (1, 2)
    assert later.delay_s >= 30


def test_a_row_of_a_subscription_not_known_here_is_given_back() -> None:
    hub = rig()

    hub.post(inbox.ParkedClaimed([makers.parked_row(7, "sub_gone")]))

    assert hub.take() == []
    [later] = hub.batch().rescheduled
    assert (later.attempts, later.sends) == (1, 1)


def test_claimed_rows_of_a_paused_subscription_are_given_back() -> None:
    hub = rig()
    hub.window().not_before = hub.now + 10
    hub.post(inbox.ParkedClaimed([makers.parked_row(7)]))

    hub.set_sending("sub_1", sending=False)
    hub.tick(20)

    assert hub.take() == []
    assert [later.id for later in hub.batch().rescheduled] == [f"msg_{7:022d}"]


def test_claimed_rows_whose_lease_may_be_over_are_not_sent() -> None:
    hub = rig()
    hub.post(inbox.ParkedClaimed([makers.parked_row(7)]), inbox.ParkedForgotten())

    assert hub.take() == []


@pytest.mark.parametrize(
    ("webhook_id", "reason", "kind"),
    [("msg_1", "failed", "retry"), ("msg_1", "resend", "manual"), ("tst_1", "test", "test")],
)
def test_the_log_says_why_a_parked_row_was_sent(webhook_id: str, reason: str, kind: str) -> None:
    hub = rig()
    hub.post(inbox.ParkedClaimed([makers.parked_row(7, reason=reason)._replace(id=webhook_id)]))
    hub.land(*hub.take())

    assert [attempt.kind for attempt in hub.batch().attempts] == [kind]


# Partitions that go.


def test_a_revoked_partition_waits_until_what_is_in_flight_has_landed_and_is_durable() -> None:
    hub = rig()
    hub.feed(0, 1, 2)
    out = hub.take(2)
    revoked = inbox.Revoked([PLACE])
    hub.post(revoked)

    assert hub.take() == [], "nothing new leaves"
    hub.land(*out)
    hub.tick()
    assert not revoked.done.is_set(), "landed, but not durable"
    [batch] = hub.batches
    assert [floor.next_offset for floor in batch.floors] == [2]
    hub.post(inbox.Committed(batch.number, frozenset()))
    hub.tick()

    assert revoked.done.is_set()
    assert hub.board.partitions == {}


def test_a_revoked_partition_goes_while_others_are_busy() -> None:
    hub = Rig(makers.subscription(), room=ROOMY)
    hub.assign()
    hub.assign(number=1)
    hub.feed(0)
    hub.feed(*range(20), number=1)
    [first] = hub.take(1)
    hub.land(first)
    revoked = inbox.Revoked([PLACE])
    hub.post(revoked)

    for _ in range(4):
        hub.land(*hub.take(1))
        if hub.batches:
            hub.post(inbox.Committed(hub.batches.pop().number, frozenset()))
        else:
            hub.tick()

    assert revoked.done.is_set()
    assert list(hub.board.partitions) == [(makers.TOPIC, 1)]


def test_a_throttled_answer_of_a_revoked_partition_is_not_sent_again() -> None:
    hub = rig()
    hub.feed(0)
    out = hub.take()
    revoked = inbox.Revoked([PLACE])
    hub.post(revoked)
    hub.land(*out, answer=makers.answer(429))
    hub.tick(60)

    assert hub.take() == []
    [batch] = hub.batches
    assert [floor.next_offset for floor in batch.floors] in ([], [0])
    hub.post(inbox.Committed(batch.number, frozenset()))
    hub.tick()
    assert revoked.done.is_set()


def test_a_pause_while_a_partition_leaves_forgets_nothing() -> None:
    hub = rig()
    hub.feed(0, 1, 2)
    out = hub.take(1)
    hub.post(inbox.Revoked([PLACE]))

    hub.set_sending("sub_1", sending=False)
    hub.land(*out)
    hub.tick()

    [batch] = hub.batches
    assert [floor.next_offset for floor in batch.floors] == [1]
    assert all(lane.next_offset <= 1 for lane in batch.lanes)


def test_a_partition_that_comes_back_after_a_late_revocation_is_not_given_up_again() -> None:
    hub = Rig(makers.subscription(), room=ROOMY)
    hub.assign()
    hub.feed(0)
    hub.take()
    revoked = inbox.Revoked([PLACE])
    hub.post(revoked)

    hub.dispatcher.post(inbox.Lost([PLACE]))
    hub.assign(epoch=2)
    hub.tick(1)

    assert PLACE in hub.board.partitions
    hub.feed(0)
    assert offsets(hub.take()) == [0]


def test_a_lost_partition_parks_nothing_and_moves_no_floor() -> None:
    hub = rig()
    hub.feed(0, 1, 2)
    before, after, throttled = hub.take()
    hub.land(before, answer=makers.answer(500))
    hub.post(inbox.Lost([PLACE]))
    hub.land(after, answer=makers.answer(500))
    hub.land(throttled, answer=makers.answer(429))

    batch = hub.batch()

    assert batch.parked == []
    assert batch.floors == []
    assert batch.lanes == []
    assert len(batch.attempts) == 3, "what was sent is in the log all the same"
    hub.tick(60)
    assert hub.take() == []


def test_a_fenced_partition_is_dropped_at_once() -> None:
    hub = rig()
    hub.feed(0, 1)
    hub.land(*hub.take(1))

    hub.commit(PLACE)

    assert hub.dropped == [PLACE]
    assert hub.board.partitions == {}
    assert hub.take() == []


# The end.


def test_a_drain_takes_nothing_new_and_waits_until_all_is_durable() -> None:
    hub = rig()
    hub.feed(0, 1, 2)
    out = hub.take(2)
    drain = inbox.Drain()
    hub.post(drain)

    assert hub.take() == []
    assert not drain.done.is_set()
    hub.land(*out)
    hub.tick()
    assert not drain.done.is_set()
    batch = hub.commit()

    assert drain.done.is_set()
    assert [floor.next_offset for floor in batch.floors] == [2]


def test_a_drain_of_an_idle_engine_is_over_at_once() -> None:
    drain = inbox.Drain()

    rig().post(drain)

    assert drain.done.is_set()


def test_what_was_given_back_goes_before_what_was_never_sent() -> None:
    hub = Rig(makers.subscription(to=makers.endpoint(max_in_flight=1)), room=ROOMY)
    hub.assign()
    hub.feed(0, 1)
    hub.land(*hub.take(), answer=makers.answer(429))
    hub.tick(2)

    assert offsets(hub.take()) == [0]


def test_a_lane_that_is_behind_is_sent_from_the_backlog() -> None:
    hub = Rig(makers.subscription())
    hub.assign(Found(row(state="behind")), next_offset=3)
    hub.tick()

    hub.answer_ask(0, 2, next_offset=3)

    assert offsets(hub.take()) == [0, 2]
    assert hub.lane().state is LaneState.LIVE


@pytest.mark.parametrize(
    ("answer", "gone"),
    [(makers.answer(410), ["ep_1"]), (makers.answer(0, "address_denied"), [])],
    ids=["410", "address denied"],
)
def test_what_no_retry_mends_keeps_the_record_owed_and_asks_no_more(
    answer: Answer, gone: list[str]
) -> None:
    hub = rig()
    hub.feed(0, 1)
    first, _ = hub.take()

    hub.land(first, answer=answer)

    assert hub.gone == gone
    assert hub.lane().state is LaneState.BEHIND
    assert not hub.commit().parked
    assert hub.take() == []
