"""What is open in this process, told to the others; and their orders, obeyed.

A list is put up on the board of ``subscriptions.streams``; orders come by NOTIFY. What would be
lost with a notification is looked for again: tickets that are over, tickets with too many streams.
"""

import asyncio
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from gateway.frames import State
from gateway.hub.connections import Connection, Ending, ending
from gateway.hub.fanout import Hub
from kafkahub.errors import HubError
from kafkahub.limits.board import BoardAway
from subscriptions import streams
from subscriptions.authentication import tickets
from subscriptions.authentication.tickets import Ticket
from subscriptions.snapshot import CONNECTION
from subscriptions.streams import OpenStream, Order

LOOK_S = 2.0
"""Time between two looks for tickets that ended without a notification; they have 5 s in all."""
FEW = 200
"""Streams up to which the list is put up as soon as it changes, and not every 5 s only."""
CHANGED_S = 0.5
CHUNK = 100
"""Streams described at a time, about 2 ms: the flush of records must not wait for more."""
RECONNECT_S = 1.0

log = structlog.get_logger()


class Register:
    """Keeps the board true, and the orders of other processes obeyed.

    Runs   three tasks on the event loop, between ``start`` and ``stop``; queries in the executor
    Owns   a connection to PostgreSQL that listens
    Ends   ``stop``, which takes this process's list down

    dsn      for LISTEN, past any transaction pooler
    on_over  told the id of a ticket that is over, so that nobody believes in it
    """

    def __init__(
        self, hub: Hub, dsn: str, executor: Executor, on_over: Callable[[str], None]
    ) -> None:
        self._hub = hub
        self._dsn = make_conninfo(dsn, **CONNECTION)
        self._executor = executor
        self._on_over = on_over
        self._tasks: list[asyncio.Task[None]] = []
        self._caps: dict[str, int] = {}
        self.process = f"{socket.gethostname()}:{os.getpid()}"

    def start(self) -> None:
        """Begin to tell and to listen."""
        work = {"publish": self._publish(), "orders": self._listen(), "tickets": self._look()}
        self._tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]

    async def stop(self) -> None:
        """End, and take this process's list down: its streams are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._put_up([])

    def admit(self, connection: Connection, ticket: Ticket) -> None:
        """Note a stream that is opened with a ticket; the oldest beyond its cap is taken over."""
        connection.ticket_id = ticket.id
        self._caps[ticket.id] = ticket.max_connections
        mine = [row(self._hub, each, self.process) for each in self._of_ticket(ticket.id)]
        self._take_over(mine)

    def obey(self, order: Order) -> None:
        """Close what an order names, where it is open here."""
        if order.ticket:
            self._on_over(order.ticket)
        named = [self._hub.connections.get(order.stream)] if order.stream else []
        for connection in [*named, *(self._of_ticket(order.ticket) if order.ticket else [])]:
            if connection is not None:
                self._hub.end(connection, _why(order.reason))

    def _of_ticket(self, ticket: str) -> list[Connection]:
        return [each for each in self._hub.connections if each.ticket_id == ticket]

    def _take_over(self, rows: Iterable[OpenStream]) -> None:
        for stream in beyond(rows, self._caps):
            connection = self._hub.connections.get(stream)
            if connection is not None:
                self._hub.end(connection, _why("taken_over"))

    async def _publish(self) -> None:
        """Put the list up every few seconds, and soon after it changed while it is short."""
        last_s, known = float("-inf"), frozenset[str]()
        while True:
            ids = frozenset(each.id for each in self._hub.connections)
            is_due = time.monotonic() - last_s >= streams.PUBLISH_S
            is_changed = ids != known and len(ids) <= FEW
            if (is_due or is_changed) and await self._put_up(await self._rows()):
                last_s, known = time.monotonic(), ids
            await asyncio.sleep(CHANGED_S)

    async def _rows(self) -> list[OpenStream]:
        """Return the list; the event loop serves others every ``CHUNK`` streams."""
        rows = []
        for connection in self._hub.connections:
            rows.append(row(self._hub, connection, self.process))
            if len(rows) % CHUNK == 0:
                await asyncio.sleep(0)
        return rows

    async def _put_up(self, rows: Sequence[OpenStream]) -> bool:
        """Tell what is open; False where Redis is away, and others believe the list before."""
        streams.here.process, streams.here.rows = self.process, rows
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, streams.publish, self.process, rows)
        except BoardAway as error:
            log.warning("register.board_away", reason=str(error))
            return False
        return True

    async def _look(self) -> None:
        """End streams whose ticket is over, and those that another process's have taken over."""
        while True:
            await asyncio.sleep(LOOK_S)
            mine = [each for each in self._hub.connections if each.ticket_id]
            held = {each.ticket_id for each in mine}
            self._caps = {name: cap for name, cap in self._caps.items() if name in held}
            if mine:
                partners = {each.principal.partner for each in mine}
                await self._look_at(held, partners)

    async def _look_at(self, held: set[str], partners: set[str]) -> None:
        loop = asyncio.get_running_loop()
        try:
            over = await loop.run_in_executor(self._executor, tickets.ended, held)
        except HubError as error:
            log.warning("register.look_failed", reason=error.detail)
            return
        for ticket in over:
            self.obey(Order(ticket=ticket, reason="revoked"))
        for partner in partners:
            found = await loop.run_in_executor(self._executor, streams.listing, partner)
            self._take_over(found.streams)

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True
                ) as listening:
                    await listening.execute(f"LISTEN {streams.CHANNEL}")
                    async for notice in listening.notifies():
                        order = streams.read_order(notice.payload)
                        if order is not None:
                            self.obey(order)
            except psycopg.Error as error:
                log.warning("register.connection_lost", reason=str(error))
            await asyncio.sleep(RECONNECT_S)


def _why(reason: str) -> Ending:
    return ending(reason, DETAILS.get(reason, ""))


DETAILS: Mapping[str, str] = {
    "kicked": "closed by hand",
    "moved": "come again",
    "revoked": "the ticket is over",
    "taken_over": "a newer stream of the same ticket took its place",
}


def beyond(rows: Iterable[OpenStream], caps: Mapping[str, int]) -> list[str]:
    """Return the ids of the streams that are too many for their ticket: the oldest ones.

    The oldest is nearly always a dead one, whose end nobody has noticed yet.
    """
    by_ticket: dict[str, list[OpenStream]] = defaultdict(list)
    for each in rows:
        if each.ticket_id and each.ticket_id in caps:
            by_ticket[each.ticket_id].append(each)
    return [
        each.id
        for ticket, opened in by_ticket.items()
        for each in sorted(opened, key=lambda one: (one.opened_at_ms, one.id))[: -caps[ticket]]
    ]


def row(hub: Hub, connection: Connection, process: str) -> OpenStream:
    """Return a connection as everybody sees it; its listeners' figures are added up."""
    listeners = connection.listeners
    specs = [each.spec for each in listeners]
    beats = [hub.beat(each) for each in listeners]
    lags = [beat.lag_records for beat in beats]
    worst = max((STATES.index(beat.state) for beat in beats), default=0)
    one = listeners[0] if len(listeners) == 1 else None
    return OpenStream(
        id=connection.id,
        partner=connection.principal.partner,
        transport=connection.transport,
        key_id=connection.principal.id,
        ticket_id=connection.ticket_id or None,
        ip=connection.address,
        user_agent=connection.agent,
        origin=connection.origin or None,
        topics=tuple(dict.fromkeys(topic for spec in specs for topic in spec.topics)),
        filter=(one.spec.filter_text or None) if one else None,
        format=one.spec.style.format if one else "",
        opened_at_ms=connection.opened_ms,
        expires_at_ms=connection.principal.expires_at_ms,
        state=STATES[worst] if connection.state == "open" else connection.state,
        # One part that must not be told hides the sum.
        lag_records=None if None in lags else sum(lag or 0 for lag in lags),
        lag_seconds=max((beat.lag_seconds for beat in beats), default=0.0),
        records=sum(each.records for each in listeners),
        bytes=sum(each.bytes for each in listeners),
        paused_ms=connection.paused_ms,
        credit=one.allowance if one else None,
        unacked=one.unacked if one else None,
        process=process,
        cursor=one.cursor if one else None,
    )


STATES: Sequence[State] = ("live", "catching_up", "stalled")
"""From good to bad."""
