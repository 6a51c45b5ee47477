"""Who is over its rate is told when to come again, or gets its records later; nobody is cut."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from websockets.sync.client import connect

from kafkahub.limits import policies
from tests.conftest import MakeTopic
from tests.streams.reading import Reading, reading
from tests.streams.talk import ALICE, Client, Talking, client, eventually, serving
from tests.streams.web import Stage

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

OUT_BURST = 200
FEW = replace(
    ALICE,
    limits=policies.limits(
        [
            policies.Rule(policies.KEY, policies.RECORDS_IN, 40, 40),
            policies.Rule(policies.KEY, policies.RECORDS_OUT, 1_000, OUT_BURST),
        ]
    ),
)


@pytest.fixture(scope="module")
def slow() -> Iterator[Talking]:
    """Serve a credential with low rates, and beside it nobody."""
    with serving(principal=FEW) as made:
        yield made


@pytest.fixture
def talking(slow: Talking) -> Talking:
    slow.principal = FEW
    return slow


def is_held(server: Talking) -> bool:
    listeners = [one for each in server.hub.connections for one in each.listeners]
    return any(tab.is_held for one in listeners for tab in one.tabs)


def written(alice: Client, name: str, count: int, ref: str = "p") -> dict[str, Any]:
    alice.produce(ref, name, [{"value": number, "partition": 0} for number in range(count)])
    return alice.hear_until("produced", "error")


def test_records_over_the_rate_are_refused_with_a_time_and_written_after_it(
    talking: Talking, topic: MakeTopic
) -> None:
    name = topic(1)
    with client(talking.expose(name)) as alice:
        assert written(alice, name, 40)["written"] == 40

        refused = written(alice, name, 40, ref="again")
        eventually(lambda: "written" in written(alice, name, 5), "the time has passed")

    assert (refused["code"], refused["ref"]) == ("rate_limited", "again")
    assert refused["retry_ms"] >= 1_000


def test_being_over_the_rate_is_no_mistake_that_ends_the_connection(
    talking: Talking, topic: MakeTopic
) -> None:
    name = topic(1)
    talking.principal = replace(FEW, id="key_busy")
    with client(talking.expose(name)) as alice:
        answers = [written(alice, name, 40, ref=f"p{number}") for number in range(15)]
        alice.say("ping", id="still")

        assert alice.hear_until("pong")["ref"] == "still"

    assert [one.get("code") for one in answers].count("rate_limited") >= 11


def test_a_reader_over_its_rate_waits_and_gets_every_record_in_order(
    talking: Talking, topic: MakeTopic
) -> None:
    name, count = topic(1), 3_000
    talking.principal = replace(ALICE, id="key_writer")
    with client(talking.expose(name)) as writer:
        for start in range(0, count, 100):
            values = [{"value": start + number, "partition": 0} for number in range(100)]
            writer.produce(str(start), name, values)
            writer.hear_until("produced")
    talking.principal = replace(FEW, id="key_reader")

    with client(talking.port) as reader:
        reader.subscribe("a", name, **{"from": "earliest"})
        eventually(lambda: is_held(talking), "the reader was not held")
        events = reader.events(count)

    assert [event["value"] for event in events] == list(range(count))


def test_a_stream_tells_its_credential_of_its_limits(stage: Stage) -> None:
    with reading(stage) as opened:
        told = dict(opened.answer.getheaders())

    assert '"requests";q=' in told["ratelimit-policy"]
    assert '"records-out";q=' in told["ratelimit-policy"]
    assert ";r=" in told["ratelimit"]


def test_a_refusal_tells_a_known_credential_of_its_limits(stage: Stage) -> None:
    key = {"authorization": f"Bearer {stage.alice.key}"}
    with Reading(stage.web, "/streams/unknown", key) as refused:
        told = dict(refused.answer.getheaders())

    assert refused.answer.status == 404
    assert '"requests";q=' in told["ratelimit-policy"]


def test_a_handshake_tells_its_credential_of_its_limits(stage: Stage) -> None:
    with connect(
        f"ws://127.0.0.1:{stage.web.port}/ws",
        compression=None,
        additional_headers={"Authorization": f"Bearer {stage.alice.key}"},
    ) as line:
        assert line.response is not None
        told = line.response.headers

    assert '"records-in";q=' in told["ratelimit-policy"]
    assert ";r=" in told["ratelimit"]
