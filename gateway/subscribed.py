"""One subscription of a WebSocket: what was asked for, and what may still be sent."""

from dataclasses import dataclass

import msgspec

from gateway.asked import read_start
from gateway.flow import Flow
from gateway.hub.connections import Listener
from gateway.hub.tape import Write
from gateway.messages import Subscribe, format_of
from gateway.query import MAX_FILTER_BYTES
from gateway.stream import Wanted
from kafkahub.errors import Fault, Invalid
from subscriptions.authentication.tickets import Ticket


@dataclass(slots=True, eq=False)
class Subscription:
    """One subscription of a client; ``listener`` is None while its start is looked for."""

    sub: str
    flow: Flow
    listener: Listener | None = None

    def attach(self, listener: Listener) -> None:
        """Let records flow, as many as there is room for."""
        self.listener = listener
        listener.on_written = self._on_written
        self.look()

    def look(self) -> None:
        """Let the listener have what the flow allows now."""
        if self.listener is not None:
            self.listener.allowance = self.flow.room
            self.listener.unacked = self.flow.unacked

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
