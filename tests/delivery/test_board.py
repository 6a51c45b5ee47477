"""Which lanes are read for by whom, and what makes them fall behind."""

from delivery import inbox
from delivery.board import Room
from delivery.inbox import Found
from delivery.lanes import LaneState
from delivery.request import Request
from tests.delivery import makers
from tests.delivery.rig import PLACE, SMALL, Rig, names, offsets, row

FULL_S = SMALL.full_s * 2
FAST = makers.endpoint("ep_fast")
SLOW = makers.endpoint("ep_slow", max_in_flight=1)
A, B = makers.subscription("sub_a", to=FAST), makers.subscription("sub_b", to=SLOW)


def two_lanes() -> Rig:
    hub = Rig(A, B)
    hub.assign()
    return hub


def overflow(hub: Rig) -> Request:
    """Let the slow lane fill up while the fast one runs, until it falls behind.

    Returns the one request that is out for it.
    """
    hub.feed(0, 1, 2, 3, 4)
    out: list[Request] = []
    while taken := hub.take():
        hub.land(*[one for one in taken if names([one]) == ["sub_a"]])
        out += [one for one in taken if names([one]) == ["sub_b"]]
    hub.tick(FULL_S)
    [only] = out
    return only


# Records that come in.


def test_a_record_goes_to_every_lane_that_is_owed_it_and_to_no_other() -> None:
    hub = two_lanes()
    hub.feed(0, to=["sub_a"])
    hub.feed(1, to=["sub_b", "sub_unknown"])
    hub.feed(2, to=[])

    taken = hub.take()

    assert sorted(zip(names(taken), offsets(taken), strict=True)) == [("sub_a", 0), ("sub_b", 1)]
    assert hub.partition().floor.next_offset == 3


def test_records_of_a_partition_that_is_not_ours_are_ignored() -> None:
    hub = Rig(A)

    hub.feed(0)

    assert hub.take() == []


def test_a_filtered_record_holds_no_floor() -> None:
    hub = two_lanes()

    hub.feed(0, 1, 2, to=[])

    assert hub.commit().floors[0].next_offset == 3


# Lanes that are full.


def test_a_full_lane_closes_the_gate_for_the_shared_reader() -> None:
    hub = two_lanes()
    hub.feed(0, 1, 2, 3, 4)
    hub.tick()

    assert hub.gates == [False]


def test_the_gate_opens_when_a_full_lane_is_half_empty() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0, 1, 2, 3)
    hub.tick()
    assert not hub.is_gate_open

    hub.take(2)
    hub.tick()

    assert hub.is_gate_open


def test_a_full_lane_that_holds_others_up_falls_behind() -> None:
    hub = two_lanes()

    overflow(hub)

    lane = hub.lane("sub_b")
    assert (lane.state, lane.reason) == (LaneState.BEHIND, "overflow")
    assert lane.row() == (LaneState.BEHIND, 0)
    assert hub.lane("sub_a").state is LaneState.LIVE
    assert hub.is_gate_open


def test_a_full_lane_that_is_alone_holds_the_reader_up_instead() -> None:
    hub = Rig(B)
    hub.assign()
    hub.feed(0, 1, 2, 3, 4)

    hub.tick(60)

    assert hub.lane("sub_b").state is LaneState.LIVE
    assert not hub.is_gate_open


def test_lanes_of_one_slow_endpoint_hold_nobody_up() -> None:
    hub = Rig(B, makers.subscription("sub_c", to=SLOW))
    hub.assign()
    hub.feed(0, 1, 2, 3, 4)

    hub.tick(60)

    assert hub.lane("sub_b").state is LaneState.LIVE


def test_a_lane_is_full_by_its_bytes_too() -> None:
    hub = Rig(A, room=Room(1_000, 1_500))
    hub.assign()

    hub.feed(0, 1, 2)
    hub.tick()

    assert not hub.is_gate_open


def test_the_row_of_a_lane_that_fell_behind_and_the_floor_are_of_one_batch() -> None:
    hub = two_lanes()
    overflow(hub)

    batch = hub.commit()

    [lane] = [one for one in batch.lanes if one.subscription == "sub_b"]
    assert (lane.state, lane.next_offset, lane.reason) == ("behind", 0, "overflow")
    assert [floor.next_offset for floor in batch.floors] == [5]


# The backlog.


def test_a_lane_that_is_behind_is_asked_for_once_at_a_time() -> None:
    hub = two_lanes()
    overflow(hub)
    hub.tick()
    hub.tick()

    [ask] = hub.asks

    assert (ask.place, ask.subscription.id, ask.offset, ask.room) == (PLACE, "sub_b", 1, 4)


def test_a_lane_comes_back_where_the_backlog_meets_the_shared_reader() -> None:
    hub = two_lanes()
    hub.land(overflow(hub))
    hub.tick()

    hub.answer_ask(1, 2, next_offset=3)
    assert hub.lane("sub_b").state is LaneState.BEHIND
    hub.tick()
    hub.answer_ask(3, 4, next_offset=5)

    assert hub.lane("sub_b").state is LaneState.LIVE
    hub.feed(5)
    sent: list[int] = []
    while fresh := hub.take():
        sent += [one.delivery.offset for one in fresh if names([one]) == ["sub_b"]]
        hub.land(*fresh)
    assert sent == [1, 2, 3, 4, 5]


def test_an_answer_to_an_older_pass_is_dropped() -> None:
    hub = two_lanes()
    overflow(hub)
    hub.tick()
    hub.set_sending("sub_b", sending=False)
    hub.set_sending("sub_b", sending=True)

    hub.answer_ask(1, 2, next_offset=3)

    assert list(hub.lane("sub_b").queue) == []
    assert hub.lane("sub_b").read_offset == 1


def test_a_lane_with_a_full_queue_is_not_asked_for() -> None:
    hub = two_lanes()
    overflow(hub)
    hub.tick()

    hub.answer_ask(1, 2, 3, next_offset=4)
    hub.tick()

    assert hub.asks == []


# Subscriptions that change.


def test_a_pause_drops_the_queue_and_owes_what_was_in_it() -> None:
    hub = two_lanes()
    hub.feed(0, 1)
    [first, *_] = [one for one in hub.take() if names([one]) == ["sub_b"]]

    hub.set_sending("sub_b", sending=False)
    hub.land(first)

    assert hub.lane("sub_b").row() == (LaneState.PAUSED, 1)
    assert [one for one in hub.take() if names([one]) == ["sub_b"]] == []


def test_a_paused_lane_sends_nothing_again_that_was_throttled() -> None:
    hub = Rig(B)
    hub.assign()
    hub.feed(0)
    out = hub.take()
    hub.set_sending("sub_b", sending=False)
    hub.land(*out, answer=makers.answer(429))

    hub.tick(60)
    assert hub.take() == []
    hub.set_sending("sub_b", sending=True)

    assert offsets(hub.take()) == [0]


def test_a_paused_lane_is_not_read_for_until_it_is_resumed() -> None:
    hub = two_lanes()
    hub.set_sending("sub_b", sending=False)
    hub.feed(0, 1)
    hub.tick()
    assert hub.asks == []

    hub.set_sending("sub_b", sending=True)
    hub.tick()

    assert [ask.offset for ask in hub.asks] == [0]


def test_a_resumed_lane_that_owes_nothing_is_live_at_once() -> None:
    hub = two_lanes()
    hub.set_sending("sub_b", sending=False)
    hub.set_sending("sub_b", sending=True)
    hub.tick()

    hub.answer_ask(next_offset=0)

    assert hub.lane("sub_b").state is LaneState.LIVE


def test_a_subscription_that_is_gone_holds_no_floor_and_sends_nothing() -> None:
    hub = two_lanes()
    hub.feed(0, 1)
    out = hub.take()
    hub.land(*[one for one in out if names([one]) == ["sub_a"]])

    hub.remove("sub_b")
    hub.land(*[one for one in out if names([one]) == ["sub_b"]], answer=makers.answer(429))
    hub.tick(60)

    assert hub.take() == []
    batch = hub.batch()
    assert [floor.next_offset for floor in batch.floors] == [2]
    assert [lane.subscription for lane in batch.lanes] == []


def test_a_new_subscription_begins_where_its_row_says() -> None:
    hub = Rig(A)
    hub.assign()
    hub.feed(0, 1, 2)

    hub.change(B, found=[Found(row("sub_b", "behind", 1))])
    hub.tick()

    assert [(ask.subscription.id, ask.offset) for ask in hub.asks] == [("sub_b", 1)]


# Partitions that come.


def test_a_lane_stands_where_its_row_says_when_its_partition_is_taken_over() -> None:
    hub = Rig(A, B)

    hub.assign(Found(row("sub_a", "live", 3)), Found(row("sub_b", "behind", 2)), next_offset=10)

    assert hub.lane("sub_a").state is LaneState.LIVE
    assert hub.lane("sub_b").row() == (LaneState.BEHIND, 2)
    assert not hub.lane("sub_a").owes(9)
    assert hub.lane("sub_a").owes(10)


def test_a_paused_row_stays_paused_while_its_subscription_is() -> None:
    hub = Rig(makers.subscription("sub_a", sending=False))

    hub.assign(Found(row("sub_a", "paused", 2)), next_offset=10)

    assert hub.lane("sub_a").row() == (LaneState.PAUSED, 2)


def test_a_lane_that_was_resumed_while_nobody_held_the_partition_is_read_for() -> None:
    hub = Rig(A)

    hub.assign(Found(row("sub_a", "paused", 2)), next_offset=10)
    hub.tick()

    assert [ask.offset for ask in hub.asks] == [2]


def test_what_was_settled_before_a_crash_is_not_sent_twice_even_after_an_overflow() -> None:
    hub = Rig(A, B)
    hub.assign(Found(row("sub_a")), Found(row("sub_b"), frozenset({2, 3})))
    hub.feed(0, 1, 2, 3, 4, 5)
    hub.take()
    hub.tick(FULL_S)
    assert hub.lane("sub_b").state is LaneState.BEHIND
    hub.tick()

    hub.answer_ask(1, 2, 3, 4, next_offset=5)

    assert [delivery.offset for delivery in hub.lane("sub_b").queue] == [1, 4]


def test_a_partition_assigned_again_takes_the_new_fence() -> None:
    hub = Rig(A)
    hub.assign()
    hub.post(inbox.Lost([PLACE]))

    hub.assign(epoch=5, checkpoint=9)
    hub.feed(0)
    hub.land(*hub.take())

    [floor] = hub.commit().floors
    assert (floor.epoch, floor.checkpoint) == (5, 10)
