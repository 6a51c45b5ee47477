"""Turns are fair, windows hold, and an endpoint that asks for silence gets it."""

from collections import Counter

from delivery.lanes import Delivery
from delivery.window import ParkedQueue, Turns
from tests.delivery import makers


def queue_of(name: str, number: int) -> ParkedQueue:
    feeder = ParkedQueue()
    form = makers.form(makers.subscription(name))
    feeder.queue.extend(Delivery(form, makers.record(offset), offset) for offset in range(number))
    return feeder


def names(taken: list[Delivery]) -> Counter[str]:
    return Counter(delivery.form.subscription.id for delivery in taken)


def take_all(turns: Turns, now: float = 0.0, most: int = 1_000) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < most and (delivery := turns.take(now)) is not None:
        taken.append(delivery)
    return taken


def test_a_window_is_never_exceeded() -> None:
    turns = Turns()
    window = turns.window("ep", 3)
    turns.offer(window, queue_of("a", 10))

    assert len(take_all(turns)) == 3
    turns.landed(window)
    assert len(take_all(turns)) == 1


def test_endpoints_take_turns() -> None:
    turns = Turns()
    turns.offer(turns.window("long", 100), queue_of("long", 100))
    turns.offer(turns.window("short", 100), queue_of("short", 5))

    assert names(take_all(turns, most=10)) == {"long": 5, "short": 5}


def test_lanes_of_one_endpoint_take_turns() -> None:
    turns = Turns()
    window = turns.window("ep", 100)
    turns.offer(window, queue_of("long", 100))
    turns.offer(window, queue_of("short", 5))

    assert names(take_all(turns, most=10)) == {"long": 5, "short": 5}


def test_an_endpoint_that_asked_to_wait_is_left_alone_until_then() -> None:
    turns = Turns()
    window = turns.window("ep", 10)
    feeder = queue_of("a", 2)
    window.throttled(100.0, 30)
    turns.offer(window, feeder)

    assert take_all(turns, now=129.9) == []
    turns.wake_due(129.9)
    assert take_all(turns, now=129.9) == []
    turns.wake_due(130.1)
    assert len(take_all(turns, now=130.1)) == 2


def test_a_shorter_wait_does_not_undo_a_longer_one() -> None:
    window = Turns().window("ep", 10)

    window.throttled(0.0, 60)
    window.throttled(0.0, 5)

    assert window.not_before == 60


def test_parked_rows_whose_lease_may_be_over_are_not_sent() -> None:
    turns = Turns()
    window = turns.window("ep", 10)
    window.parked.queue.append(Delivery(makers.form(), None, 0))
    turns.offer(window, window.parked)

    turns.forget_parked()

    assert take_all(turns) == []


def test_a_feeder_that_ran_dry_is_taken_up_again() -> None:
    turns = Turns()
    window = turns.window("ep", 10)
    feeder = queue_of("a", 1)
    turns.offer(window, feeder)
    assert len(take_all(turns)) == 1

    feeder.queue.append(Delivery(makers.form(), makers.record(), 0))
    turns.offer(window, feeder)

    assert len(take_all(turns)) == 1
