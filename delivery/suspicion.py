"""Endpoints that count as down although nothing sent from here has opened their breaker.

Where keys keep their order, everything may wait behind heads that failed with their endpoint.
Then nothing goes out that could give a verdict, and what waits would wait for a schedule.
Belongs to the dispatcher's thread; does no I/O.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from delivery.batching import KeyBatchLane
from delivery.board import Board
from delivery.inbox import Found
from delivery.lanes import LaneState
from delivery.ordering import KeyLane
from delivery.window import Turns, Window

EVERY_S = 1.0
"""Between two looks for endpoints that nothing goes out to any more."""


class Suspect(NamedTuple):
    """An endpoint to be probed; ``since`` is the monotonic time of its first failure."""

    endpoint: str
    window: Window
    since: float


def inherited(
    board: Board, found: Iterable[Found], now: float, *, now_us: int
) -> Iterator[Suspect]:
    """Return the endpoints that the holder before us left failing and we know nothing of.

    now_us  the same time as ``now``, on PostgreSQL's clock
    """
    for one in found:
        live = board.snapshot.subscriptions.get(one.row.subscription)
        is_down = one.row.state == LaneState.BEHIND and one.row.reason == "endpoint_down"
        if live is None or not live.sending or not (is_down or one.failing_us is not None):
            continue
        window = board.window(live)
        if window.answered_at == 0.0:
            failing_us = one.failing_us if one.failing_us is not None else now_us
            yield Suspect(live.endpoint.id, window, min(now, now - (now_us - failing_us) / 1e6))


def silent(board: Board, turns: Turns, now: float) -> Iterator[Suspect]:
    """Return the endpoints that failed last, and have nothing left to be asked with but heads."""
    doubtful = {
        endpoint: window
        for endpoint, window in turns.windows()
        if window.breaker.is_doubtful(now) and not (window.in_flight or window.feeders)
    }
    for endpoint in doubtful and _with_heads(board) & doubtful.keys():
        window = doubtful[endpoint]
        yield Suspect(endpoint, window, window.breaker.failing_since or now)


def _with_heads(board: Board) -> set[str]:
    return {
        lane.form.subscription.endpoint.id
        for partition in board.partitions.values()
        for lane in partition.lanes.values()
        if isinstance(lane, KeyLane | KeyBatchLane) and lane.heads
    }
