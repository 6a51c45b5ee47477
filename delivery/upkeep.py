"""What an engine must write that is not an outcome: endpoints that are gone for good."""

import queue
import threading

import structlog
from django.db import DatabaseError, connection

from subscriptions.actions.endpoints import disable_gone_endpoint

RETRY_S = 1.0

log = structlog.get_logger()


class Upkeep:
    """Disables endpoints that answered 410.

    Runs   one thread, started by the engine
    Owns   Django's connection of its thread
    Takes  endpoint ids through ``gone``, which never waits
    Ends   ``stop``; what was not done is found again, for the record is owed and is sent again
    """

    def __init__(self) -> None:
        self._gone: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def gone(self, endpoint: str) -> None:
        """Take an endpoint that answered 410."""
        self._gone.put(endpoint)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()
        self._gone.put(None)

    def run(self) -> None:
        """Disable until stopped."""
        try:
            while (endpoint := self._gone.get()) is not None:
                self._disable(endpoint)
        finally:
            connection.close()

    def _disable(self, endpoint: str) -> None:
        while not self._stopping.is_set():
            try:
                disable_gone_endpoint(endpoint)
            except DatabaseError as error:
                log.warning("upkeep.interrupted", error=str(error))
                connection.close()
                self._stopping.wait(RETRY_S)
            else:
                return
