"""What is open on all web processes, seen and ended from any of them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kafkahub import clock, ids
from subscriptions.models import StreamTicket
from tests import factories
from tests.api import json_of
from tests.conftest import MakeTopic
from tests.streams.reading import allow_many
from tests.streams.web import DEADLINE_S, Stage, Web, running, staged, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

TOLD_S = 10.0
"""Longest time until every process knows of another's streams, with room for a slow machine."""


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with running(tmp_path_factory.mktemp("one"), stream_drain="1") as process:
        yield process


@pytest.fixture(scope="module")
def second(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Yield another web process on the same parts."""
    with running(tmp_path_factory.mktemp("two"), stream_drain="1") as process:
        yield process


@pytest.fixture
def play(web: Web, topic: MakeTopic) -> Iterator[Stage]:
    with staged(web, topic) as made:
        allow_many(made)
        yield made


@contextmanager
def opened(url: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Yield a running curl, and the file of what it prints."""
    printed = folder / f"{ids.new('curl')}.log"
    with printed.open("wb") as out:
        client = subprocess.Popen(["curl", "-sN", url], stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "event: heartbeat" in printed.read_text(), printed.read_text)
        yield client, printed
    finally:
        client.kill()
        client.wait(DEADLINE_S)


def listed(play: Stage) -> list[Any]:
    rows: list[Any] = json_of(play.alice.get("/streams"))["data"]
    return rows


def wait_for_list(play: Stage, count: int) -> list[Any]:
    wait_for(lambda: len(listed(play)) == count, lambda: listed(play), TOLD_S)
    return listed(play)


def test_streams_of_two_processes_are_on_one_list_and_each_can_be_ended(
    play: Stage, second: Web, tmp_path: Path
) -> None:
    first_url, second_url = play.web.url + play.path(), second.url + play.path()
    with opened(first_url, tmp_path), opened(second_url, tmp_path) as (other, printed):
        rows = wait_for_list(play, 2)
        of_second = next(row for row in rows if row["process"].endswith(f":{second.pid}"))
        shown = json_of(play.alice.get(f"/streams/{of_second['id']}"))

        play.close(of_second["id"])
        other.wait(DEADLINE_S)
        rest = wait_for_list(play, 1)

    assert len({row["process"] for row in rows}) == 2
    assert shown["cursor"]
    assert '"reason":"kicked"' in printed.read_text()
    assert rest[0]["id"] != of_second["id"]


def test_the_list_tells_how_far_a_stuck_reader_is_behind(play: Stage, tmp_path: Path) -> None:
    with opened(play.web.url + play.path(), tmp_path) as (reader, _):
        os.kill(reader.pid, signal.SIGSTOP)
        big = b'{"pad":"%b"}' % (b"x" * 200_000)
        for _ in range(60):  # more than the kernels' buffers at both ends take
            play.producer.produce(play.topic, big, b"key")
            play.producer.flush(30)

        wait_for(
            lambda: listed(play) and listed(play)[0]["state"] == "paused", lambda: listed(play)
        )
        row = listed(play)[0]
        os.kill(reader.pid, signal.SIGCONT)
        wait_for(lambda: listed(play)[0]["lag_records"] == 0, lambda: listed(play))

    assert row["lag_records"] > 0
    assert row["key_id"] == play.alice.row.id
    assert row["ip"] == "127.0.0.1"
    assert row["user_agent"].startswith("curl/")


def test_a_stream_that_has_ended_leaves_the_list(play: Stage, tmp_path: Path) -> None:
    with opened(play.web.url + play.path(), tmp_path):
        wait_for_list(play, 1)

    wait_for_list(play, 0)


def test_a_ticket_revoked_without_a_notification_ends_its_stream_too(
    play: Stage, tmp_path: Path
) -> None:
    row, text = factories.ticket(play.alice, topics=(play.topic,))
    url = f"{play.web.url}/streams/{play.topic}?ticket={text}"
    with opened(url, tmp_path) as (client, printed):
        StreamTicket.objects.filter(pk=row.pk).update(revoked_at=clock.now())

        client.wait(TOLD_S)

    assert '"reason":"revoked"' in printed.read_text()


def test_one_stream_too_many_at_another_process_ends_the_oldest(
    play: Stage, second: Web, tmp_path: Path
) -> None:
    _, text = factories.ticket(play.alice, topics=(play.topic,), max_connections=1)
    first, then = (f"{web.url}/streams/{play.topic}?ticket={text}" for web in (play.web, second))
    with opened(first, tmp_path) as (oldest, printed), opened(then, tmp_path) as (newer, _):
        oldest.wait(TOLD_S)
        still_open = newer.poll() is None

    assert '"reason":"taken_over"' in printed.read_text()
    assert still_open


def test_no_log_holds_the_text_of_a_ticket(play: Stage, tmp_path: Path) -> None:
    _, text = factories.ticket(play.alice, topics=(play.topic,))
    with opened(f"{play.web.url}/streams/{play.topic}?ticket={text}", tmp_path):
        play.web.get(f"/streams/nothing?ticket={text}")
        play.web.get(f"/api/v1/topics?ticket={text}")

    assert text.removeprefix("kht_") not in play.web.log.read_text()
