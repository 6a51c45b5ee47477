"""An engine in each prefork child of the Celery worker that consumes the queue ``delivery``."""

import ctypes
import os
import signal

import structlog
from celery import signals
from django.db import connections

from delivery.engine import Engine
from kafkahub import config
from kafkahub.observability import logs
from subscriptions.snapshot import SnapshotKeeper, listen_dsn, load
from subscriptions.usage import process_usage

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent dies."""
EXIT_FAILED = 70
"""sysexits.h, EX_SOFTWARE."""

log = structlog.get_logger()

_engine: Engine | None = None


def connect() -> None:
    """Let the children of this worker run engines; called where it consumes deliveries."""
    signals.worker_process_init.connect(start, weak=False)
    signals.worker_process_shutdown.connect(stop, weak=False)


def start(**_: object) -> None:
    """Start an engine in this child; returns at once."""
    global _engine  # noqa: PLW0603 - one engine a process, between two signals of Celery
    die_with_parent()
    connections.close_all()  # what was opened before the fork belongs to the parent
    settings = config.load()
    _engine = Engine(settings, SnapshotKeeper(load, listen_dsn()), end_process)
    process_usage().start()
    _engine.start()


def stop(**_: object) -> None:
    """Drain the engine of this child."""
    if _engine is not None:
        _engine.stop(config.load().delivery_drain_s)
        process_usage().stop()
    logs.flush()  # Celery ends its children without the interpreter's own end


def end_process(thread: str) -> None:
    """End this child at once; Celery starts a fresh one, which goes on from what is durable."""
    log.error("engine.ended", thread=thread)
    logs.flush()
    os._exit(EXIT_FAILED)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, so that no engine is orphaned."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() == 1:
        os._exit(EXIT_FAILED)  # the parent died before the kernel was asked
