"""What is open on all web processes, seen and ended from any of them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kafkahub import clock, ids
from subscriptions.models import StreamTicket
from tests import factories
from tests.api import json_of
from tests.streams.web import DEADLINE_S, Stage, Web, running, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

TOLD_S = 10.0
"""Longest time until every process knows of another's streams, with room for a slow machine."""


@pytest.fixture(scope="module")
def second(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Yield another web process on the same parts."""
    with running(tmp_path_factory.mktemp("two"), stream_drain="1") as process:
        yield process


@pytest.fixture
def there(stage: Stage, second: Web) -> Iterator[Stage]:
    """Yield the stage as the other process has it."""
    second.settle()
    yield replace(stage, web=second)
    second.settle()


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


def listed(stage: Stage) -> list[Any]:
    rows: list[Any] = json_of(stage.alice.get("/streams"))["data"]
    return rows


def told(stage: Stage, name: str) -> list[Any]:
    return [row[name] for row in listed(stage)]


def wait_for_list(stage: Stage, count: int) -> list[Any]:
    wait_for(lambda: len(listed(stage)) == count, lambda: listed(stage), TOLD_S)
    return listed(stage)


def test_streams_of_two_processes_are_on_one_list_and_each_can_be_ended(
    stage: Stage, there: Stage, tmp_path: Path
) -> None:
    first_url, second_url = stage.web.url + stage.path(), there.web.url + stage.path()
    with opened(first_url, tmp_path), opened(second_url, tmp_path) as (other, printed):
        rows = wait_for_list(stage, 2)
        of_second = next(row for row in rows if row["process"].endswith(f":{there.web.pid}"))
        shown = json_of(stage.alice.get(f"/streams/{of_second['id']}"))

        stage.close(of_second["id"])
        other.wait(DEADLINE_S)
        rest = wait_for_list(stage, 1)

    assert len({row["process"] for row in rows}) == 2
    assert shown["cursor"]
    assert '"reason":"kicked"' in printed.read_text()
    assert rest[0]["id"] != of_second["id"]


def test_the_list_tells_how_far_a_stuck_reader_is_behind(there: Stage, tmp_path: Path) -> None:
    stage = there  # where a reader may take nothing for longer
    with opened(stage.web.url + stage.path(), tmp_path) as (reader, _):
        os.kill(reader.pid, signal.SIGSTOP)
        big = b'{"pad":"%b"}' % (b"x" * 200_000)
        for _ in range(60):  # more than the kernels' buffers at both ends take
            stage.producer.produce(stage.topic, big, b"key")
            stage.producer.flush(30)

        wait_for(lambda: told(stage, "state") == ["paused"], lambda: listed(stage))
        row = listed(stage)[0]
        os.kill(reader.pid, signal.SIGCONT)
        wait_for(lambda: told(stage, "lag_records") == [0], lambda: listed(stage))

    assert row["lag_records"] > 0
    assert row["key_id"] == stage.alice.row.id
    assert row["ip"] == "127.0.0.1"
    assert row["user_agent"].startswith("curl/")


def test_a_stream_that_has_ended_leaves_the_list(stage: Stage, tmp_path: Path) -> None:
    with opened(stage.web.url + stage.path(), tmp_path):
        wait_for_list(stage, 1)

    wait_for_list(stage, 0)


def test_a_ticket_revoked_without_a_notification_ends_its_stream_too(
    stage: Stage, tmp_path: Path
) -> None:
    row, text = factories.ticket(stage.alice, topics=(stage.topic,))
    url = f"{stage.web.url}/streams/{stage.topic}?ticket={text}"
    with opened(url, tmp_path) as (client, printed):
        StreamTicket.objects.filter(pk=row.pk).update(revoked_at=clock.now())

        client.wait(TOLD_S)

    assert '"reason":"revoked"' in printed.read_text()


def test_one_stream_too_many_at_another_process_ends_the_oldest(
    stage: Stage, there: Stage, tmp_path: Path
) -> None:
    _, text = factories.ticket(stage.alice, topics=(stage.topic,), max_connections=1)
    first, then = (
        f"{web.url}/streams/{stage.topic}?ticket={text}" for web in (stage.web, there.web)
    )
    with opened(first, tmp_path) as (oldest, printed), opened(then, tmp_path) as (newer, _):
        oldest.wait(TOLD_S)
        still_open = newer.poll() is None

    assert '"reason":"taken_over"' in printed.read_text()
    assert still_open


def test_no_log_holds_the_text_of_a_ticket(stage: Stage, tmp_path: Path) -> None:
    _, text = factories.ticket(stage.alice, topics=(stage.topic,))
    with opened(f"{stage.web.url}/streams/{stage.topic}?ticket={text}", tmp_path):
        stage.web.get(f"/streams/nothing?ticket={text}")
        stage.web.get(f"/api/v1/topics?ticket={text}")

    assert text.removeprefix("kht_") not in stage.web.log.read_text()
