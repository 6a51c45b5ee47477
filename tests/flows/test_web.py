"""The web process as operators start it: guarded heads, ids, probes, numbers of all workers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection  # noqa: TID251 - a test asks a server of ours
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a web process with two workers."""
    log = tmp_path_factory.mktemp("web") / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    command = [sys.executable, "manage.py", "runweb", "--workers", "2", "--port", str(number)]
    # A group of its own: what it starts must end with it, also where it fails.
    with log.open("wb") as out:
        web = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, process_group=0)
    try:
        wait_until_ready(number, log)
        yield number
    finally:
        web.terminate()
        web.wait(DEADLINE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(web.pid, signal.SIGKILL)


def wait_until_ready(port: int, log: Path) -> None:
    until = time.monotonic() + DEADLINE_S
    between = threading.Event()
    seen: object = None
    while time.monotonic() < until:
        try:
            status, _, body = get(port, "/readyz")
        except OSError as error:
            seen = error
        else:
            if status == 200:
                return
            seen = body
        between.wait(0.1)
    pytest.fail(f"not ready: {seen!r}\n{log.read_text()[-4_000:]}")


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.kafka
def test_the_web_process_tells_of_all_three_neighbours(port: int) -> None:
    _, _, body = get(port, "/readyz")

    assert set(json.loads(body)["parts"]) == {"postgres", "kafka", "redis"}


@pytest.mark.kafka
def test_an_unknown_path_of_the_api_is_a_problem_document_with_its_id(port: int) -> None:
    status, headers, body = get(port, "/api/v1/nothing")

    assert status == 404
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["request_id"] == headers["x-request-id"]


@pytest.mark.kafka
def test_no_answer_tells_which_server_it_is(port: int) -> None:
    assert "server" not in get(port, "/livez")[1]


@pytest.mark.kafka
def test_a_head_that_is_too_large_is_refused(port: int) -> None:
    assert get(port, "/livez", **{"X-Pad": "x" * 16_384})[0] == 431


@pytest.mark.kafka
def test_the_numbers_of_all_workers_are_summed(port: int) -> None:
    for _ in range(20):
        assert get(port, "/admin/")[0] == 302

    # A request is counted after its answer has left, so the last one may be on its way.
    until = time.monotonic() + DEADLINE_S
    while (count := redirects(port)) < 20:
        assert time.monotonic() < until, count


def redirects(port: int) -> float:
    series = b'kafkahub_requests_total{door="web",method="GET",status="302"}'
    _, _, body = get(port, "/metrics")
    counts = [line.split()[-1] for line in body.splitlines() if line.startswith(series)]
    return sum(map(float, counts))
