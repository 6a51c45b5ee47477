"""One subscription of a WebSocket: what was asked for, and what may still be sent."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from gateway.asked import read_start
from gateway.flow import Flow
from gateway.frames import Beat
from gateway.grouped import Grouped
from gateway.hub.connections import Listener
from gateway.hub.fanout import Hub
from gateway.hub.tape import Write
from gateway.messages import Subscribe, WebSocketDoor, format_of, subscribed
from gateway.query import MAX_FILTER_BYTES
from gateway.stream import Opened, Wanted
from kafkahub.errors import Fault, Invalid
from subscriptions.authentication.tickets import Ticket


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscription of a client.

    listener, group  what feeds it, the hub or a pull group; None while its start is looked for
    task             what looks for its start, and in a group hands records out
    """

    sub: str
    flow: Flow
    listener: Listener | None = None
    group: Grouped | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether its start is found."""
        return self.listener is not None or self.group is not None

    @property
    def cursor(self) -> str:
        """Where it would be resumed; it is open."""
        feed = self.listener or self.group
        return "" if feed is None else feed.cursor

    def start(self, ref: str | None, opened: Opened) -> Iterator[bytes]:
        """Yield where it starts, then what is missing; the last gap moves the cursor."""
        door, hides = WebSocketDoor(self.sub), opened.spec.style.hides_place
        before = opened.before or opened.token
        yield subscribed(ref, self.sub, opened.spec.topics, before, self.flow.credit)
        for number, gap in enumerate(opened.gaps, 1):
            token = opened.token if number == len(opened.gaps) else before
            yield door.gap(gap, token, hides_place=hides)
            self.flow.sent(0, token)

    def beat(self, hub: Hub) -> tuple[Beat, str]:
        """Return what a heartbeat tells; the cursor of a listener may be acked as well."""
        if self.group is not None:
            return self.group.beat(), self.cursor
        if self.listener is None:
            raise RuntimeError("it is not open yet")  # a bug: the caller has looked
        self.flow.sent(0, self.cursor)
        return hub.beat(self.listener), self.cursor

    def attach(self, listener: Listener) -> None:
        """Let records flow, as many as there is room for."""
        self.listener = listener
        listener.on_written = self._on_written
        self.look()

    def ack(self, cursor: str) -> bool:
        """Take everything up to a cursor as processed; return False for one that is not out."""
        is_out = self.flow.ack(cursor)
        if is_out and self.group is not None:
            self.group.ack(cursor)
        return is_out

    def go_on(self, hub: Hub) -> None:
        """Send on: there may be room again."""
        self.look()
        if self.listener is not None:
            hub.resume(self.listener)

    def look(self) -> None:
        """Let the listener have what the flow allows now."""
        if self.listener is not None:
            self.listener.allowance = self.flow.room
            self.listener.unacked = self.flow.unacked
        if self.group is not None:
            self.group.look()

    def _on_written(self, listener: Listener, write: Write) -> None:
        self.flow.sent(write.records, write.place.token(listener.tokens))
        self.look()


def wanted_of(wish: Subscribe, ticket: Ticket | None, now_ms: int) -> Wanted:
    """Return what a subscription asks for; what a ticket has set stands before.

    now_ms  Unix ms

    Raises Invalid for a filter that is too long, a start that cannot be, and for what the ticket
    has set already.
    """
    _check(wish, ticket)
    has_filter = ticket is not None and ticket.filter is not None
    return Wanted(
        topics=tuple(wish.topics),
        text="object",
        filter=ticket.filter if ticket is not None and has_filter else wish.filter,
        start=read_start(wish.start, wish.since, now_ms),
        cursor=wish.cursor,
        format=format_of(wish, ticket.format if ticket is not None else ""),
        on_gap_fail=wish.on_gap == "fail",
    )


def _check(wish: Subscribe, ticket: Ticket | None) -> None:
    if wish.filter is not None and len(msgspec.json.encode(wish.filter)) > MAX_FILTER_BYTES:
        text = f"A filter has {MAX_FILTER_BYTES} bytes at most."
        raise Invalid([Fault("/filter", "invalid_filter", text)])
    has_set_filter = ticket is not None and ticket.filter is not None
    has_set_format = ticket is not None and ticket.format != ""
    if (has_set_filter and wish.filter is not None) or (has_set_format and wish.format):
        text = "The ticket has set filter or format; leave it out."
        raise Invalid([Fault("", "fixed_by_ticket", text)])
