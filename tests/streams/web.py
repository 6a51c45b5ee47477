"""The web process as operators start it, on one port through any number of restarts."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection  # noqa: TID251 - a test asks a server of ours
from pathlib import Path
from typing import Any

from django.db import connection

from kafkahub import config
from kafkahub.kafka.options import producer_options
from kafkahub.kafka.producer import Producer
from kafkahub.limits.policies import POLICIES
from subscriptions.authentication.chain import access_version
from subscriptions.models import Partner, Plan
from tests import factories
from tests.api import Caller
from tests.conftest import MakeTopic

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
LOOK_S = 0.05


def wait_for(
    holds: Callable[[], object], seen: Callable[[], object], deadline_s: float = DEADLINE_S
) -> None:
    """Wait for a condition of another process; when the time is up, say what was seen instead."""
    until = time.monotonic() + deadline_s
    between = threading.Event()
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline_s} s; seen: {seen()}")
        between.wait(LOOK_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Web:
    """One web process; ``settings`` are ours, without their prefix."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    _begun: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> Path:
        return self.folder / "web.log"

    def start(self) -> None:
        """Start it, and return once it is ready."""
        self.launch()
        wait_for(self._is_up, lambda: self.log.read_text()[-3_000:])

    def launch(self) -> None:
        """Start it, and return at once."""
        command = [sys.executable, "manage.py", "runweb", "--port", str(self.port)]
        with self.log.open("ab") as out:
            self._begun = out.tell()
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def stop(self) -> int:
        """End it as a deployment does; return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    @contextlib.contextmanager
    def changed(self, **settings: str) -> Iterator[None]:
        """Run it with other settings, then with its own again."""
        usual = self.settings
        self.kill()
        try:
            self.settings = {**usual, **settings}
            self.start()
            yield
        finally:
            self.kill()
            self.settings = usual
            self.start()

    def kill(self) -> None:
        """End it as a lost machine does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)

    def settle(self) -> None:
        """Wait until it has seen every change of rights so far."""
        version = f'"version":{access_version()},'
        wait_for(lambda: version in self.told(), lambda: version)

    def told(self) -> str:
        """Return what it has logged since its last start."""
        return self.log.read_bytes()[self._begun :].decode()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Return status and body of a short answer."""
        asking = HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(asking):
            asking.request("GET", path, headers=headers)
            answer = asking.getresponse()
            return answer.status, answer.read()

    def _is_up(self) -> bool:
        try:
            return self.get("/livez")[0] == 200
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        database = connection.settings_dict
        base = config.load().database_url.get_secret_value()
        wanted = {
            "base_url": self.url,
            "database_url": base.rsplit("/", 1)[0] + "/" + str(database["NAME"]),
            **self.settings,
        }
        return {**os.environ, **{f"KAFKAHUB_{name.upper()}": text for name, text in wanted.items()}}


@dataclass
class Stage:
    """A web process, a topic that alice may read, and who writes to it."""

    web: Web
    alice: Caller
    topic: str
    producer: Producer
    written: int = 0

    def write(self, count: int) -> None:
        """Write ``count`` records, numbered on from the last ones, and wait until Kafka has them.

        They have one key, so their order is one of one partition.
        """
        numbers = range(self.written, self.written + count)
        futures = [
            self.producer.produce(self.topic, b'{"n":%d}' % number, b"key") for number in numbers
        ]
        self.producer.flush(30)
        for future in futures:
            future.result(0)
        self.written += count

    def close(self, stream: str, action: str = "stop") -> None:
        """Close a stream by the control API, once it is listed there."""
        wait_for(
            lambda: self.alice.delete(f"/streams/{stream}?action={action}").status_code == 202,
            lambda: self.alice.get("/streams").content,
        )

    def path(self, **wishes: Any) -> str:
        """Return the path of the topic's stream with a fresh ticket."""
        _, text = factories.ticket(self.alice, topics=(self.topic,), **wishes)
        return f"/streams/{self.topic}?ticket={text}"


def wide_plan(name: str) -> Plan:
    """Return a plan that no test meets a limit of; all tests come from one address."""
    many = {"open-streams": {"burst": 100_000}}
    wide = {policy: {"per_s": 1_000_000, "burst": 1_000_000} for policy in POLICIES}
    return Plan.objects.create(
        name=name, rules={"key": many | wide, "partner": many, "address": many}
    )


@contextlib.contextmanager
def running(folder: Path, **settings: str) -> Iterator[Web]:
    """Yield a web process; tests may restart it, but leave it running."""
    web = Web(folder, settings)
    try:
        web.start()
        yield web
    finally:
        web.kill()


@contextlib.contextmanager
def staged(web: Web, make_topic: MakeTopic) -> Iterator[Stage]:
    """Yield a stage with a topic and partner of its own; the log is shown when the test fails."""
    before = web.log.stat().st_size
    topic = make_topic(partitions=1)
    owner = Partner.objects.create(name=topic, plan=wide_plan(topic))
    factories.topic(topic)
    factories.grant(owner, topic)
    alice = factories.caller(owner, "alice")
    web.settle()
    producer = Producer(producer_options(config.load()))
    yield Stage(web, alice, topic, producer)
    producer.close()
    # A load of the snapshot and the emptying of all tables would lock each other out.
    web.settle()
    with web.log.open("rb") as log:
        log.seek(before)
        sys.stdout.write(log.read().decode()[-4_000:])
