"""Nobody learns anything of another partner's topics, groups and instances, by any route.

The routes are those of the code: one without a case fails here.
"""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from pytest_django.plugin import DjangoDbBlocker
from websockets.sync.client import connect

from gateway.rest.door import NATIVE, V2, V3
from gateway.sse import PREFIX
from gateway.websocket import PATHS
from subscriptions.models import ApiKey, Grant
from tests.conformance import conftest
from tests.conformance.client import V2 as V2_KIND
from tests.conformance.client import V2_JSON, Answer, Client
from tests.conformance.conftest import Stage, wait_for

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(bool(conftest.URLS), reason="looks at the code of this installation"),
]
PARAMETER = re.compile(r"{(\w+)}")
OWNED = frozenset({"topic", "group", "instance", "consumer"})
"""Parameters that name something of one partner."""
FIXED = {"partition": "0", "name": "retention.ms"}
"""Parameters that name nothing of anybody."""
ROUTES = {**V2.paths, **NATIVE.paths, **V3.paths}
CREATES = ("POST", "/consumers/{group}")
"""A group's name is its partner's own: this makes another of the same name."""

Names = dict[str, str]


def operations(*, owned: bool) -> list[tuple[str, str]]:
    """Return method and path of every route, with or without a name of somebody's."""
    return [
        (method, path)
        for path, methods in ROUTES.items()
        for method in methods
        if bool(OWNED & set(PARAMETER.findall(path))) == owned and (method, path) != CREATES
    ]


@pytest.fixture(scope="module")
def others(stage: Stage, django_db_blocker: DjangoDbBlocker) -> Names:
    """Return names of things that only the other partner has."""
    with django_db_blocker.unblock():
        key = ApiKey.objects.select_related("partner").get(public_id=(stage.other.key or "")[9:21])
        Grant.objects.create(partner=key.partner, topic_id=stage.foreign_topic)
    wait_for(
        lambda: stage.other.get("/topics"), lambda one: stage.foreign_topic in one.body.decode()
    )
    group = f"g-{uuid4().hex[:10]}"
    made = stage.other.post(f"/consumers/{group}", {"format": "json"})
    instance = made.json["instance_id"]
    subscribed = stage.other.post(
        f"/consumers/{group}/instances/{instance}/subscription", {"topics": [stage.topic]}
    )
    assert subscribed.status == 204
    cluster = stage.other.get("/v3/clusters").json["data"][0]["cluster_id"]
    return {
        "cluster": cluster,
        "topic": stage.foreign_topic,
        "group": group,
        "instance": instance,
        "consumer": instance,
    }


def fresh(name: str) -> str:
    """Return a name of the same form that nothing has."""
    return {"topic": "no-such-topic-0000000"}.get(name, f"g-{'0' * 10}")


def fill(path: str, choose: Callable[[str], str]) -> str:
    return PARAMETER.sub(lambda found: FIXED.get(found[1]) or choose(found[1]), path)


def ask(client: Client, method: str, path: str) -> Answer:
    if method in {"GET", "DELETE"}:
        return client.send(method, path)
    kind = "application/json"
    if path.startswith("/consumers"):
        kind = V2_KIND
    elif path.startswith("/topics"):
        kind = V2_JSON
    return client.send(method, path, {"records": [{"value": 1}]}, kind)


def told(answer: Answer) -> tuple[int, bytes, frozenset[str]]:
    """Return all that an answer tells, without the id of its request."""
    body = re.sub(rb'"request_id":"[^"]*"', b"", answer.body)
    return answer.status, body, frozenset(answer.headers)


def without_names(answer: tuple[int, bytes, frozenset[str]], path: str) -> object:
    """Return an answer without the path that was asked for, which an error repeats."""
    status, body, headers = answer
    return status, body.replace(path.encode(), b""), headers


@pytest.mark.parametrize(("method", "path"), operations(owned=True))
def test_what_is_anothers_is_what_does_not_exist(
    stage: Stage, others: Names, method: str, path: str
) -> None:
    foreign = fill(path, others.__getitem__)
    nothing = fill(path, lambda name: others[name] if name == "cluster" else fresh(name))

    one, other = ask(stage.alice, method, foreign), ask(stage.alice, method, nothing)

    assert one.status >= 400
    assert without_names(told(one), foreign) == without_names(told(other), nothing)
    assert not [
        name
        for name in others.values()
        if name.encode() in one.body.replace(foreign.encode(), b"") and name != others["cluster"]
    ]


@pytest.mark.parametrize(("method", "path"), operations(owned=False))
def test_no_list_names_what_is_anothers(
    stage: Stage, others: Names, method: str, path: str
) -> None:
    answer = ask(stage.alice, method, fill(path, others.__getitem__))

    names = [name for kind, name in others.items() if kind in OWNED]
    assert not [name for name in names if name.encode() in answer.body]


def test_a_stream_of_anothers_topic_is_one_of_none(stage: Stage, others: Names) -> None:
    asked = [others["topic"], fresh("topic")]
    one, other = (stage.alice.get(f"{PREFIX}{name}") for name in asked)

    assert one.status == 404
    assert without_names(told(one), asked[0]) == without_names(told(other), asked[1])


def test_a_websocket_says_the_same_of_anothers_topic_as_of_none(
    stage: Stage, others: Names
) -> None:
    def heard(topic: str) -> str:
        """Return what comes after the greeting."""
        address = f"{stage.urls[0].replace('http', 'ws')}/ws?topics={topic}"
        key = {"Authorization": f"Bearer {stage.alice.key}"}
        with connect(address, additional_headers=key, proxy=None) as talk:
            talk.recv(timeout=10)
            return str(talk.recv(timeout=10)).replace(topic, "")

    assert heard(others["topic"]) == heard(fresh("topic"))


def test_there_is_no_other_way_in() -> None:
    assert frozenset({"/ws", "/ws/echo"}) == frozenset(PATHS)
    assert PREFIX == "/streams/"
    assert {name for path in ROUTES for name in PARAMETER.findall(path)} == {
        *OWNED,
        *FIXED,
        "cluster",
    }
