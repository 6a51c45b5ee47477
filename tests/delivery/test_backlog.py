"""Lanes that are behind are read for, together where they can be."""

import threading
from collections.abc import Iterator

import pytest

from delivery import metrics
from delivery.backlog import Backlog
from delivery.database import connect
from delivery.inbox import Ask, BacklogFed, Place
from delivery.missing import Missing
from kafkahub import config
from kafkahub.kafka.options import reader_options
from subscriptions.live import LiveSubscription, Snapshot
from tests.conftest import MakeTopic
from tests.delivery import makers
from tests.delivery.kafka import DEADLINE_S, Notes, delete_before, produce, snapshot
from tests.delivery.links import url

pytestmark = pytest.mark.kafka
LANES = 100


class Running:
    """A backlog reader on its thread."""

    def __init__(self, known: Snapshot) -> None:
        self.snapshot = known
        self.notes = Notes()
        self.shorter: list[Place] = []
        self.found_shorter = threading.Event()
        self.backlog = Backlog(
            options=reader_options(config.load()),
            snapshot=lambda: self.snapshot,
            post=self.notes.post,
            shorter=self._short,
            missing=Missing(lambda: connect(url(), "test")),
        )
        self.thread = threading.Thread(target=self.backlog.run)
        self.thread.start()

    def _short(self, place: Place) -> None:
        self.shorter.append(place)
        self.found_shorter.set()

    def ask(self, live: LiveSubscription, offset: int, room: int = 1_000, number: int = 0) -> Ask:
        [topic] = self.snapshot.topics
        ask = Ask((topic, number), live, offset, room, pass_number=1)
        self.backlog.ask(ask)
        return ask

    def answers(self, ask: Ask) -> list[BacklogFed]:
        posted = [note for note in list(self.notes.all) if isinstance(note, BacklogFed)]
        return [note for note in posted if note.ask is ask]

    def answer(self, ask: Ask) -> BacklogFed:
        self.notes.wait_for(lambda: bool(self.answers(ask)))
        [answer] = self.answers(ask)
        return answer

    def stop(self) -> None:
        self.backlog.stop()
        self.thread.join(DEADLINE_S)


@pytest.fixture
def started() -> Iterator[list[Running]]:
    all_of_them: list[Running] = []
    yield all_of_them
    for running in all_of_them:
        running.stop()
        assert not running.thread.is_alive()


def run(started: list[Running], topic: str, *lives: LiveSubscription) -> Running:
    started.append(Running(snapshot(topic, *lives or (makers.subscription(),))))
    return started[-1]


def known(running: Running, live: str = "sub_1") -> LiveSubscription:
    return running.snapshot.subscriptions[live]


def read_again() -> float:
    [metric] = metrics.records_read_again.collect()
    return metric.samples[0].value


def offsets(answer: BacklogFed) -> list[int]:
    return [offset for offset, _ in answer.hits]


def test_an_ask_is_answered_with_what_there_is_from_its_place_on(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 10)
    running = run(started, name)

    answer = running.answer(running.ask(known(running), 4))

    assert (offsets(answer), answer.next_offset) == ([4, 5, 6, 7, 8, 9], 10)


def test_no_lane_is_given_more_than_it_has_room_for(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 10)
    running = run(started, name)

    answer = running.answer(running.ask(known(running), 0, room=3))

    assert (offsets(answer), answer.next_offset) == ([0, 1, 2], 3)


def test_a_lane_at_the_end_is_answered_at_once(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    produce(name, 3)
    running = run(started, name)

    answer = running.answer(running.ask(known(running), 3))

    assert (offsets(answer), answer.next_offset) == ([], 3)


def test_reading_on_finds_what_has_come_since(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    produce(name, 3)
    running = run(started, name)
    running.answer(running.ask(known(running), 0))
    produce(name, 2, start=3)

    answer = running.answer(running.ask(known(running), 3))
    while answer.next_offset == 3:  # the end as it was at the last look
        answer = running.answer(running.ask(known(running), 3))

    assert (offsets(answer), answer.next_offset) == ([3, 4], 5)


def test_records_that_do_not_match_are_passed(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    produce(name, 5)
    other = makers.subscription(types=frozenset({"another.type"}))
    running = run(started, name, other)

    answer = running.answer(running.ask(known(running), 0))

    assert (offsets(answer), answer.next_offset) == ([], 5)


def test_lanes_of_different_places_are_served_side_by_side(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic(partitions=2)
    produce(name, 5, partition=0)
    produce(name, 7, partition=1)
    running = run(started, name, makers.subscription("a"), makers.subscription("b"))

    asks = [
        running.ask(known(running, "a"), 0, number=0),
        running.ask(known(running, "a"), 6, number=1),
        running.ask(known(running, "b"), 3, number=0),
    ]

    found = [offsets(running.answer(ask)) for ask in asks]
    assert found == [[0, 1, 2, 3, 4], [6], [3, 4]]


def test_a_hundred_lanes_that_begin_together_share_one_read(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 50)
    lives = [makers.subscription(f"sub_{number}") for number in range(LANES)]
    running = run(started, name, *lives)
    before = read_again()
    # An ask at the end holds the reader up for a moment, so that the others come together.
    running.ask(known(running, "sub_0"), 50)

    asks = [running.ask(known(running, live.id), 0) for live in lives]
    answers = [running.answer(ask) for ask in asks]

    assert {len(answer.hits) for answer in answers} == {50}
    assert read_again() - before <= 3 * 50


def test_a_lane_whose_place_retention_overtook_goes_on_where_the_log_begins(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 10)
    delete_before(name, 6)
    running = run(started, name)

    gap = running.answer(running.ask(known(running), 1))
    answer = running.answer(running.ask(known(running), gap.next_offset))

    assert (offsets(gap), gap.next_offset, gap.is_gap) == ([], 6, True)
    assert offsets(answer) == [6, 7, 8, 9]


def test_lanes_above_a_gap_lose_nothing_by_it(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    produce(name, 10)
    delete_before(name, 6)
    running = run(started, name, makers.subscription("low"), makers.subscription("high"))

    low = running.ask(known(running, "low"), 1)
    high = running.ask(known(running, "high"), 8)

    assert running.answer(low).next_offset == 6
    first = running.answer(high)
    assert not first.is_gap
    if not first.hits:
        first = running.answer(running.ask(known(running, "high"), first.next_offset))
    assert offsets(first) == [8, 9]


def test_a_topic_that_is_exposed_no_more_moves_no_lane(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 3)
    running = run(started, name)
    live = known(running)
    ask = Ask((name, 0), live, 1, 10, pass_number=1)
    running.snapshot = snapshot("another", makers.subscription())

    running.backlog.ask(ask)

    answer = running.answer(ask)
    assert (offsets(answer), answer.next_offset) == ([], 1)


def test_stopping_does_not_wait_for_asks(topic: MakeTopic, started: list[Running]) -> None:
    name = topic()
    running = run(started, name)
    running.ask(known(running), 1_000_000)

    running.stop()

    assert not running.thread.is_alive()


def test_a_place_above_the_end_of_the_log_is_told_and_moves_no_lane(
    topic: MakeTopic, started: list[Running]
) -> None:
    name = topic()
    produce(name, 3)
    running = run(started, name)

    ask = running.ask(known(running), 100)

    assert running.found_shorter.wait(DEADLINE_S)
    assert running.shorter == [(name, 0)]
    assert running.answers(ask) == []
