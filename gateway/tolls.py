"""What streams and WebSockets pay: the limits of their credential, and what it used by the hour.

REST and gRPC charge each call at their own doors; what the hub writes is charged here for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from subscriptions.grants import Principal
from subscriptions.usage import Usage, Used

STREAM: Final = policies.cost(requests=1, records_out=1, bytes_out=1)
SOCKET: Final = policies.cost(requests=1, records_in=1, bytes_in=1, records_out=1, bytes_out=1)
"""Policies that the answer to an opening tells of; only the request is charged then."""
BOOKS: Final[Mapping[str, str]] = {"ndjson": "sse", "ws": "websocket"}
"""Doors in the table of hours, where they are called otherwise than transports are."""


@dataclass(frozen=True, slots=True)
class Tolls:
    """Charges credentials, and notes what they used. Memory only: the event loop never waits.

    limiter  of this process
    usage    of this process
    """

    limiter: Limiter
    usage: Usage

    def stranger(self, address: str) -> None:
        """Charge an address for a credential that was refused. Raises RateLimited."""
        refusal = self.limiter.admit(None, address, policies.ONE_REQUEST)
        if refusal is not None:
            raise refusal.error()

    def enter(self, principal: Principal, address: str, transport: str) -> None:
        """Charge the opening of a stream. Raises RateLimited, and charges nothing."""
        self._admit(principal, address, policies.ONE_REQUEST, transport)
        self._note(principal, transport, Used(requests=1))

    def bring(
        self, principal: Principal, transport: str, topic: str, *, records: int, size: int
    ) -> None:
        """Charge records to be written to a granted topic, as a whole.

        size  bytes they came in

        Raises RateLimited, and charges nothing.
        """
        cost = policies.cost(records_in=records, bytes_in=size, topic=topic)
        self._admit(principal, "", cost, transport)
        self._note(principal, transport, Used(requests=1, bytes_in=size), topic)

    def wrote(self, principal: Principal, transport: str, topic: str, used: Used) -> None:
        """Note what became of records; they were charged when they came."""
        self._note(principal, transport, used, topic)

    def heard(self, principal: Principal, transport: str, size: int) -> float:
        """Charge bytes that came in already; return the seconds to wait before more is read."""
        self._note(principal, transport, Used(bytes_in=size))
        return self.limiter.settle_bytes(principal, bytes_in=size)

    def sent(
        self, principal: Principal, transport: str, topic: str, records: int, size: int
    ) -> float:
        """Charge what was written to a client; return the seconds to wait before more is."""
        used = Used(records_out=records, bytes_out=size)
        self._note(principal, transport, used, topic)
        cost = policies.cost(records_out=records, bytes_out=size, topic=topic)
        return self.limiter.charge(principal, cost)

    def headers(self, principal: Principal, cost: policies.Cost) -> dict[str, str]:
        """Return what an answer tells a known credential of its limits."""
        return dict(self.limiter.headers(principal, cost))

    def _admit(
        self, principal: Principal, address: str, cost: policies.Cost, transport: str
    ) -> None:
        refusal = self.limiter.admit(principal, address, cost)
        if refusal is None:
            return
        self._note(principal, transport, Used(requests=1, refused=1), cost.topic)
        raise refusal.error()

    def _note(self, principal: Principal, transport: str, used: Used, topic: str = "") -> None:
        self.usage.note(principal.partner, BOOKS.get(transport, transport), used, topic)
