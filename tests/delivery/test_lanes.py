"""Lanes lose nothing whatever takes them away from the shared reader."""

from delivery.floor import Owed
from delivery.lanes import Delivery, Lane, LaneState
from tests.delivery import makers


def feed(lane: Lane, *offsets: int) -> list[Delivery]:
    """Queue records as the shared reader does."""
    made = []
    for offset in offsets:
        owed = Owed(offset, 1)
        lane.partition.floor.read(owed)
        delivery = Delivery(lane.form, makers.record(offset), offset, lane, owed)
        lane.push(delivery)
        made.append(delivery)
    return made


def backlog(lane: Lane, *offsets: int) -> list[Delivery]:
    return [Delivery(lane.form, makers.record(offset), offset, lane) for offset in offsets]


def take(lane: Lane, number: int) -> list[Delivery]:
    taken = [lane.next() for _ in range(number)]
    return [delivery for delivery in taken if delivery is not None]


def test_a_settled_delivery_moves_the_shared_floor() -> None:
    lane = makers.lane()
    feed(lane, 0, 1)

    [first] = take(lane, 1)
    lane.settle(first)

    assert lane.partition.floor.position() == 1
    assert lane.partition.in_flight == 0


def test_falling_behind_releases_the_shared_floor_and_remembers_what_is_owed() -> None:
    lane = makers.lane()
    feed(lane, 0, 1, 2, 3)
    take(lane, 2)

    lane.fall_behind("overflow")

    assert lane.partition.floor.position() == 4
    assert lane.row() == (LaneState.BEHIND, 0)
    assert lane.read_offset == 2
    assert not lane.queue


def test_what_was_in_flight_moves_the_lanes_own_floor() -> None:
    lane = makers.lane()
    feed(lane, 0, 1, 2)
    first, second = take(lane, 2)
    lane.fall_behind("overflow")

    lane.settle(second)
    assert lane.row() == (LaneState.BEHIND, 0)
    lane.settle(first)
    assert lane.row() == (LaneState.BEHIND, 2)


def test_a_delivery_given_back_is_kept_when_the_lane_falls_behind() -> None:
    lane = makers.lane()
    feed(lane, 0, 1, 2)
    first, second = take(lane, 2)
    lane.settle(second)
    lane.give_back(first)

    lane.fall_behind("throttled")

    assert lane.next() is first
    assert lane.read_offset == 2


def test_a_lane_with_nothing_queued_falls_behind_at_the_shared_position() -> None:
    lane = makers.lane()
    feed(lane, 0, 1)
    take(lane, 2)

    lane.fall_behind("overflow")

    assert lane.read_offset == 2


def test_the_backlog_meets_the_shared_position_exactly() -> None:
    lane = makers.lane(makers.partition(next_offset=10))
    lane.owe_from(5, "start")

    lane.push_backlog(backlog(lane, 5, 6, 7, 8, 9, 10, 11), 12)

    assert lane.state is LaneState.LIVE
    assert [delivery.offset for delivery in lane.queue] == [5, 6, 7, 8, 9]
    assert lane.live_from == 10
    assert lane.owes(10)


def test_a_lane_that_starts_above_the_shared_position_waits_for_its_start() -> None:
    lane = makers.lane(makers.partition(next_offset=10))
    lane.owe_from(20, "start")

    lane.push_backlog([], 20)

    assert lane.state is LaneState.LIVE
    assert not lane.owes(19)
    assert lane.owes(20)


def test_a_lane_stays_behind_until_it_meets() -> None:
    lane = makers.lane(makers.partition(next_offset=100))
    lane.owe_from(0, "start")

    lane.push_backlog(backlog(lane, 0, 1), 50)

    assert lane.state is LaneState.BEHIND
    assert lane.read_offset == 50
    assert not lane.owes(100)


def test_the_row_stays_behind_until_the_backlog_is_settled() -> None:
    lane = makers.lane(makers.partition(next_offset=2))
    lane.owe_from(0, "start")
    lane.push_backlog(backlog(lane, 0, 1), 2)
    feed(lane, 2)
    first, second, live = take(lane, 3)

    assert lane.row() == (LaneState.BEHIND, 0)
    lane.settle(live)
    lane.settle(first)
    assert lane.row() == (LaneState.BEHIND, 1)
    lane.settle(second)
    assert lane.row() == (LaneState.LIVE, 2)


def test_a_lane_that_meets_and_falls_behind_again_owes_both_parts() -> None:
    lane = makers.lane(makers.partition(next_offset=2))
    lane.owe_from(0, "start")
    lane.push_backlog(backlog(lane, 0, 1), 2)
    feed(lane, 2, 3)
    [first] = take(lane, 1)

    lane.fall_behind("overflow")

    assert lane.read_offset == 1
    assert lane.row() == (LaneState.BEHIND, 0)
    lane.settle(first)
    assert lane.row() == (LaneState.BEHIND, 1)
    assert lane.partition.floor.position() == 4


def test_what_was_settled_before_a_crash_is_not_sent_again() -> None:
    partition = makers.partition(next_offset=5)
    lane = Lane(partition, makers.form(), {6, 7})

    assert lane.owes(5)
    assert not lane.owes(6)
    assert not lane.owes(7)
    assert lane.owes(8)


def test_settled_records_of_the_backlog_are_passed() -> None:
    lane = Lane(makers.partition(next_offset=10), makers.form(), {3})
    lane.owe_from(2, "overflow")

    lane.push_backlog(backlog(lane, 2, 3, 4), 5)

    assert [delivery.offset for delivery in lane.queue] == [2, 4]


def test_an_abandoned_lane_holds_no_floor() -> None:
    lane = makers.lane()
    feed(lane, 0, 1)
    [first] = take(lane, 1)

    lane.abandon()

    assert lane.partition.floor.position() == 2
    lane.settle(first)
    assert lane.partition.in_flight == 0


def test_pausing_a_lane_that_is_behind_keeps_its_place() -> None:
    lane = makers.lane(makers.partition(next_offset=100))
    lane.owe_from(0, "start")
    lane.push_backlog(backlog(lane, 0, 1, 2), 3)

    lane.fall_behind("subscription", LaneState.PAUSED)

    assert lane.row() == (LaneState.PAUSED, 0)
    lane.resume()
    assert lane.row() == (LaneState.BEHIND, 0)
    assert lane.read_offset == 0
