"""Counters in memory that are written every so often."""

import threading
from collections.abc import Callable

import structlog
from django.db import connection

STOP_S = 10.0

log = structlog.get_logger()


class Flusher:
    """Writes what was counted, again and again.

    Runs   one thread between ``start`` and ``stop``, which calls ``flush``
    Ends   ``stop``, after ``flush`` was called once more
    """

    def __init__(self, name: str, every_s: float, flush: Callable[[], None]) -> None:
        self._every_s = every_s
        self._flush = flush
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; call it after any fork."""
        self._thread.start()

    def stop(self) -> None:
        """End, within some seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._once()
        self._once()

    def _once(self) -> None:
        try:
            self._flush()
        except Exception:  # outermost loop of the thread: counting must go on
            log.exception("counters.flush_failed", counters=self._thread.name)
        finally:
            connection.close()  # idle between writes, it would hold a process of the server
