"""One command on parts of its own, which nobody else uses and nothing of which remains."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from kafkahub.devstack import material, stack
from kafkahub.devstack.accounts import unprivileged
from kafkahub.devstack.parts import Site
from kafkahub.devstack.processes import Child, Processes, Program, StartFailed
from kafkahub.devstack.terminal import last_lines, say

KEPT = ("KAFKAHUB_REQUIRE_PARTS",)
"""Variables with the product's prefix that say how to test and not what to test against."""

HOOKS = {"KAFKAHUB_TEST_HOOKS": "true"}

CHECK_DEADLINE_S = 600.0
"""Longest time that one check may take; a hanging one is killed."""


def run(command: Sequence[str]) -> int:
    """Run a command against fresh parts on free ports and return its exit status.

    What the environment names is not used: a test run wipes, kills and floods what it stands on.
    Raises StartFailed when a part cannot be had, or stops before the command does.
    """
    with TemporaryDirectory(prefix="kafkahub-", dir=room()) as name, Processes() as processes:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as somebody else, who has to pass through
        env = {k: v for k, v in os.environ.items() if not k.startswith("KAFKAHUB_") or k in KEPT}
        settings = _start_parts(processes, Site(folder / "var", folder / "log", env, lasting=False))
        program = Program(
            name="command",
            argv=command,
            env={**env, **settings, **HOOKS, "PATH": _path(env)},
            cwd=Path.cwd(),
            tier=1,
        )
        status = _finish(processes, processes.start(program))
    return status if status >= 0 else 128 - status


def with_made_up_settings(command: Sequence[str]) -> int:
    """Run a command under production settings with keys made up for it, without any part.

    For checks that read settings but use nothing that they name. Returns the exit status.
    """
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("KAFKAHUB_")},
        **material.variables(material.make()),
        "KAFKAHUB_ENVIRONMENT": "production",
        "KAFKAHUB_BASE_URL": "https://hub.example",
        "KAFKAHUB_DATABASE_URL": "postgresql://kafkahub:made-up@127.0.0.1:9/kafkahub",
        "KAFKAHUB_KAFKA_BOOTSTRAP": "127.0.0.1:9",
        "KAFKAHUB_REDIS_URL": "redis://127.0.0.1:9/0",
    }
    with Processes() as processes:
        program = Program(
            name="command", argv=command, env={**env, "PATH": _path(env)}, cwd=Path.cwd()
        )
        status = processes.start(program).finish(wait_s=CHECK_DEADLINE_S)
    return status if status >= 0 else 128 - status


def _start_parts(processes: Processes, site: Site) -> dict[str, str]:
    """Start the parts and return the settings of a product on them."""
    say("starting PostgreSQL, Redis and Kafka for this run …")
    keys = material.make()
    parts = stack.start(processes, site, keys)
    say(f"{' · '.join(parts.labels)}\n")
    return stack.settings(parts, keys, "test")


def _finish(processes: Processes, command: Child) -> int:
    """Wait for the command and return its status.

    Raises StartFailed when a part ends before it.
    """
    ended = processes.first_ended(wait_s=None)
    if ended is not None and ended is not command:
        log = ended.program.log or Path(os.devnull)
        text = f"The part {ended.program.name!r} stopped during the run:\n{last_lines(log)}"
        raise StartFailed(text)
    return command.finish(0)


def room() -> str:
    """Return where temporary folders go that PostgreSQL's account can reach."""
    account = unprivileged()
    usual = gettempdir()
    return usual if account is None or account.can_enter(Path(usual)) else "/var/tmp"  # noqa: S108 - the folder made there has a random name


def _path(env: dict[str, str]) -> str:
    """Return a search path on which the programs of our own ``.venv`` come first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
