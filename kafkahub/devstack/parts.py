"""A part: a service the product stands on, found by one rule."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kafkahub.devstack.processes import Child, Program, StartFailed
from kafkahub.devstack.terminal import last_lines, say

READY_DEADLINE_S = 60.0
"""Longest wait for a part to answer; a cold Java on a busy machine takes a fifth of it."""

POLL_S = 0.05

APT_INSTALL = ("apt-get", "install", "-qq", "-y", "--no-install-recommends")


@dataclass(frozen=True, slots=True)
class Part:
    """One service.

    label    what the terminal says about it: "PostgreSQL 15 (installed)"
    program  what to start; None when the environment names a running one
    address  its URL once it answers, None until then
    """

    label: str
    program: Program | None
    address: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a stack lives.

    folder    data of the parts
    logs      what they print
    env       variables of this process; a part that is named there is not started
    lasting   False for a stack of one test run: ports are random and nothing is kept safe
    """

    folder: Path
    logs: Path
    env: Mapping[str, str]
    lasting: bool

    @property
    def base_env(self) -> dict[str, str]:
        """Return the variables a part's own program gets: none of the product's."""
        return {k: v for k, v in self.env.items() if not k.startswith("KAFKAHUB_")}


def wait_for(part: Part, child: Child | None) -> str:
    """Return the part's address as soon as it answers.

    Raises StartFailed with the end of its log when it stops or never answers.
    """
    deadline = time.monotonic() + READY_DEADLINE_S
    while True:
        address = part.address()
        if address is not None:
            return address
        if child is None:
            raise StartFailed(f"{part.label} does not answer. Start it, or unset its variable.")
        ended = child.has_ended(wait_s=POLL_S)
        if ended or time.monotonic() > deadline:
            log = child.program.log or Path(os.devnull)
            fault = "stopped at once" if ended else f"gives no answer in {READY_DEADLINE_S:.0f} s"
            raise StartFailed(f"{part.label} {fault}. The end of {log}:\n{last_lines(log)}")


def can_install() -> bool:
    """Say whether missing packages may be installed: as root on Debian or a child of it."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> bool:
    """Install Debian packages and say whether that worked."""
    say(f"  installing {' '.join(packages)} with apt-get …")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A package list that cannot be refreshed may still be good enough to install from.
    for command in (["apt-get", "update", "-qq"], [*APT_INSTALL, *packages]):
        done = subprocess.run(command, check=False, env=env, stdin=subprocess.DEVNULL)
    return done.returncode == 0
