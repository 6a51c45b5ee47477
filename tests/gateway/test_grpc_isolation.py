"""gRPC tells the same of another partner's topics and groups as of none, in every method."""

import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest

from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from subscriptions.models import Grant
from tests import factories
from tests.conftest import MakeTopic
from tests.gateway.grpc_rig import (
    EARLIEST,
    Client,
    Failure,
    Server,
    Stage,
    caller,
    serving,
    staged,
    start,
)
from tests.streams.web import wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]
GROUP = "somebodys"


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("grpc")) as process:
        yield process


@pytest.fixture
def play(server: Server, topic: MakeTopic) -> Iterator[Stage]:
    with staged(server, topic) as made:
        yield made


Ask = Callable[[Client, str, str], object]
"""Calls a method with a topic and a group."""


def first_of(client: Client, method: str, request: pb.SubscribeRequest) -> object:
    return next(client.stream(method, iter([request])))


CASES: Mapping[str, Ask] = {
    "ListTopics": lambda client, _topic, _group: client.call("ListTopics", pb.ListTopicsRequest()),
    "Publish": lambda client, topic, _group: client.publish(topic, b"{}"),
    "PublishStream": lambda client, topic, _group: next(
        client.stream(
            "PublishStream",
            iter(
                [
                    pb.PublishStreamRequest(
                        seq=1,
                        batch=pb.PublishRequest(topic=topic, records=[pb.Record(value=b"{}")]),
                    )
                ]
            ),
        )
    ),
    "Subscribe": lambda client, topic, _group: first_of(client, "Subscribe", start(topic)),
    "Receive": lambda client, topic, group: client.call(
        "Receive",
        pb.ReceiveRequest(start=start(topic, group=group, position=EARLIEST).start, max_records=1),
    ),
    "Ack": lambda client, _topic, group: client.call(
        "Ack", pb.AckRequest(group=group, acks=pb.AckSet(ack=[bytes(10)]))
    ),
    "Seek": lambda client, topic, group: client.call(
        "Seek", pb.SeekRequest(group=group, topics=[topic], to=EARLIEST)
    ),
    "GetPositions": lambda client, _topic, group: client.call(
        "GetPositions", pb.GetPositionsRequest(group=group)
    ),
    "SendMessage": lambda client, topic, _group: client.call(
        "SendMessage", pb.SendMessageRequest(topic=topic, message=b"{}")
    ),
    "ReceiveMessages": lambda client, topic, _group: next(client.messages(topic=topic)),
}


def told(ask: Ask, client: Client, topic: str, group: str) -> str:
    """Return all that a call tells, without the names that were asked for and the request's id."""
    try:
        answer = str(ask(client, topic, group))
    except Failure as failure:
        details = {name: str(one) for name, one in failure.details.items()}
        details.pop("RequestInfo", None)
        answer = f"{failure.code} {failure.text} {sorted(details.items())}"
    return answer.replace(topic, "").replace(group, "")


def test_every_method_has_a_case() -> None:
    services = pb.DESCRIPTOR.services_by_name.values()

    assert {method for one in services for method in one.methods_by_name} == CASES.keys()


def test_what_is_anothers_is_what_does_not_exist(play: Stage, server: Server) -> None:
    other = caller(factories.partner(), "other")
    hidden = f"hidden-{uuid.uuid4().hex[:8]}"
    for action in Grant.Action.values:
        Grant.objects.create(partner=other.partner, topic=factories.topic(hidden), action=action)
    stranger = play.client(other.key)
    wait_for(
        lambda: hidden in told(CASES["ListTopics"], stranger, "unused", "unused"), lambda: hidden
    )
    wait_for(
        lambda: "NOT_FOUND" in told(CASES["GetPositions"], stranger, play.topic, GROUP),
        lambda: told(CASES["GetPositions"], stranger, play.topic, GROUP),
    )
    entitled = pb.ReceiveRequest(start=start(play.topic, group=GROUP).start, max_records=1)
    play.client().call("Receive", entitled)  # now the group is alice's

    for method, ask in CASES.items():
        foreign = told(ask, stranger, play.topic, GROUP)
        nothing = told(ask, stranger, f"none-{uuid.uuid4().hex[:8]}", "nobodys-group")
        assert foreign == nothing, method
        assert play.topic not in foreign
