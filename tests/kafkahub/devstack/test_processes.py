"""Programs are started, watched and ended; nothing outlives the one who started it."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kafkahub.devstack.processes import Processes, Program

DEADLINE_S = 20.0
SLEEP = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); {SLEEP}"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{SLEEP}"])
print(child.pid, flush=True)
"""
"""Leaves a child behind."""

WRITES_ITS_TIER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("up")
signal.sigwait([signal.SIGTERM])
open({path!r}, "a").write("{tier}")
"""

OWNER = """
import os, sys
from pathlib import Path
from kafkahub.devstack.processes import Processes, Program
program = Program(name="s", argv=("sleep", "600"), env=os.environ, cwd=Path.cwd())
with Processes() as processes:
    print(processes.start(program).pid, flush=True)
    processes.first_ended(None)
"""
"""Runs the module under test as a program of its own, to be killed."""


def python(code: str, log: Path, *, name: str = "python", tier: int = 0) -> Program:
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    argv = (sys.executable, "-c", code)
    return Program(name=name, argv=argv, env=env, cwd=Path.cwd(), tier=tier, log=log)


class Watched:
    """A process that is not our child, seen through a descriptor."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def close(self) -> None:
        os.close(self._fd)

    def ends(self, deadline_s: float = DEADLINE_S) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(deadline_s * 1000))


def first_line(path: Path, of: Processes) -> str:
    """Wait for a line in the log of a program; the program ending first is a failure."""
    for _ in range(int(DEADLINE_S / 0.02)):
        line, end, _rest = path.read_text().partition("\n")
        if end:
            return line
        assert of.first_ended(wait_s=0.02) is None, f"ended, having said {path.read_text()!r}"
    pytest.fail(f"said nothing in {DEADLINE_S} s")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes() as running:
        yield running


def test_a_program_that_ends_is_seen_with_its_status(processes: Processes, log: Path) -> None:
    child = processes.start(python("raise SystemExit(7)", log))

    assert processes.first_ended(DEADLINE_S) is child
    assert child.finish(0) == 7


def test_what_was_ended_stays_so_whoever_gets_its_descriptor(
    processes: Processes, log: Path
) -> None:
    child = processes.start(python(SLEEP, log))
    number = child.fileno()
    child.finish(0)

    other = processes.start(python(SLEEP, log))

    assert other.fileno() == number
    assert child.has_ended()


def test_nobody_ends_while_all_run(processes: Processes, log: Path) -> None:
    processes.start(python(SLEEP, log))

    assert processes.first_ended(wait_s=0) is None


def test_output_and_errors_go_to_the_log(processes: Processes, log: Path) -> None:
    child = processes.start(python("import sys; print('a'); print('b', file=sys.stderr)", log))
    child.finish(DEADLINE_S)

    assert sorted(log.read_text().split()) == ["a", "b"]


def test_a_program_that_ignores_the_signal_is_killed(processes: Processes, log: Path) -> None:
    child = processes.start(python(STUBBORN, log))
    first_line(log, processes)

    child.ask_to_stop()

    assert child.finish(wait_s=0.1) == -signal.SIGKILL


def test_what_a_program_leaves_behind_is_killed(processes: Processes, log: Path) -> None:
    child = processes.start(python(PARENT, log))
    assert child.has_ended(DEADLINE_S)

    with closing(Watched(int(log.read_text()))) as orphan:
        assert not orphan.ends(deadline_s=0)
        child.finish(0)

        assert orphan.ends()


def test_higher_tiers_are_stopped_first(tmp_path: Path) -> None:
    order = tmp_path / "order"
    with Processes() as processes:
        for tier in (1, 3, 2):
            log = tmp_path / f"{tier}.log"
            log.touch()
            processes.start(
                python(WRITES_ITS_TIER.format(tier=tier, path=str(order)), log, tier=tier)
            )
            first_line(log, processes)

    assert order.read_text() == "321"


def test_a_second_stop_does_nothing(processes: Processes, log: Path) -> None:
    child = processes.start(python(SLEEP, log))
    processes.stop()

    assert child.finish(0) == -signal.SIGTERM
    processes.stop()


def test_children_end_when_we_are_killed_outright() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with closing(Watched(int(owner.stdout.readline()))) as child, owner:
        assert not child.ends(deadline_s=0)
        owner.kill()

        assert child.ends()
