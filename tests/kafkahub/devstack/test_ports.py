"""Free ports are found and taken ones avoided."""

import socket
from collections.abc import Iterator

import pytest

from kafkahub.devstack import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_a_preferred_port_that_is_free_is_taken() -> None:
    port = ports.spare()

    assert ports.choose(port) == port


def test_a_taken_port_is_avoided(taken: int) -> None:
    assert not ports.is_free(taken)
    assert ports.choose(taken) != taken


def test_a_listener_is_seen(taken: int) -> None:
    assert ports.accepts(taken)
    assert not ports.accepts(ports.spare())
