"""The product on real parts: engines as processes, Kafka, PostgreSQL, and real receivers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from kafkahub import config, signing
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from subscriptions.models import Endpoint, LanePosition, SigningSecret, Subscription
from tests import factories
from tests.conftest import MakeTopic

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_S = 60.0
POLL_S = 0.05


def wait_for(
    holds: Callable[[], bool], what: Callable[[], object], deadline_s: float = DEADLINE_S
) -> None:
    """Wait for a condition; when the time is up, say what was seen instead."""
    until = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline_s} s; seen: {what()}")
        time.sleep(POLL_S)  # a look every 50 ms at other processes, which give no signal


class Process:
    """A program of ours in a session of its own; ended, with its children, when the test ends."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**own_environment(), **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def children(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.pid).children(recursive=True)
        return children

    def kill(self) -> None:
        """Kill the program and all of its session, as if the machine had lost them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(20)

    def terminate(self, deadline_s: float = 40) -> int:
        """Ask the program to end; return its exit status."""
        self._popen.terminate()
        return self._popen.wait(deadline_s)

    def wait(self, deadline_s: float) -> int:
        """Wait until the program has ended by itself; return its exit status."""
        return self._popen.wait(deadline_s)

    def logged(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")


class Hub:
    """Makes what a flow needs, and runs the processes."""

    def __init__(self, folder: Path, make_topic: MakeTopic) -> None:
        self._folder = folder
        self._make_topic = make_topic
        self.processes: list[Process] = []
        self.producer = Producer(producer_options(config.load()))
        self.partner = factories.partner()
        self._group = f"test-{folder.name}"

    def topic(self, partitions: int = 1) -> str:
        name = self._make_topic(partitions=partitions)
        factories.topic(name)
        factories.grant(self.partner, name)
        return name

    def endpoint(self, url: str, **members: Any) -> tuple[Endpoint, str]:
        """Return an endpoint and its secret."""
        made = Endpoint.objects.create(partner=self.partner, name="hook", url=url, **members)
        secret = signing.new_secret()
        SigningSecret.objects.create(endpoint=made, secret=secret)
        return made, secret

    def subscribe(
        self, topic: str, endpoint: Endpoint, *, partitions: int = 1, start: int = 0, **members: Any
    ) -> Subscription:
        made = Subscription.objects.create(
            partner=self.partner, endpoint=endpoint, name="all", topics=[topic], **members
        )
        for partition in range(partitions):
            LanePosition.objects.create(
                subscription=made, topic=topic, partition=partition, next_offset=start
            )
        return made

    def produce(
        self, topic: str, values: list[bytes], keys: Sequence[bytes | None] | None = None
    ) -> None:
        """Write records, all acknowledged when this returns; each with its own key unless given."""
        keys = keys if keys is not None else [str(number).encode() for number in range(len(values))]
        futures = [
            self.producer.produce(topic, value, key)
            for value, key in zip(values, keys, strict=True)
        ]
        self.producer.flush(30)
        for future in futures:
            future.result(0)

    def engine(self, **settings: str) -> Process:
        """Start an engine without Celery."""
        return self._start([sys.executable, "manage.py", "deliver"], settings)

    def worker(self, engines: int = 2, **settings: str) -> Process:
        """Start a Celery worker with engines in its children."""
        command = f"-m celery -A kafkahub worker -Q delivery -P prefork -c {engines}".split()
        flags = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-O", "fair"]
        return self._start([sys.executable, *command, *flags], settings)

    def _start(self, command: list[str], settings: Mapping[str, str]) -> Process:
        environment = {
            "KAFKAHUB_KAFKA_GROUP": self._group,
            **{f"KAFKAHUB_{name.upper()}": value for name, value in settings.items()},
        }
        log = self._folder / f"process-{len(self.processes)}.log"
        self.processes.append(Process(command, log, environment))
        return self.processes[-1]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self.producer.close()


def own_environment() -> dict[str, str]:
    """Return this process's variables, with the database of the test."""
    settings = connection.settings_dict
    base = config.load().database_url.get_secret_value()
    url = base.rsplit("/", 1)[0] + "/" + str(settings["NAME"])
    return dict(os.environ) | {"KAFKAHUB_DATABASE_URL": url}


@pytest.fixture
def hub(
    transactional_db: None, tmp_path: Path, topic: MakeTopic, request: pytest.FixtureRequest
) -> Iterator[Hub]:
    """Return the product; its logs are shown when the test fails."""
    made = Hub(tmp_path, topic)
    try:
        yield made
    finally:
        made.close()
        for process in made.processes:
            sys.stdout.write(process.logged()[-4_000:])
