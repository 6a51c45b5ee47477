"""How many streams may be open, and how fast they may be opened."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Protocol

import structlog

from gateway.hub.connections import Connection
from kafkahub.errors import Overloaded, QuotaExceeded, RateLimited
from kafkahub.limits.gcra import Meter, Rate
from kafkahub.limits.headers import Refusal
from kafkahub.limits.policies import ADDRESS, KEY
from subscriptions.authentication.tickets import Ticket
from subscriptions.grants import Principal

MAX_STREAMS = 10_000
OPENS: Mapping[str, tuple[float, float]] = {KEY: (0.1, 0.5), ADDRESS: (0.2, 1.0)}
"""Opens a second, and at once after a rest, for each stream that may be open.

With the standard caps of 100 these are 10/s and 50 for a key, 20/s and 100 for an address; whoever
has a plan with more streams needs to bring them back in the same time.
"""
FILES_LEFT = 512
"""Open files kept for everything that is no stream."""

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
    _meters: dict[Rate, Meter] = field(default_factory=dict)

    def admit(self, principal: Principal, address: str) -> None:
        """Count one more; raises RateLimited, QuotaExceeded or Overloaded, and counts nothing."""
        if self.open >= self.most:
            raise Overloaded("This server has as many streams as it can.")
        place = network_of(address)
        wait_s = self._wait_s(principal, place)
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

    def _wait_s(self, principal: Principal, place: str) -> float:
        """Return the seconds until one more may be opened; 0.0 for now."""
        now_s = self.now_s()
        waits = [0.0]
        for scope, cap in principal.limits.streams.items():
            if scope in OPENS:
                per_s, burst = OPENS[scope]
                rate = Rate(cap * per_s, max(1, int(cap * burst)))
                meter = self._meters.setdefault(rate, Meter(rate))
                name = f"key:{principal.id}" if scope == KEY else f"address:{place}"
                waits.append(meter.take(name, now_s))
        return max(waits)

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
