"""The port of a worker: what it answers, and that children do not hold it."""

import json
import os
import socket
from collections.abc import Iterator
from http.client import HTTPConnection  # noqa: TID251 - a test asks a server of ours

import pytest

from kafkahub import config
from kafkahub.observability import health, health_server


@pytest.fixture
def server() -> Iterator[health_server.HealthServer]:
    """A server whose only neighbour answers."""
    watch = health.Watch({"postgres": health.Probe(lambda: None, max_age_s=10)})
    watch.look("postgres")
    running = health_server.HealthServer("127.0.0.1", 0, watch)
    running.start()
    yield running
    running.stop()


def get(port: int, path: str) -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers["Content-Type"], body


def test_a_worker_tells_that_it_is_alive(server: health_server.HealthServer) -> None:
    assert get(server.port, "/livez") == (200, "application/json", b'{"status":"alive"}')


def test_a_worker_tells_operators_which_part_is_up(server: health_server.HealthServer) -> None:
    status, _, body = get(server.port, "/readyz?verbose")

    assert status == 200
    assert json.loads(body)["parts"]["postgres"]["ok"] is True


def test_a_worker_serves_its_metrics(server: health_server.HealthServer) -> None:
    status, content_type, body = get(server.port, "/metrics")

    assert status == 200
    assert content_type.startswith("text/plain")
    assert b"kafkahub_postgres_up 1.0" in body


def test_a_child_does_not_hold_the_port(server: health_server.HealthServer) -> None:
    child = os.fork()
    if child == 0:
        try:
            server._server.socket.getsockname()
        except OSError:
            os._exit(0)
        os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    assert get(server.port, "/livez")[0] == 200


def test_the_port_is_free_after_the_end() -> None:
    running = health_server.HealthServer("127.0.0.1", 0, health.Watch({}))
    running.start()
    running.stop()

    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", running.port))


def test_without_a_port_nothing_is_served() -> None:
    assert health_server.serve(config.load()) is None


def test_with_a_port_the_real_neighbours_are_watched() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = health_server.serve(config.load().model_copy(update={"metrics_port": port}))
    assert running is not None

    assert get(port, "/livez")[0] == 200
    running.stop()
