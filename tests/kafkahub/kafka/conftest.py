"""A broker to test against: the real one, and the in-memory cluster, which must pass the same."""

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from kafkahub import config
from kafkahub.kafka import options
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.producer import Producer
from kafkahub.kafka.record import Position

Produce = Callable[..., Position]


@pytest.fixture(scope="session")
def memory_bootstrap() -> Iterator[str]:
    """Run the in-memory cluster as a process."""
    command = [sys.executable, "-m", "kafkahub.kafka.memory"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(params=[pytest.param("apache", marks=pytest.mark.kafka), "memory"])
def settings(request: pytest.FixtureRequest) -> config.Config:
    """Return settings that point at the broker under test."""
    if request.param == "apache":
        return config.load()
    bootstrap = request.getfixturevalue("memory_bootstrap")
    return config.load().model_copy(update={"kafka_bootstrap": bootstrap})


@pytest.fixture
def admin(settings: config.Config) -> Admin:
    return Admin(options.admin_options(settings))


@pytest.fixture
def topic(admin: Admin) -> str:
    """Return a fresh topic of four partitions, which is what the in-memory cluster gives."""
    name = f"test.{secrets.token_hex(6)}"
    admin.create_topic(name, 4)
    return name


@pytest.fixture
def producer(settings: config.Config) -> Iterator[Producer]:
    made = Producer(options.producer_options(settings))
    yield made
    made.close()


@pytest.fixture
def produce(producer: Producer, topic: str) -> Produce:
    """Return a function that writes one record to the topic and waits for its place."""

    def write(value: bytes | None = b"{}", **more: object) -> Position:
        answer = producer.produce(topic, value, **more)  # type: ignore[arg-type]  # passed on as is
        return answer.result(timeout=20)

    return write
