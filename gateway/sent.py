"""Which answers to reads were sent: known here at once, and told to PostgreSQL soon after."""

import asyncio
from collections import OrderedDict
from typing import Final
from uuid import UUID

import structlog

from gateway.receipts import Run
from kafkahub.errors import HubError
from subscriptions.pull import reads
from subscriptions.pull.rows import Name

MAX_REMEMBERED: Final = 20_000

log = structlog.get_logger()


class Sent:
    """Notes which answers were sent, and tells PostgreSQL: one statement at a time, never behind.

    Lives on the event loop. What is known here need not be read back: the next read of the same
    instance in this process settles without waiting.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: OrderedDict[Name, tuple[UUID, int]] = OrderedDict()
        self._waiting: list[tuple[UUID, int]] = []
        self._task: asyncio.Task[None] | None = None

    def note(self, name: Name, instance: UUID, seq: int) -> None:
        """Note an answer whose last byte was accepted while its peer was there."""
        self._known[name] = (instance, seq)
        self._known.move_to_end(name)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        self._waiting.append((instance, seq))
        if self._task is None:
            self._task = asyncio.create_task(self._flush(), name="pull-sent")

    def of(self, name: Name) -> tuple[UUID, int] | None:
        """Return the last answer of an instance that this process sent."""
        return self._known.get(name)

    async def close(self) -> None:
        """Wait until everything noted is told."""
        if self._task is not None:
            await self._task

    async def _flush(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._run(reads.mark_sent, batch)
        except HubError as error:  # what is not marked is handed out again
            log.warning("pull.sent_not_marked", reason=error.detail)
        finally:
            self._task = None
