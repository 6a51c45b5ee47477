"""A neighbour goes away and comes back: open streams stay, and go on without a hole."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from django.db import connection

from kafkahub import config
from tests import factories
from tests.api import json_of
from tests.conformance.client import Client
from tests.conftest import MakeTopic
from tests.fakes.line import Line
from tests.streams.reading import Reading, numbers, reading
from tests.streams.web import Stage, Web, running, staged, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]


@dataclass
class Lines:
    """The lines between a web process and its neighbours."""

    postgresql: Line
    redis: Line
    kafka: Line


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    known = config.load()
    database = urlsplit(known.database_url.get_secret_value())
    redis = urlsplit(known.redis_url.get_secret_value())
    broker = urlsplit(f"//{known.kafka_bootstrap}")
    with (
        Line(database.hostname or "", database.port or 5432) as to_database,
        Line(redis.hostname or "", redis.port or 6379) as to_redis,
        Line(broker.hostname or "", broker.port or 9092, is_kafka=True) as to_kafka,
    ):
        yield Lines(to_database, to_redis, to_kafka)


@pytest.fixture(scope="module")
def web(
    lines: Lines, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    """Yield a web process that reaches its neighbours by the lines."""
    known = config.load()
    database = urlsplit(known.database_url.get_secret_value())
    redis = urlsplit(known.redis_url.get_secret_value())
    login = f"{redis.username or ''}:{redis.password}@" if redis.password else ""
    user = f"{database.username}:{database.password}@" if database.password else ""
    settings = {
        "database_url": f"postgresql://{user or f'{database.username}@'}127.0.0.1:"
        f"{lines.postgresql.port}/{connection.settings_dict['NAME']}",
        "redis_url": f"redis://{login}127.0.0.1:{lines.redis.port}{redis.path}",
        "kafka_bootstrap": f"127.0.0.1:{lines.kafka.port}",
        "stream_heartbeat": "5",
        "stream_drain": "1",
    }
    with running(tmp_path_factory.mktemp("web"), **settings) as process:
        yield process


@pytest.fixture
def play(web: Web, topic: MakeTopic) -> Iterator[Stage]:
    with staged(web, topic) as made:
        yield made


def state(stream: Reading) -> str:
    return str(stream.until("heartbeat").json["state"])


def status(play: Stage, key: str) -> int:
    """Return what a client that comes now gets; it takes any status."""
    named = {"authorization": f"Bearer {key}"}
    with Reading(play.web, f"/streams/{play.topic}", named) as asked:
        return asked.answer.status


def test_kafka_away_is_told_and_nothing_is_missed(play: Stage, lines: Lines) -> None:
    with reading(play) as opened:
        play.write(3)
        assert numbers(opened.records(3)) == [0, 1, 2]

        lines.kafka.cut()
        wait_for(lambda: state(opened) == "stalled", lambda: "never stalled")
        play.write(5)
        lines.kafka.mend()

        assert numbers(opened.records(5)) == [3, 4, 5, 6, 7]
        assert state(opened) == "live"


def test_postgresql_away_leaves_streams_open_and_lets_nobody_else_in(
    play: Stage, lines: Lines
) -> None:
    _, unseen = factories.api_key(play.alice.partner)
    play.web.settle()
    with reading(play) as opened:
        lines.postgresql.cut()
        refused = status(play, unseen)
        play.write(5)
        during = numbers(opened.records(5))
        lines.postgresql.mend()

        wait_for(lambda: status(play, unseen) == 200, lambda: status(play, unseen))
        play.write(5)
        after = numbers(opened.records(5))

    assert refused == 503
    assert during + after == list(range(10))


def test_postgresql_away_commits_nothing_and_says_so(play: Stage, lines: Lines) -> None:
    client, own = Client(play.web.url, play.alice.key), "/consumers/g/instances/i"
    settings = {"name": "i", "format": "json", "auto.offset.reset": "earliest"}
    assert client.post("/consumers/g", {**settings, "auto.commit.enable": False}).status == 200
    client.post(f"{own}/subscription", {"topics": [play.topic]})
    play.write(3)
    read: list[object] = []

    def is_read() -> bool:
        read.extend(client.get(f"{own}/records").json)
        return len(read) == 3

    wait_for(is_read, lambda: read)
    place = {"topic": play.topic, "partition": 0}
    assert client.post(f"{own}/offsets", {"offsets": [{**place, "offset": 0}]}).status == 200
    before = client.get(f"{own}/offsets").json

    lines.postgresql.cut()
    refused = [client.post(f"{own}/offsets"), client.get(f"{own}/records?timeout=1000")]
    lines.postgresql.mend()

    assert [one.error for one in refused] == [(503, 50302)] * 2
    assert {one.headers["retry-after"] for one in refused} == {"5"}
    wait_for(lambda: client.get(f"{own}/offsets").json == before, lambda: before)
    assert client.post(f"{own}/offsets").status == 200
    assert client.get(f"{own}/offsets").json == {
        "offsets": [{**place, "offset": 3, "metadata": ""}]
    }


def test_redis_away_leaves_streams_open_and_lets_others_in(play: Stage, lines: Lines) -> None:
    with reading(play) as opened:
        lines.redis.cut()
        with reading(play) as other:
            play.write(5)
            assert numbers(opened.records(5)) == numbers(other.records(5)) == list(range(5))
        lines.redis.mend()

        play.write(1)
        assert numbers(opened.records(1)) == [5]
        wait_for(lambda: len(listed(play)) == 1, lambda: listed(play))


def listed(play: Stage) -> list[object]:
    rows: list[object] = json_of(play.alice.get("/streams"))["data"]
    return rows
