"""Start programs, watch them, stop all of them in order and leave nothing behind."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kafkahub.devstack.accounts import Account, PopenArguments

PR_SET_PDEATHSIG = 1
"""``prctl`` option: the signal the kernel sends a process when the thread that made it ends."""

STOP_DEADLINE_S = 30.0
"""Longest wait for a program to stop by itself; an engine drains for up to 25 s."""


class StartFailed(Exception):
    """Something cannot be started; the text says what happened and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run and how to end it.

    tier         programs of a higher tier are stopped before those of a lower one
    account      who runs it; None: whoever runs us
    log          where its output goes; None: to our own terminal
    stop_signal  what asks it to stop
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    tier: int = 0
    account: Account | None = None
    log: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM


class Child:
    """A running program.

    Runs   in a session of its own, so that Ctrl-C reaches only us and its whole group can be ended
    Owns   its process group and a descriptor of the process
    Ends   ``finish``; or by the kernel's signal when we are killed
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process = _spawn(program)
        self._fd = os.pidfd_open(self._process.pid)
        self._status: int | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        """Return a descriptor that is readable once the program has ended."""
        return self._fd

    def has_ended(self, wait_s: float = 0.0) -> bool:
        """Say whether the program has ended, waiting for it at most ``wait_s`` seconds."""
        if self._status is not None:
            return True  # its descriptor is closed, and the number may be another's by now
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(wait_s * 1000))

    def ask_to_stop(self) -> None:
        if self._status is None and not self.has_ended():
            self._process.send_signal(self.program.stop_signal)

    def finish(self, wait_s: float) -> int:
        """Wait for the end, by force after ``wait_s`` seconds, and return the exit status.

        What its group left behind is killed before the process is reaped: until then its
        number, which is the group's, cannot belong to anybody else.
        """
        if self._status is not None:
            return self._status
        self.has_ended(wait_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._status = self._process.wait()
        os.close(self._fd)
        return self._status


class Processes:
    """All programs of one stack.

    Runs   in the main thread: the kernel ties a child to the thread that made it
    Ends   leaving the ``with`` block stops everything, highest tier first
    """

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self, program: Program) -> Child:
        child = Child(program)
        self._children.append(child)
        return child

    def pids(self) -> dict[str, int]:
        return {child.program.name: child.pid for child in self._children}

    def first_ended(self, wait_s: float | None) -> Child | None:
        """Return a program that has ended; None when none does within ``wait_s`` seconds.

        With ``wait_s`` None it waits for ever.
        """
        by_fd = {child.fileno(): child for child in self._children}
        poll = select.poll()
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        ended = poll.poll(None if wait_s is None else wait_s * 1000)
        return by_fd[ended[0][0]] if ended else None

    def stop(self) -> None:
        for tier in sorted({child.program.tier for child in self._children}, reverse=True):
            self._stop_tier([child for child in self._children if child.program.tier == tier])
        self._children = []

    def _stop_tier(self, children: Iterable[Child]) -> None:
        deadline = time.monotonic() + STOP_DEADLINE_S
        children = list(children)
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.finish(max(0.0, deadline - time.monotonic()))


def _spawn(program: Program) -> "subprocess.Popen[bytes]":
    account = program.account
    identity: PopenArguments = {} if account is None else account.popen_arguments()
    with contextlib.ExitStack() as files:
        output = files.enter_context(program.log.open("ab")) if program.log else None
        return subprocess.Popen(
            program.argv,
            env=program.env,
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid(), program.stop_signal),  # noqa: PLW1509 - we have one thread
            **identity,
        )


def _die_with(parent: int, signal_number: int) -> Callable[[], None]:
    """Return what a child does before it becomes its program: tie its life to ours."""
    libc = ctypes.CDLL(None, use_errno=True)

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # we died between the fork and the line above
            os._exit(1)

    return tie
