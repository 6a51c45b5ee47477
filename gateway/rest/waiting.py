"""Requests that wait: how many of a partner may, and whether somebody still waits for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.rest.call import Call
from kafkahub.errors import QuotaExceeded

RETRY_S = 1


class Waiting:
    """Counts reads that wait, by partner; lives on the event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, int] = {}

    @asynccontextmanager
    async def place(self, partner: str) -> AsyncIterator[None]:
        """Hold a place while the block runs. Raises QuotaExceeded."""
        count = self._counts.get(partner, 0)
        if count >= self._most:
            text = f"A partner may have {self._most} reads that wait in a process."
            raise QuotaExceeded(text, retry_after_s=RETRY_S)
        self._counts[partner] = count + 1
        try:
            yield
        finally:
            self._counts[partner] -= 1
            if not self._counts[partner]:
                del self._counts[partner]


class Peer:
    """Whoever made a request and waits for its answer."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self._task = task

    def is_gone(self) -> bool:
        """Return whether the connection was closed."""
        return self._task.done()


@asynccontextmanager
async def watched(call: Call) -> AsyncIterator[Peer]:
    """Watch the connection of a request whose body is read, or that has none."""
    task = asyncio.create_task(_until_gone(call), name="rest-peer")
    try:
        yield Peer(task)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until_gone(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
