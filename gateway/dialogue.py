"""What a client and we say to each other on one WebSocket, after its handshake."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from gateway import messages
from gateway.flow import Errors, Flow, Pace
from gateway.frames import Closing, Message
from gateway.grouped import Client, Groups
from gateway.hub.connections import Connection, Ending, ending
from gateway.hub.fanout import Hub
from gateway.hub.transport import Outlet
from gateway.messages import (
    Ack,
    BadMessage,
    Credit,
    Operation,
    Ping,
    Produce,
    Subscribe,
    TooBig,
    Unsubscribe,
    WebSocketDoor,
)
from gateway.produce import Writer
from gateway.producing import DOOR, Producing
from gateway.stream import Streams, Wanted
from gateway.subscribed import Subscription, wanted_of
from gateway.tolls import Tolls
from kafkahub import clock
from kafkahub.errors import (
    Conflict,
    Fault,
    HubError,
    Invalid,
    InvalidMessage,
    LimitReached,
    NotFound,
    RateLimited,
    TooManyOutstanding,
)
from kafkahub.problems import code_and_title
from subscriptions.authentication.tickets import Ticket
from subscriptions.grants import Principal

Receive = Callable[[], Awaitable[Message]]

OUR_FAULT = 500
"""Statuses from here on are not the client's errors."""
TOO_BIG_CODE = 1009
"""RFC 6455, 7.4.1."""
MAX_HOLD_S = 5.0
"""Longest time that a connection over its rate is not read: it must hear of a client that left."""
GONE = (OSError, RuntimeError)
"""What uvicorn raises for a message to a client that is gone, or behind a Close frame."""


class Parts(NamedTuple):
    """What a dialogue works with; one of each a process."""

    hub: Hub
    streams: Streams
    writer: Writer
    tolls: Tolls
    groups: Groups | None = None
    idle_s: float = messages.IDLE_S


class Dialogue:
    """One WebSocket, from ``hello`` to the Close frame.

    Runs   in the task of its connection; what waits for Kafka has tasks of its own, one a
           subscription and ``MAX_PRODUCES``
    Owns   the subscriptions; the hub writes their records, and decides when the connection ends
    Ends   ``run`` returns once the client is gone
    """

    def __init__(
        self,
        parts: Parts,
        principal: Principal,
        outlet: Outlet,
        receive: Receive,
        ticket: Ticket | None = None,
    ) -> None:
        self._ticket = ticket
        self.connection = Connection(
            principal, outlet, DOOR, closing=self._closing, heartbeat=self._heartbeat
        )
        self._hub, self._streams, writer, self._tolls, self._groups, self._idle_s = parts
        self._producing = Producing(writer, self._tolls, principal, self._tell)
        self._receive = receive
        self._subs: dict[str, Subscription] = {}
        self._pace = Pace()
        self._errors = Errors()
        self._unsubscribed_records = 0
        self._busy_s = time.monotonic()
        self._close: Message | None = None
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, first: Wanted | None) -> None:
        """Talk until the client is gone; ``first`` is what its URL asks for."""
        heartbeat_ms = int(self._hub.limits.heartbeat_s * 1_000)
        async with self._group:
            self._start(self._watch_idle())
            await self._tell(messages.hello(self.connection.id, heartbeat_ms))
            if first is not None:
                self._begin(None, Subscription(messages.FIRST_SUB, Flow(None, None)), first)
            await self._listen()
            for task in self._tasks:
                task.cancel()

    @property
    def produced(self) -> int:
        """Records that the client gave to be written."""
        return self._producing.given

    @property
    def records(self) -> int:
        """Records written to the client so far."""
        open_ones = [one.listener for one in self._subs.values() if one.listener is not None]
        return self._unsubscribed_records + sum(each.records for each in open_ones)

    async def _listen(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            if self.connection.state in {"ending", "ended"}:
                continue  # it was told why; only the end of the connection is awaited
            if not self._pace.takes(time.monotonic()):
                self._hub.end(self.connection, ending("rate_limited", "too many messages"))
            elif message.get("text") is None:
                await self._refuse(InvalidMessage("A message is JSON in a text frame."))
            else:
                await self._hear(message["text"])

    async def _hear(self, text: str) -> None:
        try:
            operation = messages.read(text)
        except BadMessage as error:
            await self._refuse(InvalidMessage(error.detail), ref=error.ref)
        except TooBig:
            limit = messages.MAX_CONTROL_BYTES
            why = ending("protocol_error", f"only a produce may have over {limit} bytes")
            self._hub.end(self.connection, why._replace(ws_code=TOO_BIG_CODE))
        else:
            try:
                await self._pay(operation, len(text))
                await self._do(operation)
            except HubError as error:
                ref, sub = messages.names(operation)
                await self._refuse(error, ref=ref, sub=sub)

    async def _pay(self, operation: Operation, size: int) -> None:
        """Charge the bytes of a message; above the rate the next one is read later.

        Records to write are charged as a whole, once it is known that they may be written.
        """
        if isinstance(operation, Produce):
            return
        wait_s = self._tolls.heard(self.connection.principal, DOOR, size)
        if wait_s:
            await asyncio.sleep(min(wait_s, MAX_HOLD_S))

    async def _do(self, operation: Operation) -> None:
        match operation:
            case Subscribe():
                self._subscribe(operation)
            case Unsubscribe(id=ref, sub=sub):
                await self._unsubscribe(ref, sub)
            case Credit(sub=sub, n=count):
                self._grant(self._open(sub), count)
            case Ack(sub=sub, cursor=cursor):
                self._ack(self._open(sub), cursor)
            case Produce():
                # Tasks begin in the order they are made in, and so do their records.
                self._start(self._write(self._producing.take(operation)))
            case Ping(id=ref):
                await self._tell(messages.pong(ref))

    def _open(self, sub: str) -> Subscription:
        found = self._subs.get(sub)
        if found is None:
            raise InvalidMessage("There is no such subscription.")
        return found

    def _subscribe(self, wish: Subscribe) -> None:
        if wish.sub in self._subs:
            raise Conflict("There is a subscription of this name; unsubscribe it first.")
        if len(self._subs) >= messages.MAX_SUBSCRIPTIONS:
            raise LimitReached(f"A connection has up to {messages.MAX_SUBSCRIPTIONS}.")
        now_ms = int(clock.now().timestamp() * 1_000)
        wanted = wanted_of(wish, self._ticket, now_ms)
        new = Subscription(wish.sub, Flow(wish.credit, wish.ack_window))
        if wish.group is None:
            self._begin(wish.id, new, wanted)
            return
        self._subs[new.sub] = new
        new.task = self._start(self._join(wish, new, wanted))

    async def _join(self, wish: Subscribe, new: Subscription, wanted: Wanted) -> None:
        """Let a subscription read in its group, as long as it is open."""
        try:
            if self._groups is None:
                raise NotFound
            client = Client(self.connection, WebSocketDoor(new.sub), new.flow, self._tell)
            new.group = await self._groups.join(client, wish, wanted)
        except HubError as error:
            await self._give_up(new, error, wish.id)
            return
        topics, credit = new.group.topics, new.flow.credit
        await self._tell(messages.subscribed(wish.id, new.sub, topics, new.group.cursor, credit))
        await new.group.run()

    def _begin(self, ref: str | None, new: Subscription, wanted: Wanted) -> None:
        self._subs[new.sub] = new
        new.task = self._start(self._seat(ref, new, wanted))

    async def _seat(self, ref: str | None, new: Subscription, wanted: Wanted) -> None:
        """Find a subscription its place, tell it, and let records flow."""
        try:
            opened = await self._streams.open(self.connection.principal, wanted)
        except HubError as error:
            await self._give_up(new, error, ref)
            return
        try:
            for told in new.start(ref, opened):
                await self._tell(told)
        except BaseException:
            self._streams.release(opened)
            raise
        if self.connection.state in {"ending", "ended"}:
            self._streams.release(opened)
            return
        listener = self._streams.listener(opened, self.connection, WebSocketDoor(new.sub))
        new.attach(listener)
        self._hub.attach(listener)
        if opened.gaps and opened.on_gap_fail:
            self._hub.end(self.connection, ending("gap"), with_rest=False)

    async def _give_up(self, new: Subscription, error: HubError, ref: str | None) -> None:
        self._subs.pop(new.sub, None)
        self._busy_s = time.monotonic()
        await self._refuse(error, ref=ref, sub=new.sub)

    async def _unsubscribe(self, ref: str, sub: str) -> None:
        one = self._open(sub)
        if not one.is_open:
            raise Conflict("The subscription is being opened; wait for its answer.")
        del self._subs[sub]
        if one.listener is not None:
            self._hub.detach(one.listener)
            self._unsubscribed_records += one.listener.records
        elif one.task is not None:
            one.task.cancel()
            await asyncio.wait([one.task])
        self._busy_s = time.monotonic()
        await self._tell(messages.unsubscribed(ref, sub, one.cursor))

    def _grant(self, one: Subscription, count: int) -> None:
        if not one.flow.grant(count):
            limit = messages.MAX_CREDIT
            raise InvalidMessage(f"Credits need a balance from the start, of at most {limit}.")
        one.go_on(self._hub)

    def _ack(self, one: Subscription, cursor: str) -> None:
        if not one.ack(cursor):
            text = "No record is out under this cursor."
            raise Invalid([Fault("", "invalid_cursor", text)])
        one.go_on(self._hub)

    async def _write(self, writing: Awaitable[None]) -> None:
        """Write records, and report; the Close frame that waited for the last report follows."""
        try:
            await writing
        finally:
            self._busy_s = time.monotonic()
        if self._close is not None and not self._producing.outstanding:
            with suppress(*GONE):
                await self.connection.outlet.send(self._close)

    async def _refuse(
        self, error: HubError, *, ref: str | None = None, sub: str | None = None
    ) -> None:
        """Say what was wrong with a message; a client that does not learn is sent away."""
        code, _ = code_and_title(error)
        wait_s = error.retry_after_s if is_over_rate(error) else None
        await self._tell(messages.error(code, error.detail, ref=ref, sub=sub, wait_s=wait_s))
        is_the_clients = error.status < OUR_FAULT and not is_over_rate(error)
        if is_the_clients and self._errors.one_more(time.monotonic()):
            self._hub.end(self.connection, ending("protocol_error", "too many errors"))

    async def _tell(self, payload: bytes) -> None:
        """Write a message; a client that takes nothing until the deadline is closed as slow."""
        message = messages.text_message(payload)
        connection = self.connection
        is_over = connection.state == "ended" or (
            connection.state == "ending" and self._close is None
        )
        if is_over or self._hub.write(connection, message):
            return
        try:
            async with asyncio.timeout(self._hub.limits.write_deadline_s):
                await connection.outlet.send(message)
        except TimeoutError:
            self._hub.end(connection, ending("slow_reader"), with_rest=False)
        except GONE:
            return  # its own task sees the end

    def _closing(self, _: Connection, why: Ending) -> Sequence[Message]:
        """Return the last messages; the Close frame waits while reports are still to come."""
        told = Closing(why.reason, why.action, why.retry_ms, why.ws_code, detail=why.detail)
        cursors = {one.sub: one.cursor for one in self._subs.values() if one.is_open}
        last = messages.text_message(messages.closing_message(told, cursors))
        close = {"type": "websocket.close", "code": why.ws_code, "reason": why.reason}
        if self._producing.outstanding:
            self._close = close
            return [last]
        return [last, close]

    def _heartbeat(self, _: Connection, __: dict[object, Message]) -> Message:
        """Return one heartbeat for all subscriptions; its cursors may be acked as well."""
        told = {one.sub: one.beat(self._hub) for one in self._subs.values() if one.is_open}
        return messages.text_message(messages.heartbeat(clock.rfc3339(clock.now()), told))

    async def _watch_idle(self) -> None:
        """End a connection that nothing is done with."""
        while True:
            quiet_s = time.monotonic() - self._busy_s
            if self._subs or self._producing.outstanding:
                quiet_s = 0.0
            if quiet_s >= self._idle_s:
                self._hub.end(self.connection, ending("idle"))
                return
            await asyncio.sleep(self._idle_s - quiet_s)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def is_over_rate(error: HubError) -> bool:
    """Return whether a message came too soon: no mistake of the client, and it may come again."""
    return isinstance(error, RateLimited) and not isinstance(error, TooManyOutstanding)
