"""Drives ``listeners.c``: thousands of open streams in a process of their own."""

import json
import resource
import subprocess
import time
from pathlib import Path
from typing import Any, Self

POLL_S = 0.1
SPARE_FILES = 600
"""Descriptors a web process keeps for other things; see the limits of streams."""

HERE = Path(__file__).resolve().parent

Report = dict[str, Any]


def build(folder: Path) -> Path:
    """Compile the client into a folder; return the program."""
    program = folder / "listeners"
    sources = [str(HERE / name) for name in ("listeners.c", "answers.c")]
    subprocess.run(["cc", "-O2", "-o", str(program), *sources], check=True)
    return program


def raise_file_limit() -> int:
    """Let this process and its children open as many files as they may; return how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Listeners:
    """Streams of one URL, each checked record by record; use as a context manager.

    path     of the request, with its query
    headers  of the request, one line each
    """

    def __init__(self, program: Path, port: int, path: str, *headers: str) -> None:
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream", *headers]
        self._process = subprocess.Popen(
            [str(program), "127.0.0.1", str(port), "\r\n".join(lines)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def open(self, count: int, per_second: float) -> Report:
        return self._tell(f"open {count} {per_second}")

    def cut(self) -> Report:
        """Reset all connections at once."""
        return self._tell("cut")

    def come_back(self, per_second: float) -> Report:
        """Connect whatever was cut again, with the last id that it saw."""
        return self._tell(f"back {per_second}")

    def stall(self, count: int) -> Report:
        """Read nothing more from the last ``count`` streams."""
        return self._tell(f"stall {count}")

    def reset(self) -> Report:
        """Begin all counters anew."""
        return self._tell("reset")

    def report(self) -> Report:
        return self._tell("report")

    def wait_live(self, count: int, deadline_s: float = 60) -> Report:
        """Return once so many streams have got their first heartbeat, or when the time is up."""
        return self._wait("live", count, deadline_s)

    def wait_records(self, each: int, deadline_s: float = 60) -> Report:
        """Return once every stream has so many records, or when the time is up."""
        return self._wait("least", each, deadline_s)

    def _wait(self, name: str, least: int, deadline_s: float) -> Report:
        until = time.monotonic() + deadline_s
        report = self.report()
        while report[name] < least and time.monotonic() < until:
            time.sleep(POLL_S)  # a look at another process, which gives no signal
            report = self.report()
        return report

    def _tell(self, command: str) -> Report:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        report: Report = json.loads(self._process.stdout.readline())
        return report
