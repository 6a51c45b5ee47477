"""Clients that are not ours read 1,000 records through a deployment: each once, in order."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.streams.web import DEADLINE_S, Stage, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.django_db(transaction=True)]

HERE = Path(__file__).parent
ALL = 1_000
FIRST = 300
"""Records that are read before the deployment; the others are written during it."""


class Client:
    """A program that prints ``ready`` when its stream is open, then the numbers it reads."""

    def __init__(self, command: list[str], out: Path) -> None:
        self._out = out
        with out.open("wb") as printed:
            self.process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)

    def lines(self) -> list[str]:
        return self._out.read_text().splitlines()

    def numbers(self) -> list[int]:
        return [int(line) for line in self.lines() if line.isdecimal()]

    def wait_for(self, count: int) -> None:
        wait_for(lambda: len(set(self.numbers())) >= count, lambda: self.lines()[-20:])


@contextlib.contextmanager
def client(command: list[str], folder: Path) -> Iterator[Client]:
    running = Client(command, folder / "client.log")
    try:
        wait_for(lambda: "ready" in running.lines(), running.lines)
        yield running
    finally:
        running.process.kill()
        running.process.wait(DEADLINE_S)


def read_through_a_deployment(stage: Stage, command: list[str], folder: Path) -> list[int]:
    """Return the numbers a client has read at the end, in its order."""
    with client(command, folder) as reading:
        stage.write(FIRST)
        reading.wait_for(FIRST)
        stage.web.stop()
        stage.write(ALL - FIRST)
        stage.web.start()
        reading.wait_for(ALL)
        return reading.numbers()


@pytest.mark.node
def test_npm_eventsource(stage: Stage, tmp_path: Path) -> None:
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path)]
    subprocess.run([*install, "eventsource@4"], check=True, capture_output=True, timeout=DEADLINE_S)
    script = str(HERE / "node" / "eventsource.mjs")
    url = stage.web.url + stage.path()

    found = read_through_a_deployment(
        stage, ["node", script, str(tmp_path), url, str(ALL)], tmp_path
    )

    assert found == list(range(ALL))


def test_httpx_sse(stage: Stage, tmp_path: Path) -> None:
    url = stage.web.url + stage.path()

    found = read_through_a_deployment(
        stage, [sys.executable, str(HERE / "sse_client.py"), url, str(ALL)], tmp_path
    )

    assert found == list(range(ALL))


def test_curl(stage: Stage, tmp_path: Path) -> None:
    url = stage.web.url + stage.path()
    command = [str(HERE / "curl_client.sh"), url, str(ALL)]

    found = read_through_a_deployment(stage, command, tmp_path)

    assert found == list(range(ALL))


@pytest.mark.node
def test_the_helper_in_node(stage: Stage, tmp_path: Path) -> None:
    _, _, text = stage.path().partition("ticket=")
    script = str(HERE / "node" / "numbers.mjs")

    found = read_through_a_deployment(
        stage, ["node", script, stage.web.url, stage.topic, text, str(ALL)], tmp_path
    )

    assert found == list(range(ALL))
