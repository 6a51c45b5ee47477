"""A command runs on parts of its own, and leaves none of them."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest

from kafkahub.devstack import ports, postgres
from kafkahub.devstack.parts import Site, wait_for
from kafkahub.devstack.processes import StartFailed

ROOT = Path(__file__).resolve().parents[3]
DEVSTACK = (sys.executable, "-m", "kafkahub.devstack")
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"
NAMED = {
    "KAFKAHUB_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/never",
    "KAFKAHUB_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "KAFKAHUB_REDIS_URL": "redis://127.0.0.1:1/0",
}
START_DEADLINE_S = 110
END_DEADLINE_MS = 20_000


def devstack(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DEVSTACK, *arguments],
        check=False,
        cwd=ROOT,
        env={**os.environ, **NAMED},
        capture_output=True,
        text=True,
        timeout=START_DEADLINE_S,
    )


def addresses(env: dict[str, str]) -> list[int]:
    """Return the ports of the three parts that a run got."""
    kafka = env["KAFKAHUB_KAFKA_BOOTSTRAP"].rpartition(":")[2]
    urls = (env["KAFKAHUB_DATABASE_URL"], env["KAFKAHUB_REDIS_URL"])
    return [int(kafka), *(urlsplit(url).port or 0 for url in urls)]


def test_a_run_gets_parts_of_its_own_and_nothing_of_them_remains() -> None:
    done = devstack("run", "--", sys.executable, "-c", f"{SHOW}; raise SystemExit(3)")

    assert done.returncode == 3, done.stderr
    env = json.loads(done.stdout)
    assert not set(NAMED.values()) & set(env.values())
    assert [port for port in addresses(env) if not ports.is_free(port)] == []


def test_a_run_that_is_killed_outright_takes_its_parts_along() -> None:
    wait = (sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)")
    with (
        TemporaryDirectory() as folder,  # killed, it cannot remove its own
        subprocess.Popen(
            [*DEVSTACK, "run", "--", *wait],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as run,
    ):
        Path(folder).chmod(0o711)
        assert run.stdout is not None
        run.stdout.readline()
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        descriptors = [os.pidfd_open(int(child)) for child in children]
        run.kill()

        assert len(children) == 4, "three parts and the command"
        assert [fd for fd in descriptors if not has_ended(fd)] == []


def test_a_part_that_is_missing_is_named_with_its_cure(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path), **NAMED}

    with pytest.raises(StartFailed, match=r"PostgreSQL.*unset its variable"):
        wait_for(postgres.part(Site(tmp_path, tmp_path, env, lasting=True), "unused"), None)


def test_checks_run_under_settings_of_production() -> None:
    done = devstack("settings", "--", sys.executable, "-c", SHOW)

    env = json.loads(done.stdout)
    assert env["KAFKAHUB_ENVIRONMENT"] == "production"
    assert not set(NAMED.values()) & set(env.values())


def has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(END_DEADLINE_MS))
