"""How many streams may be open, and how fast they may be opened."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Protocol

import structlog

from gateway.hub.connections import Connection
from kafkahub.errors import Overloaded, QuotaExceeded, RateLimited
from kafkahub.limits.gcra import Meter, Rate
from kafkahub.limits.headers import Refusal
from subscriptions.authentication.tickets import Ticket
from subscriptions.grants import Principal

MAX_STREAMS = 10_000
FILES_LEFT = 512
"""Open files kept for everything that is no stream."""
PER_KEY = Rate(10, 50)
PER_ADDRESS = Rate(20, 100)
IPV6_BITS = 64
"""One customer of a provider has all of these addresses."""

log = structlog.get_logger()


class OpenStreams(Protocol):
    """Counts of open streams over all processes; see ``kafkahub.limits.open_streams``."""

    def open(self, principal: Principal, address: str) -> Refusal | None: ...
    def close(self, principal: Principal, address: str) -> None: ...


@dataclass(slots=True)
class Gate:
    """Decides whether one more stream may open in this process.

    Lives on the event loop.

    counts      over all processes
    most        streams of this process
    on_settled  told of a stream that a ticket has opened
    """

    counts: OpenStreams
    on_settled: Callable[[Connection, Ticket], None]
    most: int = MAX_STREAMS
    now_s: Callable[[], float] = time.monotonic
    open: int = 0
    _keys: Meter = field(default_factory=lambda: Meter(PER_KEY))
    _addresses: Meter = field(default_factory=lambda: Meter(PER_ADDRESS))

    def admit(self, principal: Principal, address: str) -> None:
        """Count one more; raises RateLimited, QuotaExceeded or Overloaded, and counts nothing."""
        if self.open >= self.most:
            raise Overloaded("This server has as many streams as it can.")
        place = network_of(address)
        now_s = self.now_s()
        wait_s = max(self._keys.take(principal.id, now_s), self._addresses.take(place, now_s))
        if wait_s:
            text = "Streams are opened too fast; wait between two attempts."
            raise RateLimited(text, retry_after_s=int(wait_s) + 1)
        refusal = self.counts.open(principal, place)
        if refusal is not None:
            text = "As many streams are open as may be; close one."
            raise QuotaExceeded(
                text, retry_after_s=refusal.retry_after_s, violated=refusal.policies
            )
        self.open += 1

    def leave(self, principal: Principal, address: str) -> None:
        """Take back what ``admit`` counted."""
        self.open -= 1
        self.counts.close(principal, network_of(address))

    def settled(self, connection: Connection, ticket: Ticket) -> None:
        """Tell of a stream that a ticket has opened."""
        self.on_settled(connection, ticket)


def most_streams() -> int:
    """Return how many streams this process can have, by its limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(MAX_STREAMS, max(1, soft - FILES_LEFT))
    if most < MAX_STREAMS:
        log.warning("gate.files_short", files=soft, streams=most, wanted=MAX_STREAMS + FILES_LEFT)
    return most


def network_of(address: str) -> str:
    """Return what an address is counted as: itself, or for IPv6 its /64."""
    try:
        source = ip_address(address)
    except ValueError:
        return address
    if source.version == 4:  # noqa: PLR2004 - the number is the name
        return address
    mapped = source.ipv4_mapped
    return str(mapped or ip_network((source, IPV6_BITS), strict=False).network_address)
