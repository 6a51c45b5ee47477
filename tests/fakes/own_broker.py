"""A real broker of a test's own, which it may stop."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafkahub.config import Config
from kafkahub.devstack import kafka
from kafkahub.devstack.parts import Site, wait_for
from kafkahub.devstack.processes import Processes


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is; it stands still between ``stop`` and ``go_on``, as a machine that swaps."""

    bootstrap: str
    pid: int

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def settings(self, usual: Config) -> Config:
        """Return settings that name this broker."""
        return usual.model_copy(update={"kafka_bootstrap": self.bootstrap})


@contextmanager
def own_broker(folder: Path, env: Mapping[str, str]) -> Iterator[Broker]:
    """Run a broker; ``env`` names none."""
    site = Site(folder / "parts", folder / "log", dict(env), lasting=False)
    for each in (site.folder, site.logs):
        each.mkdir(parents=True, exist_ok=True)
    part, kind = kafka.part(site)
    assert kind == "apache"
    assert part.program is not None
    processes = Processes()
    child = processes.start(part.program)
    try:
        yield Broker(wait_for(part, child), child.pid)
    finally:
        os.kill(child.pid, signal.SIGCONT)  # one that stands still does not end when it is asked
        processes.stop()
