"""A real worker answers probes on its own port and sums up its children."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection  # noqa: TID251 - a test asks a server of ours
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return the port of a running control worker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    monkeypatch.setenv("KAFKAHUB_METRICS_PORT", str(number))
    command = [sys.executable, "-m", "celery", "-A", "kafkahub", "worker", "-Q", "control"]
    options = ["-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = subprocess.Popen(
        [*command, *options], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield number
    finally:
        worker.terminate()
        worker.wait(DEADLINE_S)


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError as error:
        return 0, str(error).encode()
    finally:
        connection.close()


def wait_for(port: int, path: str, is_there: Callable[[int, bytes], bool]) -> bytes:
    """Return the first answer that is as it should be; fails with the last one seen."""
    until = time.monotonic() + DEADLINE_S
    between = threading.Event()
    while True:
        status, body = get(port, path)
        if is_there(status, body):
            return body
        assert time.monotonic() < until, (status, body)
        between.wait(0.1)


@pytest.mark.kafka
@pytest.mark.redis
def test_a_worker_becomes_ready_and_tells_of_its_neighbours(port: int) -> None:
    body = wait_for(port, "/readyz", lambda status, _: status == 200)

    assert set(json.loads(body)["parts"]) == {"postgres", "kafka", "redis"}
    assert get(port, "/livez")[0] == 200
    wait_for(port, "/metrics", lambda _, text: b"kafkahub_kafka_up 1.0" in text)
