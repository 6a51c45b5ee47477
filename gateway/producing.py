"""Records that a client gives on its WebSocket: judged, charged, written, and reported."""

from collections.abc import Awaitable, Callable, Sequence

from gateway import messages
from gateway.batch import read_entries, report
from gateway.messages import Produce
from gateway.produce import Writer, used_of
from gateway.tolls import Tolls
from kafkahub.errors import TooManyOutstanding
from kafkahub.kafka.record import Entry
from subscriptions.grants import Principal

DOOR = "ws"


class Producing:
    """Writes for one connection.

    Lives on the event loop; each ``produce`` has a task of the connection's.

    outstanding  ``produce`` operations without their report
    given        records so far
    """

    def __init__(
        self,
        writer: Writer,
        tolls: Tolls,
        principal: Principal,
        tell: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._writer = writer
        self._tolls = tolls
        self._principal = principal
        self._tell = tell
        self.outstanding = 0
        self.given = 0

    def take(self, wish: Produce) -> Awaitable[None]:
        """Return what writes the records and reports; raises where they may not be written."""
        if self.outstanding >= messages.MAX_PRODUCES:
            text = f"{messages.MAX_PRODUCES} of them wait for their report; wait for one."
            raise TooManyOutstanding(text)
        topic = self._writer.authorize(self._principal, wish.topic)
        entries, ids = read_entries(wish.records, topic.format)
        size = sum(memoryview(one).nbytes for one in wish.records)
        self._tolls.bring(self._principal, DOOR, wish.topic, records=len(entries), size=size)
        self.outstanding += 1
        self.given += len(entries)
        return self._write(wish, entries, ids)

    async def _write(
        self, wish: Produce, entries: Sequence[Entry], ids: Sequence[str | None]
    ) -> None:
        try:
            results = await self._writer.write(wish.topic, entries, door=DOOR)
            self._tolls.wrote(self._principal, DOOR, wish.topic, used_of(results))
            shown, cursors = await self._writer.shown(self._principal, wish.topic, results)
            await self._tell(messages.produced(wish.id, report(shown, ids, cursors)))
        finally:
            self.outstanding -= 1
