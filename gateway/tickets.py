"""Stream tickets at the doors of the gateway: looked up together, remembered for seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Executor

from subscriptions.authentication import tickets
from subscriptions.authentication.tickets import Ticket, Use

GATHER_S = 0.005
"""How long look-ups wait for one another: a thousand pages that come back ask once."""
KEPT_S = 5.0
"""How long a verdict is believed; a revoked ticket opens nothing after it."""
MAX_KEPT = 50_000

LookUp = Callable[[Collection[bytes]], dict[bytes, Ticket]]


class TicketDesk:
    """Says who opens with a ticket.

    Lives on the event loop; queries run in the executor, at most one look-up at a time.

    executor     for queries, a few threads
    monotonic_s  the clock of ``KEPT_S``
    """

    def __init__(
        self,
        executor: Executor,
        look_up: LookUp = tickets.look_up,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._look_up = look_up
        self._monotonic_s = monotonic_s
        self._kept: OrderedDict[bytes, tuple[Ticket | None, float]] = OrderedDict()
        self._waiting: dict[bytes, asyncio.Future[Ticket | None]] = {}
        self._round: asyncio.Task[None] | None = None

    async def admit(self, text: str, use: Use, now_ms: int) -> Ticket:
        """Return the ticket whose text this is, good for what is wanted.

        The first time, its opening is written down before this returns. Raises as
        ``tickets.check`` does, Unauthenticated for an unknown one, Unavailable.
        """
        digest = tickets.digest(text)
        ticket = await self._find(digest)
        if ticket is None:
            raise tickets.unknown()
        tickets.check(ticket, use, now_ms)
        if not ticket.opened:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._executor, tickets.mark_opened, ticket.id)
            self._kept.pop(digest, None)  # what is kept says that it is not open yet
        return ticket

    def forget(self, ticket_id: str) -> None:
        """Believe nothing of a ticket any more: it was revoked."""
        gone = [digest for digest, (kept, _) in self._kept.items() if kept and kept.id == ticket_id]
        for digest in gone:
            del self._kept[digest]

    async def _find(self, digest: bytes) -> Ticket | None:
        kept = self._kept.get(digest)
        if kept is not None and self._monotonic_s() - kept[1] < KEPT_S:
            return kept[0]
        waiting = self._waiting.get(digest)
        if waiting is None:
            waiting = self._waiting[digest] = asyncio.get_running_loop().create_future()
        if self._round is None:
            self._round = asyncio.create_task(self._ask(), name="tickets")
        # Several wait for one answer: one that is cut off must not cancel it for the others.
        return await asyncio.shield(waiting)

    async def _ask(self) -> None:
        """Answer everybody who waits, in as few queries as they need."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(GATHER_S)
            asked, self._waiting = self._waiting, {}
            try:
                found = await loop.run_in_executor(self._executor, self._look_up, list(asked))
            except Exception as error:  # noqa: BLE001 - handed to everybody who waits, who raise it
                self._fail(asked, error)
                continue
            for digest, waiting in asked.items():
                self._keep(digest, found.get(digest))
                waiting.set_result(found.get(digest))
        self._round = None

    def _fail(self, asked: dict[bytes, asyncio.Future[Ticket | None]], error: Exception) -> None:
        for waiting in asked.values():
            waiting.set_exception(error)
            waiting.exception()  # whoever waited may be gone; nobody else is to be told

    def _keep(self, digest: bytes, ticket: Ticket | None) -> None:
        self._kept[digest] = ticket, self._monotonic_s()
        self._kept.move_to_end(digest)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
