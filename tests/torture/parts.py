"""The stores of a run: PostgreSQL, Redis and a real Kafka, each behind a proxy that can fail."""

import os
import signal as signals
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from kafkahub.devstack import kafka, material, ports, postgres, redis, stack
from kafkahub.devstack.parts import Part, Site, wait_for
from kafkahub.devstack.processes import Child, Processes, Program, StartFailed
from tests.torture import orders

ROOT = Path(__file__).resolve().parents[2]
PART, HARNESS, PRODUCT = range(3)
"""Tiers: what stands on something is stopped before it."""
START_S = 30.0
MIGRATE_S = 120.0
POLL_S = 0.02


class Parts:
    """The three stores and the proxies between them and the product.

    Owns   their processes, each in a session of its own, on free ports, in one folder
    Ends   with the ``Processes`` that it was given

    env     settings of a product that sees the stores through the proxies
    direct  addresses past the proxies, for the harness itself
    """

    def __init__(self, processes: Processes, folder: Path) -> None:
        self._processes = processes
        self._folder = folder
        self._parts: dict[str, Part] = {}
        self._children: dict[str, Child] = {}
        self._control = ports.spare()
        self.env: dict[str, str] = {}
        self.direct: dict[str, str] = {}
        self.is_real_kafka = True

    def start(self) -> None:
        """Start everything and return when all of it answers. Raises StartFailed."""
        keys = material.make()
        env = {name: text for name, text in os.environ.items() if not name.startswith("KAFKAHUB_")}
        site = Site(self._folder / "parts", self._folder / "log", env, lasting=False)
        for folder in (site.folder, site.logs):
            folder.mkdir(parents=True, exist_ok=True)
        password = keys["part_password"]
        broker, kind = kafka.part(site)
        self.is_real_kafka = kind == "apache"
        doors = {"postgres": ports.spare(), "redis": ports.spare(), "kafka": ports.spare()}
        targets = {}
        if self.is_real_kafka:
            targets["kafka"] = _second_listener(broker, doors["kafka"])
        self._parts = {
            "postgres": postgres.part(site, password),
            "redis": redis.part(site, password),
            "kafka": broker,
        }
        for name in self._parts:
            self._launch(name)
        for name, part in self._parts.items():
            self.direct[name] = wait_for(part, self._children[name])
            targets.setdefault(name, _port(self.direct[name]))
        self._start_proxies(doors, targets, env)
        self.env = self._settings(doors, keys)
        self._migrate()

    def _migrate(self) -> None:
        """Make the product's tables once; each trial's database is a copy of this one."""
        program = Program(
            name="migrate",
            argv=(sys.executable, "manage.py", "migrate", "-v", "0"),
            env=self.env,
            cwd=ROOT,
            tier=HARNESS,
            log=self._folder / "log" / "migrate.log",
        )
        if self._processes.start(program).finish(MIGRATE_S) != 0:
            raise StartFailed((self._folder / "log" / "migrate.log").read_text(encoding="utf-8"))

    def end(self, name: str, number: signals.Signals = signals.SIGKILL) -> None:
        """End one store by a signal to its own process and wait until it has gone."""
        child = self._children[name]
        os.kill(child.pid, number)
        child.finish(START_S)

    def launch_again(self, name: str) -> None:
        """Start an ended store on its old port with its old data; returns at once."""
        self._launch(name)

    def proxy(self, name: str, mode: str, **amount: float) -> None:
        """Change what the proxy of a store does with its connections."""
        orders.give(self._control, proxy=name, mode=mode, **amount)

    def _launch(self, name: str) -> None:
        program = self._parts[name].program
        if program is None:
            raise StartFailed(f"a run needs a {name} of its own")
        self._children[name] = self._processes.start(program)

    def _start_proxies(
        self, doors: Mapping[str, int], targets: Mapping[str, int], env: Mapping[str, str]
    ) -> None:
        pairs = [f"{name}:{port}:{targets[name]}" for name, port in doors.items()]
        command = (sys.executable, "-m", "tests.torture.fault_proxy", str(self._control), *pairs)
        program = Program(
            name="proxies",
            argv=command,
            env=env,
            cwd=ROOT,
            tier=HARNESS,
            log=self._folder / "log" / "proxies.log",
        )
        self._processes.start(program)
        wait_for_port(self._control)

    def _settings(self, doors: Mapping[str, int], keys: Mapping[str, str]) -> dict[str, str]:
        """Return the product's variables, the stores' addresses those of the proxies."""
        through = {
            name: self.direct[name].replace(str(_port(self.direct[name])), str(door))
            for name, door in doors.items()
        }
        seen = stack.Stack(
            database_url=through["postgres"],
            redis_url=through["redis"],
            bootstrap=through["kafka"],
            kafka="apache" if self.is_real_kafka else "memory",
            labels=(),
        )
        hooks = {"KAFKAHUB_TEST_HOOKS": "true"}
        return {**stack.settings(seen, keys, "test"), **hooks}


def wait_for_port(port: int) -> None:
    """Return when somebody listens there. Raises StartFailed when nobody does in time."""
    until = time.monotonic() + START_S
    while not ports.accepts(port):
        if time.monotonic() > until:
            raise StartFailed(f"nothing listens on port {port}")
        time.sleep(POLL_S)


def _second_listener(broker: Part, door: int) -> int:
    """Give the broker a listener whose clients are sent to the proxy; return its port.

    A client follows the address that the broker tells of itself, so a proxy before the first
    listener would be left behind with the first answer.
    """
    if broker.program is None:
        raise StartFailed("a run needs a Kafka of its own")
    path = Path(broker.program.argv[-1])
    port = ports.spare()
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name = line.partition("=")[0]
        if name == "listeners":
            line += f",PROXIED://{ports.LOOPBACK}:{port}"  # noqa: PLW2901 - the line itself grows
        elif name == "advertised.listeners":
            line += f",PROXIED://{ports.LOOPBACK}:{door}"  # noqa: PLW2901
        elif name == "listener.security.protocol.map":
            line += ",PROXIED:PLAINTEXT"  # noqa: PLW2901
        lines.append(line)
    lines.append("inter.broker.listener.name=PLAINTEXT")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return port


def _port(address: str) -> int:
    """Return the port of a URL or of ``host:port``."""
    found = urlsplit(address if "://" in address else f"//{address}").port
    if found is None:
        raise StartFailed(f"{address} has no port")
    return found
