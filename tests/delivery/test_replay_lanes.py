"""A replay is a lane with an end: beside the subscription's own, through the same window."""

from dataclasses import replace

import pytest

from delivery.batch import Batch
from delivery.inbox import Found
from delivery.lanes import LaneState
from delivery.positions import LaneRow
from delivery.request import Request
from subscriptions.live import LiveReplay, LiveSubscription
from tests.delivery import makers
from tests.delivery.rig import Rig, offsets, row

A = makers.subscription("sub_a")
REPLAY = "rep_1"


def replay(live: LiveSubscription = A, *, sending: bool = True) -> LiveReplay:
    as_sent = replace(live, sending=sending)
    return LiveReplay(REPLAY, as_sent, None, only_missing=False, is_over=False)


def lane_row(next_offset: int = 10, end_offset: int = 14) -> LaneRow:
    place = ("sub_a", makers.TOPIC, 0, "behind", "replay", next_offset)
    return LaneRow(*place, replay=REPLAY, end_offset=end_offset)


def started(*settled: int, **span: int) -> Rig:
    """Return an engine whose subscription is live at 50, with a replay of 10 to 14 beside it."""
    hub = Rig(A)
    hub.replays = {REPLAY: replay()}
    hub.change()
    hub.assign(
        Found(row("sub_a", next_offset=50)),
        Found(lane_row(**span), frozenset(settled)),
        next_offset=50,
    )
    return hub


def header(sent: Request, name: str) -> str | None:
    lines = [line for line in sent.headers if line.startswith(f"{name}: ")]
    return lines[0].partition(": ")[2] if lines else None


def places(batch: Batch) -> list[tuple[str, int]]:
    return [(lane.replay, lane.next_offset) for lane in batch.lanes]


def test_it_asks_from_its_place_and_sends_what_lies_before_its_end() -> None:
    hub = started()

    [ask] = hub.asks
    hub.answer_ask(10, 11, 12, 13, 14, 15, next_offset=16)

    assert (ask.offset, ask.replay) == (10, REPLAY)
    assert offsets(hub.take()) == [10, 11, 12, 13]
    assert hub.asks == []


def test_what_it_sends_says_so_under_the_id_it_always_had() -> None:
    hub = started()
    hub.answer_ask(10, next_offset=14)

    [sent] = hub.take()
    hub.land(sent)

    assert header(sent, "kafkahub-replay") == REPLAY
    assert header(sent, "webhook-id") == makers.form(A).deliveries.of(10)
    [attempt] = hub.commit().attempts
    assert (attempt.kind, attempt.replay) == ("replay", REPLAY)


def test_live_records_go_on_beside_it_and_know_nothing_of_it() -> None:
    hub = started()
    hub.answer_ask(10, 11, next_offset=14)
    hub.feed(50)

    sent = hub.take()

    assert sorted(offsets(sent)) == [10, 11, 50]
    [live] = [one for one in sent if one.delivery.offset == 50]
    assert header(live, "kafkahub-replay") is None
    hub.land(*sent)
    assert {(one.offset, one.kind) for one in hub.commit().attempts} == {
        (10, "replay"),
        (11, "replay"),
        (50, "first"),
    }


def test_its_place_moves_with_what_is_settled_and_ends_at_its_end() -> None:
    hub = started()
    hub.answer_ask(10, 12, next_offset=14)
    first, second = hub.take()

    hub.land(second)
    halfway = hub.commit()
    hub.land(first)

    assert places(halfway) == [(REPLAY, 10)]
    assert places(hub.commit()) == [(REPLAY, 14)]
    assert hub.lane(REPLAY).state is LaneState.BEHIND


def test_a_range_without_a_match_ends_without_a_request() -> None:
    hub = started()

    hub.answer_ask(next_offset=14)

    assert places(hub.commit()) == [(REPLAY, 14)]


def test_after_a_crash_its_own_pass_is_not_sent_again() -> None:
    hub = started(11, 13)

    hub.answer_ask(10, 11, 12, 13, next_offset=14)

    assert offsets(hub.take()) == [10, 12]


def test_a_paused_one_sends_nothing_and_goes_on_where_it_stood() -> None:
    hub = started()
    hub.answer_ask(10, 11, next_offset=14)
    [sent] = hub.take(1)

    hub.replays = {REPLAY: replay(sending=False)}
    hub.change()
    while_paused = hub.take()
    hub.land(sent)
    hub.replays = {REPLAY: replay()}
    hub.change()

    assert while_paused == []
    hub.tick()
    assert [ask.offset for ask in hub.asks] == [11]


def test_one_that_is_cancelled_is_forgotten_and_what_is_out_lands() -> None:
    hub = started()
    hub.answer_ask(10, 11, next_offset=14)
    [sent] = hub.take(1)

    hub.replays = {}
    hub.change()
    hub.land(sent)

    assert hub.take() == []
    assert REPLAY not in hub.partition().lanes
    assert [one.replay for one in hub.commit().attempts] == [REPLAY]


def test_a_record_that_fails_in_it_is_parked_under_its_name() -> None:
    hub = started()
    hub.answer_ask(10, next_offset=14)

    hub.land(*hub.take(), answer=makers.answer(500))

    [parked] = hub.commit().parked
    assert (parked.replay, parked.subscription, parked.offset) == (REPLAY, "sub_a", 10)


def test_retention_that_overtakes_it_is_a_gap_of_the_replay_alone() -> None:
    hub = started()

    hub.answer_ask(next_offset=12, is_gap=True)

    [found] = hub.commit().gaps
    assert (found.gap.from_offset, found.gap.to_offset, found.gap.replay) == (10, 12, REPLAY)
    assert found.notice is None
    assert [ask.offset for ask in hub.asks] == [12]


def test_what_retention_took_beyond_its_end_is_not_its_loss() -> None:
    hub = started()

    hub.answer_ask(next_offset=99, is_gap=True)

    [found] = hub.commit().gaps
    assert (found.gap.from_offset, found.gap.to_offset) == (10, 14)


def test_it_goes_to_the_endpoint_that_was_named() -> None:
    other = makers.endpoint("ep_2", url="https://other.example/in")
    hub = started()
    hub.replays = {REPLAY: replay(replace(A, endpoint=other))}
    hub.change()
    hub.answer_ask(10, next_offset=14)
    hub.feed(50)

    urls = {one.delivery.offset: one.url for one in hub.take()}

    assert urls == {10: other.url, 50: A.endpoint.url}


def test_a_replay_of_what_is_missing_says_so_when_it_asks() -> None:
    hub = Rig(A)
    hub.replays = {REPLAY: replace(replay(), only_missing=True)}
    hub.change()

    hub.assign(Found(lane_row()), next_offset=50)

    assert [ask.only_missing for ask in hub.asks] == [True]


def ordered(ordering: str) -> Rig:
    live = replace(A, ordering=ordering)
    hub = Rig(live)
    hub.replays = {REPLAY: replay(live)}
    hub.change()
    hub.assign(Found(row("sub_a", next_offset=50)), Found(lane_row()), next_offset=50)
    return hub


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_with_an_order_the_next_goes_when_the_one_before_has_arrived(ordering: str) -> None:
    hub = ordered(ordering)
    hub.answer_ask(10, 11, next_offset=14)

    first = hub.take()
    while_out = hub.take()
    hub.land(*first)

    assert (offsets(first), while_out) == ([10], [])
    assert offsets(hub.take()) == [11]


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_with_an_order_what_failed_is_tried_again_before_the_next(ordering: str) -> None:
    hub = ordered(ordering)
    hub.answer_ask(10, 11, next_offset=14)

    hub.land(*hub.take(), answer=makers.answer(400))
    waiting = hub.take()
    hub.tick(10.0)

    assert (waiting, offsets(hub.take())) == ([], [10])
    assert hub.commit().parked == []
