"""A webhook's cursor misses nothing that is not parked."""

import pytest

from delivery.request import Request
from delivery.standings import Standings
from subscriptions import cursor
from subscriptions.cursor import tag
from tests.delivery import makers
from tests.delivery.rig import Rig

A = makers.subscription("sub_a")


def standings(*, floors: dict[int, int], behind: dict[int, int] | None = None) -> Standings:
    return Standings(
        floors={makers.TOPIC: floors},
        behind={"sub_a": {(makers.TOPIC, number): at for number, at in (behind or {}).items()}},
        epochs={makers.TOPIC: b"abcd"},
    )


def offsets(header: str) -> dict[int, int]:
    [topic] = cursor.decode(header).topics
    assert (topic.name_tag, topic.epoch_tag) == (tag(makers.TOPIC), b"abcd")
    return dict(topic.offsets)


def header(sent: Request) -> str | None:
    lines = [line for line in sent.headers if line.startswith("kafkahub-cursor: ")]
    found = [line.partition(": ")[2] for line in lines]
    return found[0] if found else None


@pytest.fixture
def hub() -> Rig:
    made = Rig(A)
    made.assign()
    made.standings = standings(floors={0: 0, 1: 70})
    return made


def test_the_only_delivery_out_gives_the_place_after_it(hub: Rig) -> None:
    hub.feed(5)

    [sent] = hub.take()

    assert offsets(header(sent) or "") == {0: 6, 1: 70}


def test_an_older_delivery_that_is_out_holds_the_cursor_back(hub: Rig) -> None:
    hub.feed(5, 6, 7)

    _, _, third = hub.take()

    assert offsets(header(third) or "")[0] == 5


def test_what_is_settled_holds_nothing_back(hub: Rig) -> None:
    hub.feed(5, 6)
    first, _ = hub.take()
    hub.land(first)
    hub.feed(7)

    [third] = hub.take()

    assert offsets(header(third) or "")[0] == 6


def test_what_was_given_back_holds_the_cursor_back(hub: Rig) -> None:
    hub.feed(5, 6)
    first, second = hub.take()
    hub.land(first, answer=makers.answer(429, retry_after=("1",)))
    hub.land(second)
    hub.feed(7)

    hub.tick(10.0)
    sent = hub.take()

    assert offsets(header(sent[-1]) or "")[0] == 5


def test_a_lane_elsewhere_that_is_behind_stands_at_its_own_offset(hub: Rig) -> None:
    hub.standings = standings(floors={0: 0, 1: 70}, behind={1: 30})
    hub.feed(5)

    [sent] = hub.take()

    assert offsets(header(sent) or "") == {0: 6, 1: 30}


def test_no_cursor_is_better_than_one_that_skips_the_own_partition(hub: Rig) -> None:
    hub.standings = standings(floors={1: 70})
    hub.feed(5)

    [sent] = hub.take()

    assert header(sent) is None


def test_the_cursor_holds_the_records_time(hub: Rig) -> None:
    hub.feed(5)

    [sent] = hub.take()

    record = sent.delivery.record
    assert record is not None
    assert cursor.decode(header(sent) or "").time_ms == record.timestamp_ms
