"""Prometheus metrics: one way to declare them, one text to serve.

A metric is declared at the top of a ``metrics.py`` with a name, a sentence and its labels. The
name gets the prefix, must be plain words with the unit last, and is listed for the reference.

A worker is one parent and many prefork children. Each process writes its values to a file of its
own in a shared folder, and the parent serves their sum. A counter of a dead child stays in the
sum, so it never falls; a gauge of a dead child goes with it.
"""

import atexit
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

from kafkahub import config

PREFIX = "kafkahub_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the shared folder; read by prometheus_client, inherited by child processes."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Buckets for durations: the budgets of 10 and 50 ms are edges, the longest timeout is inside."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PID = re.compile(r"_(\d+)\.db$")

Across = Literal["sum", "max", "min"]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric as the reference shows it; ``name`` is the full name of its series."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    sentence: str
    labels: tuple[str, ...]


_declared: dict[str, Declared] = {}


def counter(name: str, sentence: str, labels: Sequence[str] = ()) -> Counter:
    """Declare a counter; its name ends in ``_total``."""
    full = _declare(name, "counter", sentence, labels)
    return Counter(full.removesuffix("_total"), sentence, labels)


def gauge(name: str, sentence: str, labels: Sequence[str] = (), across: Across = "sum") -> Gauge:
    """Declare a gauge; ``across`` says how the values of living processes become one."""
    full = _declare(name, "gauge", sentence, labels)
    mode: Literal["livesum", "livemax", "livemin"] = f"live{across}"  # type: ignore[assignment]  # an f-string of literals is a str to mypy
    return Gauge(full, sentence, labels, multiprocess_mode=mode)


def histogram(
    name: str, sentence: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
) -> Histogram:
    """Declare a histogram; its name ends in its unit."""
    full = _declare(name, "histogram", sentence, labels)
    return Histogram(full, sentence, labels, buckets=buckets)


def declared() -> list[Declared]:
    """Return every metric declared in this process, by name."""
    return [_declared[name] for name in sorted(_declared)]


def text() -> bytes:
    """Return the exposition of this process, or the sum over the processes that share a folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        return generate_latest(REGISTRY)
    _forget_gauges_of_the_dead(Path(folder))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    return generate_latest(registry)


def share(environment: dict[str, str] | os._Environ[str] = os.environ) -> None:
    """Make a shared folder for this process and the children it is going to have.

    Must come before the first metric is declared: a metric keeps the place it was made with.
    Does nothing where a parent has made the folder already.
    """
    if FOLDER_VARIABLE in environment:
        return
    folder = tempfile.mkdtemp(prefix="kafkahub-metrics-")
    environment[FOLDER_VARIABLE] = folder
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    atexit.register(_remove, folder, os.getpid())


def _declare(
    name: str,
    kind: Literal["counter", "gauge", "histogram"],
    sentence: str,
    labels: Sequence[str],
) -> str:
    _choose_place()
    if not _NAME.fullmatch(name) or name.startswith(PREFIX):
        raise ValueError(f"{name!r}: lower-case words joined by _, without the prefix")
    if (kind == "counter") != name.endswith("_total"):
        raise ValueError(f"{name!r}: a counter ends in _total, and nothing else does")
    if kind == "histogram" and not name.endswith(("_seconds", "_bytes", "_records")):
        raise ValueError(f"{name!r}: a histogram ends in its unit")
    if not sentence.endswith("."):
        raise ValueError(f"{name!r}: its help is a sentence")
    full = PREFIX + name
    _declared[full] = Declared(full, kind, sentence, tuple(labels))
    return full


@functools.cache
def _choose_place() -> None:
    """Share from the first declaration on where this process is a worker that serves a port."""
    if config.load().metrics_port:
        share()


def _forget_gauges_of_the_dead(folder: Path) -> None:
    pids = {int(found.group(1)) for path in folder.iterdir() if (found := _PID.search(path.name))}
    for pid in pids:
        if not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]  # the library leaves it untyped


def _remove(folder: str, maker: int) -> None:
    # A forked child that leaves through sys.exit must not take the folder from its parent.
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)
