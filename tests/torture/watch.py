"""What the product's processes use, looked at once a second."""

import contextlib
import threading
from dataclasses import dataclass

import psutil

from tests.torture.run import Run

EVERY_S = 1.0
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Use:
    """Of all processes of the product together; ``rss_mib`` of the biggest one."""

    rss_mib: int
    files: int
    threads: int


class Watch:
    """Looks at the product until stopped.

    Runs   one thread
    Ends   ``stop``
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.rss_max_mib = 0
        self.last = Use(0, 0, 0)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.last = self._use()
            self.rss_max_mib = max(self.rss_max_mib, self.last.rss_mib)

    def _use(self) -> Use:
        rss, files, threads = 0, 0, 0
        for running in self._run.product.everything():
            for pid in (running.child.pid, *running.engines()):
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    rss = max(rss, process.memory_info().rss // MIB)
                    files += process.num_fds()
                    threads += process.num_threads()
        return Use(rss, files, threads)
