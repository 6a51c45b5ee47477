"""Whose turn it is, so that thousands who go or come back at once leave room for others.

An opening costs about a millisecond of the event loop, an end a fifth of it. Each round of the loop
takes some of them only; between two rounds it serves whatever else has come, and accepts: while it
does not, the kernel holds 4,096 connections, and whoever comes after those tries again after
seconds.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from kafkahub.errors import Overloaded

PER_ROUND = 8
"""Openings and ends in one round of the event loop, for all doors of the process together."""
MAX_OPENING = 256
"""Streams being opened at once; others wait ``OPENING_S`` at most."""
OPENING_S = 5.0


class Rounds:
    """Lets callers through in the order in which they came, ``PER_ROUND`` in a round of the loop.

    Lives on the event loop. It is no limit: whoever waits here is next in a time that depends on
    the machine alone, so nobody is refused.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._left = PER_ROUND
        self._is_counting = False

    async def next(self) -> None:
        """Return once it is the caller's turn: at once where there is no crowd."""
        if self._waiting or not self._left:
            mine = asyncio.get_running_loop().create_future()
            self._waiting.append(mine)
            await mine
            return
        self._left -= 1
        self._count()

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """Begin a round; the last one of a crowd is followed by an empty one."""
        self._left = PER_ROUND
        self._is_counting = False
        while self._left and self._waiting:
            first = self._waiting.popleft()
            if not first.done():  # else its caller was cancelled
                first.set_result(None)
                self._left -= 1
        if self._left < PER_ROUND:
            self._count()


class Places:
    """The places for streams that are being opened; use as a context manager.

    Raises Overloaded when none was free in time.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_OPENING)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(OPENING_S):
                await self._free.acquire()
        except TimeoutError:
            raise Overloaded("Too many streams are being opened.", retry_after_s=5) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._free.release()


class Opening:
    """What all doors of a process open streams through.

    rounds  passed first, and before the end: a crowd waits here for its turn, for nothing else
    places  held while PostgreSQL and Kafka are asked
    """

    def __init__(self) -> None:
        self.rounds = Rounds()
        self.places = Places()
