"""A v2 client goes on through two web processes while one of them is killed: nothing is lost."""

from collections.abc import Iterator
from functools import partial
from http.client import HTTPException  # noqa: TID251 - what a test meets when a server dies
from typing import Any

import pytest

from subscriptions.models import Grant
from tests import factories
from tests.conformance.client import V2, V2_JSON, Answer, Client, b64
from tests.conformance.conftest import wait_for
from tests.conftest import MakeTopic
from tests.streams.web import Web, running

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

RECORDS = 120
PUBLIC = "https://records.example.com"
LOST = (OSError, HTTPException)


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory, transactional_db: None) -> Iterator[list[Web]]:
    with (
        running(tmp_path_factory.mktemp("a"), public_url=PUBLIC) as first,
        running(tmp_path_factory.mktemp("b"), public_url=PUBLIC) as second,
    ):
        yield [first, second]


class Balanced:
    """One address before both nodes: each request goes to the next that answers."""

    def __init__(self, nodes: list[Web], key: str) -> None:
        basic = b64(f"{key}:".encode())
        self._callers = [Client(one.url, None, {}) for one in nodes]
        self._basic = {"Authorization": f"Basic {basic}"}
        self._turn = 0

    def send(self, method: str, path: str, body: object = None, kind: str = "") -> Answer:
        for _ in range(20):
            self._turn += 1
            caller = self._callers[self._turn % len(self._callers)]
            try:
                answer = caller.send(method, path, body, kind, **self._basic)
            except LOST:
                continue
            if answer.status < 500:
                return answer
        raise AssertionError(f"{method} {path}: no node answers")


def test_nothing_is_lost_when_one_of_two_nodes_is_killed(
    nodes: list[Web], topic: MakeTopic
) -> None:
    name, owner = topic(3), factories.partner()
    for action in Grant.Action.values:
        Grant.objects.create(partner=owner, topic=factories.topic(name), action=action)
    key = factories.caller(owner, scopes=frozenset({"topic:*:read", "topic:*:write"})).key
    for node in nodes:
        wait_for(partial(Client(node.url, key).get, "/topics"), lambda told: name in str(told.body))
    client = Balanced(nodes, key)
    own = "/consumers/g/instances/i"
    made = client.send("POST", "/consumers/g", {"name": "i", "format": "json"}, V2)
    assert made.json == {"instance_id": "i", "base_uri": f"{PUBLIC}{own}"}
    client.send("POST", f"{own}/subscription", {"topics": [name]}, V2)

    written: list[int] = []
    read: set[int] = set()
    for number in range(RECORDS):
        if number == RECORDS // 3:
            nodes[0].kill()
        body = {"records": [{"value": number}]}
        told = client.send("POST", f"/topics/{name}", body, V2_JSON)
        if told.status == 200 and told.json["offsets"][0]["error_code"] is None:
            written.append(number)
        if number % 5 == 0:
            read |= _values(client.send("GET", f"{own}/records?timeout=100"))

    def rest() -> Answer:
        answer = client.send("GET", f"{own}/records?timeout=1000")
        read.update(_values(answer))
        return answer

    wait_for(rest, lambda _: read >= set(written), deadline_s=60)
    assert len(written) == RECORDS


def _values(answer: Answer) -> set[int]:
    entries: list[Any] = answer.json if answer.status == 200 else []
    return {one["value"] for one in entries}
