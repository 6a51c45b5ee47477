"""What the suite runs against: servers named by CONFORMANCE_URLS, or two nodes of our own.

CONFORMANCE_URLS=https://a,https://b  nodes behind one address, or that address alone
CONFORMANCE_KEY         a key that may read and write CONFORMANCE_TOPIC
CONFORMANCE_OTHER_KEY   a key of another partner with the same grants
CONFORMANCE_TOPIC       a topic of JSON with 3 partitions that nobody else writes to
CONFORMANCE_READ_TOPIC  a topic that the key may read and not write
CONFORMANCE_FOREIGN_TOPIC  a topic that exists and is granted to neither
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options
from subscriptions.models import Grant, Partner, Topic
from tests import factories
from tests.conformance.client import Answer, Client
from tests.streams.web import Web, running

URLS = os.environ.get("CONFORMANCE_URLS", "")
HERE = Path(__file__).parent
LOOK_S = 0.05
SEEN_S = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the test database made: pytest-django makes none for tests that never ask for it."""
    for item in items:
        if not URLS and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.django_db)


@dataclass
class Stage:
    """Two callers of different partners, the nodes, and topics.

    alice, other  with the same grants; ``nobody`` has no key
    topic         both may read and write it; 3 partitions
    """

    urls: list[str]
    alice: Client
    other: Client
    topic: str
    read_topic: str
    foreign_topic: str

    @property
    def nobody(self) -> Client:
        return Client(self.urls[0], None)

    @property
    def second(self) -> Client:
        """Alice at another node."""
        return self.alice.at(self.urls[-1])


@pytest.fixture(scope="module")
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    if URLS:
        yield URLS.split(",")
        return
    request.getfixturevalue("django_db_setup")
    with (
        running(tmp_path_factory.mktemp("a"), **ROOM) as first,
        running(tmp_path_factory.mktemp("b"), **ROOM) as second,
    ):
        request.session.stash[WEBS] = [first, second]
        yield [first.url, second.url]


ROOM = {"max_pull_groups": "1000", "max_pull_instances": "1000"}
"""The suite makes a group a test, and leaves it."""
WEBS = pytest.StashKey[list[Web]]()


@pytest.fixture(scope="module")
def topics() -> list[str]:
    """Return Kafka topics that all tests share: each test looks at its own records only."""
    if URLS:
        return []
    admin = Admin(admin_options(config.load()))
    names = [f"conform-{uuid4().hex[:10]}" for _ in range(3)]
    for name in names:
        admin.create_topic(name, 3, deadline_s=15)
    return names


@pytest.fixture(scope="module")
def stage(
    nodes: list[str], topics: list[str], django_db_blocker: DjangoDbBlocker
) -> Iterator[Stage]:
    """Return callers and topics; our own nodes get them made once, where all processes see them."""
    if URLS:
        yield _named(nodes)
        return
    with django_db_blocker.unblock():
        made = _made(nodes, topics)
    for url in nodes:
        for caller in (made.alice, made.other):
            _wait_seen(caller.at(url), made.topic)
    yield made
    with django_db_blocker.unblock():
        Partner.objects.filter(grants__topic__in=topics).delete()
        Topic.objects.filter(name__in=topics).delete()
        with connection.cursor() as cursor:  # audit rows are deleted by nobody, not even here
            cursor.execute("TRUNCATE subscriptions_auditevent")


def _named(urls: list[str]) -> Stage:
    said = os.environ
    return Stage(
        urls,
        Client(urls[0], said["CONFORMANCE_KEY"]),
        Client(urls[0], said["CONFORMANCE_OTHER_KEY"]),
        said["CONFORMANCE_TOPIC"],
        said["CONFORMANCE_READ_TOPIC"],
        said["CONFORMANCE_FOREIGN_TOPIC"],
    )


def _made(urls: list[str], names: list[str]) -> Stage:
    topic, read_topic, foreign = names
    for name in names:
        factories.topic(name)
    callers = []
    for _ in range(2):
        owner = factories.partner()
        for action in Grant.Action.values:
            Grant.objects.create(partner=owner, topic=factories.topic(topic), action=action)
        Grant.objects.create(partner=owner, topic=factories.topic(read_topic))
        scopes = frozenset({*factories.ALL_SCOPES, "topic:*:write"})
        callers.append(Client(urls[0], factories.caller(owner, scopes=scopes).key))
    return Stage(urls, callers[0], callers[1], topic, read_topic, foreign)


def _wait_seen(caller: Client, topic: str) -> None:
    """Wait until a node knows the caller and its grants."""
    wait_for(lambda: caller.get("/topics"), lambda answer: topic in answer.body.decode())


def wait_for(
    ask: Callable[[], Answer], holds: Callable[[Answer], bool], deadline_s: float = SEEN_S
) -> Answer:
    """Ask until the answer holds; when the time is up, show it."""
    until = time.monotonic() + deadline_s
    between = threading.Event()
    while not holds(answer := ask()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline_s} s: {answer}")
        between.wait(LOOK_S)
    return answer


@dataclass
class Consumer:
    """An instance of a group of its own; every call may go to another node."""

    caller: Client
    path: str

    def get(self, path: str, **headers: str) -> Answer:
        return self.caller.get(f"{self.path}{path}", **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.caller.post(f"{self.path}{path}", body, **headers)

    def read(self, query: str = "", **headers: str) -> Answer:
        return self.get(f"/records{query}", **headers)

    def at(self, caller: Client) -> "Consumer":
        return Consumer(caller, self.path)


Join = Callable[..., Consumer]


@pytest.fixture
def join(stage: Stage) -> Join:
    """Return what makes an instance, subscribed unless told otherwise."""

    def make(
        *,
        group: str = "",
        topics: list[str] | None = None,
        by: Client | None = None,
        **settings: object,
    ) -> Consumer:
        caller = by or stage.alice
        name = group or f"g-{uuid4().hex[:10]}"
        wanted: dict[str, object] = {"format": "json", "auto.offset.reset": "latest"}
        wanted |= {key.replace("__", "."): value for key, value in settings.items()}
        made = caller.post(f"/consumers/{name}", wanted)
        assert made.status == 200, made
        consumer = Consumer(caller, f"/consumers/{name}/instances/{made.json['instance_id']}")
        named = [stage.topic] if topics is None else topics
        if named:
            assert consumer.post("/subscription", {"topics": named}).status == 204
        return consumer

    return make
