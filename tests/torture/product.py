"""The product's processes in a run: started, killed, watched; each in a session of its own."""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

from kafkahub.devstack import ports
from kafkahub.devstack.processes import Child, Processes, Program
from tests.torture.parts import PRODUCT, ROOT

WORKER = ("-m", "celery", "-A", "kafkahub", "worker", "-l", "warning", "-P", "prefork")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-O", "fair")
STARTED = "engine.started"
KILL_S = 10.0


@dataclass(slots=True)
class Running:
    """One process of ours with its children.

    port  where it answers: ``/readyz`` of a worker, everything of the web process
    """

    role: str
    child: Child
    log: Path
    port: int

    @property
    def is_alive(self) -> bool:
        return not self.child.has_ended()

    def engines(self) -> list[int]:
        """Return the process ids of its children: of a worker that delivers, its engines."""
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(self.child.pid).children(recursive=True)
            return [one.pid for one in children if one.status() != psutil.STATUS_ZOMBIE]
        return []

    def kill(self) -> None:
        """Kill its whole group, as if the machine had lost it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.finish(KILL_S)

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def has_engine(self) -> bool:
        """Whether an engine of it has ever come up."""
        return STARTED in self.logged()


class Product:
    """Starts processes of the product on one set of stores.

    workers  those that deliver, in the order of their start
    control  None while a fault keeps it away; so what else restarts processes leaves it alone
    """

    def __init__(
        self, processes: Processes, folder: Path, env: Mapping[str, str], planted: str = ""
    ) -> None:
        self._processes = processes
        self._folder = folder
        self._env = env
        self._planted = planted
        self._numbers = count()
        self.workers: list[Running] = []
        self.web: Running | None = None
        self.control: Running | None = None

    def everything(self) -> list[Running]:
        """Return all that runs."""
        others = [one for one in (self.web, self.control) if one is not None]
        return [one for one in (*self.workers, *others) if one.is_alive]

    def start_worker(self, failpoints: str = "") -> Running:
        """Start a worker with one engine; ``failpoints`` are sprung in it only."""
        options = ("-Q", "delivery", "-c", "1", "-n", f"deliver{next(self._numbers)}@%h", *QUIET)
        env = {"KAFKAHUB_FAILPOINTS": failpoints} if failpoints else {}
        command = (*self._interpreter(), *WORKER[2:], *options)
        running = self._start("deliver", command, env)
        self.workers.append(running)
        return running

    def start_control(self) -> None:
        """Start the jobs and beat, of which there is one at a time."""
        if self.control is not None and self.control.is_alive:
            return
        beat = ("-B", "-s", str(self._folder / "beat"))
        name = f"control{next(self._numbers)}@%h"
        options = ("-Q", "control", "-c", "1", "-n", name, *beat, *QUIET)
        self.control = self._start("control", (sys.executable, *WORKER, *options), {})

    def kill_control(self) -> None:
        """Kill the jobs and beat, and forget them: they stay away until started again."""
        if self.control is not None:
            self.control.kill()
        self.control = None

    def start_web(self) -> None:
        """Start the web process, on the port of the one before it, if there was one."""
        port = self.web.port if self.web is not None else ports.spare()
        command = (sys.executable, "manage.py", "runweb", "--port", str(port))
        self.web = self._start("web", command, {}, port)

    def restart_others(self) -> None:
        """Start again what has died beside the workers; what was taken away stays away."""
        if self.web is not None and not self.web.is_alive:
            self.start_web()
        if self.control is not None and not self.control.is_alive:
            self.start_control()

    def stop_worker(self, worker: Running) -> None:
        """Forget a worker that has ended or shall not be restarted."""
        self.workers.remove(worker)

    def _interpreter(self) -> tuple[str, ...]:
        """Return what runs Celery: with a bug planted in it, or as it is."""
        if self._planted:
            return (sys.executable, "-m", "tests.torture.planted", self._planted)
        return (sys.executable, *WORKER[:2])

    def _start(
        self, role: str, command: tuple[str, ...], env: Mapping[str, str], port: int = 0
    ) -> Running:
        log = self._folder / f"{role}-{next(self._numbers)}.log"
        port = port or ports.spare()
        variables = {**self._env, **env, "PYTHONUNBUFFERED": "1"}
        if role != "web":
            variables["KAFKAHUB_METRICS_PORT"] = str(port)
        program = Program(name=role, argv=command, env=variables, cwd=ROOT, tier=PRODUCT, log=log)
        return Running(role, self._processes.start(program), log, port)
