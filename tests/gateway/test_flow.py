"""Credits, acks, pace and errors: what bounds a WebSocket client."""

from hypothesis import given
from hypothesis import strategies as st

from gateway import messages
from gateway.flow import Errors, Flow, Pace


@given(
    st.integers(0, 50),
    st.one_of(st.none(), st.integers(1, 20)),
    st.lists(st.one_of(st.integers(1, 30), st.just("send"), st.just("ack"))),
)
def test_credits_and_window_are_never_exceeded(
    credit: int, window: int | None, steps: list[object]
) -> None:
    flow = Flow(credit, window)
    granted, sent = credit, 0

    for number, step in enumerate(steps):
        if isinstance(step, int):
            granted += step if flow.grant(step) else 0
        elif step == "send" and flow.room:
            sent += flow.room
            flow.sent(flow.room, f"c{number}")
        elif step == "ack":
            flow.ack(f"c{number - 1}")
        assert sent <= granted
        assert window is None or flow.unacked <= window


def test_without_credits_and_window_there_is_no_bound() -> None:
    flow = Flow(None, None)

    flow.sent(1_000, "c1")

    assert flow.room is None
    assert not flow.grant(1)


def test_a_balance_is_never_above_its_cap() -> None:
    flow = Flow(messages.MAX_CREDIT - 1, None)

    assert not flow.grant(2)
    assert flow.room == messages.MAX_CREDIT - 1


def test_an_ack_counts_for_everything_before_it_and_only_once() -> None:
    flow = Flow(None, 10)
    for number in range(1, 4):
        flow.sent(2, f"c{number}")

    assert flow.ack("c2")

    assert flow.unacked == 2
    assert flow.room == 8
    assert not flow.ack("c1")
    assert not flow.ack("c2")
    assert not flow.ack("foreign")


def test_a_client_that_never_acks_costs_no_more_after_a_while() -> None:
    flow = Flow(None, None)

    for number in range(messages.MAX_UNACKED_CURSORS + 1):
        flow.sent(1, f"c{number}")

    assert not flow.ack("c0")
    assert flow.ack("c1")


def test_a_burst_passes_and_then_the_rate() -> None:
    pace = Pace()

    passed = sum(pace.takes(100.0) for _ in range(300))
    later = sum(pace.takes(101.0) for _ in range(300))

    assert (passed, later) == (200, 50)


def test_the_eleventh_error_in_a_minute_is_one_too_many() -> None:
    errors = Errors()

    assert not any(errors.one_more(float(number)) for number in range(10))
    assert errors.one_more(59.0)
    assert not errors.one_more(1_000.0)
