"""Open streams: connections, and the listeners on them.

A connection is what a client holds open: SSE and NDJSON have one listener on it, a WebSocket one
a subscription. All of it lives on the event loop; no other thread touches it.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from gateway.frames import RULES, Action, Door, Message
from gateway.hub.audience import Spec
from gateway.hub.place import Place, Tokens
from gateway.hub.tabs import Tab
from gateway.hub.tape import Tape, Write
from kafkahub import ids
from subscriptions.grants import Principal

Waiter = asyncio.Task[None]
"""The task that waits for room on a connection that has none."""


OnTabs = tuple[Tab, ...]
"""What one listener gets is charged to these."""


class Outlet(Protocol):
    """The sending side of a connection: of ASGI in ``transport``, of gRPC beside its door."""

    def offer(self, message: Message) -> bool: ...
    async def send(self, message: Message) -> None: ...
    def abort(self) -> None: ...


class Ending(NamedTuple):
    """Why a connection ends, with the retry time drawn for it."""

    reason: str
    action: Action
    retry_ms: int
    ws_code: int
    detail: str = ""


def ending(reason: str, detail: str = "", *, most_ms: int | None = None) -> Ending:
    """Return the ending of a reason; ``most_ms`` widens the time in which clients come back."""
    rule = RULES[reason]
    retry_ms = random.randint(rule.least_ms, max(rule.most_ms, most_ms or 0))  # noqa: S311 - spreads returns, guards nothing
    return Ending(reason, rule.action, retry_ms, rule.ws_code, detail)


class Seat(NamedTuple):
    """A place on a tape, as ``gateway.stream.open`` finds it."""

    tape: Tape
    seq: int


class Listener:
    """One reader of one audience: a number on a tape, nothing queued and nothing copied.

    spec         its audience
    tape, seq    where it stands; ``skip`` entries of that batch it has had
    place        behind the last byte written: where it resumes
    allowance    records it may still get; None for no limit (credits of WebSocket and gRPC)
    bytes_left   bytes of keys and values likewise; one record may exceed them
    unacked      records that the client got and has not acknowledged; None where it cannot
    on_gap_fail  a gap ends the connection
    on_written   told of each write after it was taken; None for nobody
    tabs         what it gets is charged to, one a topic; none before it is attached
    """

    __slots__ = (
        "allowance",
        "bytes",
        "bytes_left",
        "connection",
        "door",
        "on_gap_fail",
        "on_written",
        "place",
        "records",
        "seq",
        "skip",
        "spec",
        "tabs",
        "tape",
        "tokens",
        "unacked",
    )

    def __init__(
        self, connection: "Connection", door: Door, spec: Spec, seat: Seat, place: Place
    ) -> None:
        self.connection = connection
        self.door = door
        self.spec = spec
        self.tape, self.seq = seat
        self.skip = 0
        self.tokens: Tokens = seat.tape.tokens
        self.place = place
        self.allowance: int | None = None
        self.bytes_left: int | None = None
        self.unacked: int | None = None
        self.on_gap_fail = False
        self.on_written: Callable[[Listener, Write], None] | None = None
        self.tabs: OnTabs = ()
        self.records = 0
        self.bytes = 0

    @property
    def room(self) -> int | None:
        """Records that it may get now; None for no limit."""
        if self.bytes_left is None:
            return self.allowance
        if self.bytes_left <= 0:
            return 0
        count, size = 0, 0
        for each in self.tape.sizes(self.seq, self.skip):
            count, size = count + 1, size + each
            if size >= self.bytes_left:
                break
        most = max(1, count)  # a gap has no size, and may go out
        return most if self.allowance is None else min(most, self.allowance)

    @property
    def here(self) -> Place:
        """Where it resumes: behind the last byte written, and what follows and is hidden."""
        return self.tape.place if self.seq == self.tape.end else self.place

    @property
    def cursor(self) -> str:
        """The token of ``here``."""
        return self.here.token(self.tokens)

    def sit(self, tape: Tape, seq: int) -> None:
        """Take another seat; nothing of its first batch was had yet."""
        self.tape, self.seq, self.skip = tape, seq, 0

    def note(self, write: Write) -> None:
        """Move on behind a write that the transport has taken."""
        self.seq, self.skip, self.place = write.end, write.skip, write.place
        self.records += write.records
        self.bytes += len(write.payload)
        if self.allowance is not None:
            self.allowance -= write.records
        self.connection.last_write_s = time.monotonic()
        if self.on_written is not None:
            self.on_written(self, write)


State = Literal["open", "paused", "ending", "ended"]


class Connection:
    """One open connection of a client.

    id            ``str_<26>``, as ``KafkaHub-Stream-Id`` tells
    closing       given an ending, returns the last messages, of which the last ends the answer
    heartbeat     returns what is written when nothing was for a while, or None; equal messages
                  are kept in the dictionary handed in, so that listeners share them
    state         ``paused`` while a message waits for room; ``ending`` from the decision to end
    last_write_s  monotonic time of the last byte handed over
    paused_s      monotonic time since when it takes nothing; None while it takes
    ends_s        monotonic time at which it is rotated or its credential ends, and ``ends_reason``
    ticket_id     of the stream ticket that opened it, ``""`` without one
    """

    __slots__ = (
        "address",
        "agent",
        "closing",
        "ends_reason",
        "ends_s",
        "heartbeat",
        "id",
        "is_hard",
        "is_mid_frame",
        "last_write_s",
        "listeners",
        "opened_ms",
        "opened_s",
        "origin",
        "outlet",
        "paused_ms",
        "paused_s",
        "principal",
        "reason",
        "slot",
        "state",
        "ticket_id",
        "transport",
        "waiter",
    )

    def __init__(
        self,
        principal: Principal,
        outlet: Outlet,
        transport: str,
        *,
        closing: "Callable[[Connection, Ending], Sequence[Message]]",
        heartbeat: "Callable[[Connection, dict[object, Message]], Message | None]",
    ) -> None:
        now_s = time.monotonic()
        self.id = ids.new("str")
        self.principal = principal
        self.outlet = outlet
        self.transport = transport
        self.closing = closing
        self.heartbeat = heartbeat
        self.waiter: Waiter | None = None
        self.is_mid_frame = False
        self.listeners: list[Listener] = []
        self.state: State = "open"
        self.reason = "gone"
        self.opened_s = self.last_write_s = now_s
        self.opened_ms = time.time_ns() // 1_000_000
        self.paused_s: float | None = None
        self.paused_ms = 0
        self.ends_s, self.ends_reason = float("inf"), "rotation"
        self.slot = random.getrandbits(16)
        self.address = self.agent = self.origin = self.ticket_id = ""
        self.is_hard = False

    def resume(self, now_s: float) -> None:
        """Take messages again."""
        self.state = "open"
        if self.paused_s is not None:
            self.paused_ms += int((now_s - self.paused_s) * 1000)
        self.paused_s = None

    def ends_at(self, monotonic_s: float, reason: str) -> None:
        """Let it end at a time; the soonest one counts."""
        if monotonic_s < self.ends_s:
            self.ends_s, self.ends_reason = monotonic_s, reason


class Connections:
    """All open connections of the process, by id, and how many of whom."""

    def __init__(self) -> None:
        self._open: dict[str, Connection] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open.values()))

    def add(self, connection: Connection) -> None:
        self._open[connection.id] = connection
        self._empty.clear()

    def remove(self, connection: Connection) -> None:
        self._open.pop(connection.id, None)
        if not self._open:
            self._empty.set()

    async def until_empty(self) -> None:
        """Return once none is open."""
        await self._empty.wait()

    def get(self, connection_id: str) -> Connection | None:
        """Return an open connection; None for one that is unknown or gone."""
        return self._open.get(connection_id)

    def of_key(self, key_id: str) -> list[Connection]:
        """Return the open connections of a credential."""
        return [one for one in self if one.principal.id == key_id]
