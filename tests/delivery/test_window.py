"""Turns are fair, windows hold, and an endpoint that asks for silence gets it."""

from collections import Counter

from delivery.lanes import Delivery
from delivery.outcome import OutcomeClass
from delivery.window import FIRST_SIZE, PROBES_MAX, ParkedQueue, Turns, Window
from tests.delivery import makers


def queue_of(name: str, number: int) -> ParkedQueue:
    feeder = ParkedQueue()
    form = makers.form(makers.subscription(name))
    feeder.queue.extend(Delivery(form, makers.record(offset), offset) for offset in range(number))
    return feeder


def wide(turns: Turns, endpoint: str) -> Window:
    """Return a window that has grown to a hundred requests."""
    window = turns.window(endpoint, 100)
    window.size = 100
    return window


def names(taken: list[Delivery]) -> Counter[str]:
    return Counter(delivery.form.subscription.id for delivery in taken)


def take_all(turns: Turns, now: float = 0.0, most: int = 1_000) -> list[Delivery]:
    taken: list[Delivery] = []
    while len(taken) < most and (delivery := turns.take(now, lambda: 0.0)) is not None:
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
    turns.offer(wide(turns, "long"), queue_of("long", 100))
    turns.offer(wide(turns, "short"), queue_of("short", 5))

    assert names(take_all(turns, most=10)) == {"long": 5, "short": 5}


def test_lanes_of_one_endpoint_take_turns() -> None:
    turns = Turns()
    window = wide(turns, "ep")
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


DELIVERED, FAILED = OutcomeClass.DELIVERED, OutcomeClass.FAILED


def test_a_window_grows_by_one_a_round_while_latency_is_flat() -> None:
    window = Turns().window("ep", 32)

    for _ in range(FIRST_SIZE):
        window.answered(DELIVERED, 1_000, 0.0)

    assert window.size == FIRST_SIZE + 1


def test_a_window_does_not_grow_while_latency_rises() -> None:
    window = Turns().window("ep", 32)
    for _ in range(200):
        window.answered(DELIVERED, 10_000, 0.0)
    grown = window.size

    for _ in range(400):
        window.answered(DELIVERED, 100_000, 0.0)

    assert window.size <= grown + 1


def test_strain_halves_a_window_at_most_once_a_second() -> None:
    window = Turns().window("ep", 32)
    window.size = 32

    for second in (0.0, 0.5, 1.0):
        window.answered(OutcomeClass.OVERLOADED, 1_000, second)

    assert window.size == 8


def test_an_endpoint_that_is_down_gets_probes_only() -> None:
    turns = Turns()
    window = wide(turns, "ep")
    for _ in range(16):
        window.answered(FAILED, 1_000, 0.0)
    window.opened(0.0, 0.0)
    turns.offer(window, queue_of("a", 10))

    assert take_all(turns, now=0.9) == []
    turns.wake_due(1.0)
    assert len(take_all(turns, now=1.0)) == 1
    turns.wake_due(3.0)
    assert len(take_all(turns, now=3.0)) == 1


def test_a_refused_probe_is_followed_at_once_by_the_next_record_but_not_for_ever() -> None:
    turns = Turns()
    window = wide(turns, "ep")
    for _ in range(16):
        window.answered(FAILED, 1_000, 0.0)
    window.opened(0.0, 0.0)
    turns.offer(window, queue_of("a", 10))
    turns.wake_due(1.0)

    rounds = []
    for _ in range(3):
        taken = take_all(turns, now=1.0)
        rounds.append(len(taken))
        for _ in taken:
            window.answered(OutcomeClass.REJECTED, 1_000, 1.0)
            turns.landed(window)

    assert rounds == [1, 1, 0]


def test_probes_that_hang_are_few() -> None:
    turns = Turns()
    window = wide(turns, "ep")
    for _ in range(16):
        window.answered(FAILED, 1_000, 0.0)
    window.opened(0.0, 0.0)
    turns.offer(window, queue_of("a", 100))

    taken = 0
    for second in range(100):
        turns.wake_due(float(second))
        taken += len(take_all(turns, now=float(second)))

    assert taken == PROBES_MAX


def test_an_endpoint_that_is_back_starts_slowly_and_soon_bears_what_it_bore() -> None:
    window = wide(Turns(), "ep")
    window.answered(DELIVERED, 1_000, 0.0)
    for second in range(6):  # each halves it once more before the breaker opens
        window.answered(FAILED, 1_000, float(second))
    window.opened(5.0, 0.0)

    assert window.answered(DELIVERED, 1_000, 60.0)
    window.closed(60.0)
    sizes = []
    for _ in range(1 + 2 + 4 + 8):
        window.answered(DELIVERED, 1_000, 61.0)
        sizes.append(window.size)

    assert sizes[0] == 2
    assert sizes[-1] == 16


def test_a_silent_endpoint_gets_nothing_more_until_it_answers() -> None:
    turns = Turns()
    window = wide(turns, "ep")
    turns.offer(window, queue_of("a", 100))
    assert len(take_all(turns, now=0.0, most=1)) == 1

    assert turns.take(2.5, lambda: 0.0) is None
    window.answered(DELIVERED, 1_000, 3.0)
    turns.landed(window)
    assert turns.take(3.0, lambda: 0.0) is not None


def test_endpoints_that_hang_hold_only_their_share() -> None:
    turns = Turns()
    for number in range(100):
        turns.offer(wide(turns, f"ep_{number}"), queue_of(f"sub_{number}", 50))

    taken = take_all(turns, most=2_000)

    assert max(names(taken).values()) <= 384
    assert names(taken)["sub_99"] <= 4
