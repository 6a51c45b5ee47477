"""A Redis of the test's own, which it may kill."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from kafkahub.devstack import ports
from kafkahub.devstack.redis import _binary
from tests.fakes.waiting import eventually


@dataclass
class OwnRedis:
    """A Redis server that keeps nothing on disk."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{ports.LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        binary, _ = _binary()
        options = ["--port", str(self.port), "--bind", ports.LOOPBACK, "--save", ""]
        self.process = subprocess.Popen(
            [binary, *options, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        client = redis.Redis.from_url(self.url)
        eventually(lambda: answers(client), "Redis answers")
        client.close()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path, ports.spare())
    server.start()
    yield server
    server.kill()
