"""A subscription in a pull group goes on where the group stands, whoever reads in it."""

from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.streams.talk import Client, greeted
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

GROUP = {"group": "billing", "instance": "one", "from": "earliest"}


def alice(stage: Stage) -> AbstractContextManager[Client]:
    return greeted(stage.web.port, stage.alice.key)


def values(events: list[dict[str, Any]]) -> list[int]:
    return [event["value"]["n"] for event in events]


def read_two_and_ack_one(stage: Stage) -> None:
    """Get two batches of two records, and acknowledge the first."""
    with alice(stage) as client:
        client.subscribe("a", stage.topic, credit=2, **GROUP)
        first = client.hear_until("events")
        client.say("credit", sub="a", n=2)
        second = client.hear_until("events")
        client.say("ack", sub="a", cursor=first["cursor"])
        client.say("unsubscribe", id="u", sub="a")
        client.hear_until("unsubscribed")

    assert values(first["events"] + second["events"]) == [0, 1, 2, 3]


def test_a_group_goes_on_behind_what_was_acknowledged(stage: Stage) -> None:
    stage.write(6)
    read_two_and_ack_one(stage)

    with alice(stage) as client:
        told = client.subscribe("b", stage.topic, **{**GROUP, "instance": "two"})

        assert told["cursor"]
        assert values(client.events(4)) == [2, 3, 4, 5]
        stage.write(1)
        assert values(client.events(1)) == [6]


def test_a_client_that_just_goes_leaves_its_records_to_the_next(stage: Stage) -> None:
    stage.write(3)
    with alice(stage) as client:
        client.subscribe("a", stage.topic, **GROUP)
        assert values(client.events(3)) == [0, 1, 2]

    with alice(stage) as again:
        told = again.subscribe("a", stage.topic, **GROUP)
        assert told["type"] == "subscribed", told
        assert values(again.events(3)) == [0, 1, 2]


def test_the_same_instance_again_takes_its_place(stage: Stage) -> None:
    stage.write(2)
    with alice(stage) as older, alice(stage) as newer:
        older.subscribe("a", stage.topic, **GROUP)
        assert values(older.events(2)) == [0, 1]

        newer.subscribe("a", stage.topic, **GROUP)
        closing = older.rest()[-1]
        got = values(newer.events(2))

    assert (closing["reason"], closing["code"], closing["action"]) == ("taken_over", 4006, "stop")
    assert got == [0, 1]


def test_an_ack_window_bounds_what_is_out_of_a_group(stage: Stage) -> None:
    stage.write(4)
    with alice(stage) as client:
        client.subscribe("a", stage.topic, ack_window=2, **GROUP)
        first = client.hear_until("events")
        client.say("ack", sub="a", cursor=first["cursor"])
        second = client.hear_until("events")

    assert values(first["events"]) == [0, 1]
    assert values(second["events"]) == [2, 3]


@pytest.mark.parametrize("wish", [{"instance": "one"}, {"group": "a b"}, {"group": ""}])
def test_a_group_is_named_rightly_or_not_at_all(stage: Stage, wish: dict[str, str]) -> None:
    with alice(stage) as client:
        told = client.subscribe("a", stage.topic, **wish)

    assert (told["type"], told["code"]) == ("error", "invalid_message")
