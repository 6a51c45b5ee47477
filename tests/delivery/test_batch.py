"""What one checkpoint writes belongs together, and is told once."""

from uuid import UUID

from delivery.batch import Batch, Outcomes
from delivery.inbox import Found
from tests.delivery import makers
from tests.delivery.rig import OWNER, PLACE, Rig, row


def rig() -> Rig:
    hub = Rig(makers.subscription())
    hub.assign()
    return hub


def test_a_batch_with_nothing_in_it_is_empty() -> None:
    assert Batch(1).is_empty


def test_nothing_new_makes_no_checkpoint() -> None:
    hub = rig()
    hub.feed(0)
    hub.land(*hub.take())
    hub.commit()

    hub.tick(10)

    assert hub.batches == []


def test_batches_and_checkpoints_of_a_partition_are_numbered_without_holes() -> None:
    hub = rig()
    numbers = []
    for offset in range(3):
        hub.feed(offset)
        hub.land(*hub.take())
        [floor] = hub.commit().floors
        numbers.append(floor.checkpoint)

    assert numbers == [1, 2, 3]


def test_a_partition_that_parked_something_is_written_though_its_floor_stands() -> None:
    """Its row is the fence of the parked one."""
    hub = rig()
    hub.feed(0, 1)
    first, second = hub.take()
    hub.land(second, answer=makers.answer(500))

    batch = hub.commit()

    assert [(floor.next_offset, floor.checkpoint) for floor in batch.floors] == [(0, 1)]
    assert [parked.offset for parked in batch.parked] == [1]
    hub.land(first)


def test_attempts_are_told_apart_after_a_lost_answer_though_no_floor_moved() -> None:
    """A checkpoint number must be written with them, or a retry would log them twice."""
    hub = rig()
    hub.feed(0, 1)
    _, second = hub.take()
    hub.land(second)

    batch = hub.commit()

    assert len(batch.attempts) == 1
    assert [(floor.next_offset, floor.checkpoint) for floor in batch.floors] == [(0, 1)]


def test_a_floor_carries_the_fence_of_its_partition() -> None:
    hub = Rig(makers.subscription())
    hub.assign(next_offset=10, epoch=3, checkpoint=7)
    hub.feed(10)
    hub.land(*hub.take())

    [floor] = hub.commit().floors

    assert floor == (*PLACE, 3, OWNER, 11, 8)
    assert floor.owner == UUID(int=7)


def test_a_lane_is_written_with_the_position_it_has_when_the_batch_is_taken() -> None:
    hub = Rig(makers.subscription())
    hub.assign(Found(row(state="behind")), next_offset=2)
    hub.tick()
    hub.answer_ask(0, 1, next_offset=2)
    hub.land(*hub.take())

    [lane] = hub.commit().lanes

    assert (lane.state, lane.next_offset) == ("live", 2)


def test_every_attempt_is_logged_with_what_was_measured() -> None:
    hub = rig()
    hub.feed(5)
    [sent] = hub.take()
    sent.dns_us = 100
    hub.land(sent, answer=makers.answer(429, retry_after=("30",)))

    [logged] = hub.batch().attempts

    assert (logged.topic, logged.partition, logged.offset, logged.key) == ("orders", 0, 5, b"k")
    assert (logged.number, logged.kind, logged.http_status) == (1, "first", 429)
    assert (logged.outcome, logged.outcome_class) == ("rate_limited", "throttled")
    assert logged.timings_us == (100, 0, 0, 10, 20, 5)
    assert logged.duration_us == 135
    assert logged.request_bytes == len(sent.body)
    assert logged.secret_ids == ("sec_0",)
    assert logged.retry_after_s == 30
    assert logged.next_attempt_us is not None
    assert 30e6 <= logged.next_attempt_us - logged.at_us <= 33e6


def test_what_waits_is_counted_until_it_is_taken() -> None:
    outcomes = Outcomes(OWNER, int)
    hub = rig()
    hub.feed(0)
    [sent] = hub.take()
    outcomes.born_dead(sent.delivery, "too_large")

    assert outcomes.count == 1
    outcomes.take([])
    assert outcomes.count == 0
