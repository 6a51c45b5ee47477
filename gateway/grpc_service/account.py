"""What gRPC callers pay: their limits, and what they used by the hour.

What the hub writes to a stream is charged there; the rest is charged here. Memory only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kafkahub.errors import HubError
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from kafkahub.limits.policies import Cost
from subscriptions.grants import Principal
from subscriptions.usage import Usage, Used

DOOR: Final = "grpc"

Given = Iterable[tuple[str, int]]
"""Topic and bytes of each record that goes out."""


@dataclass(frozen=True, slots=True)
class Account:
    """Charges credentials, and notes what they used.

    limiter  of this process
    usage    of this process
    """

    limiter: Limiter
    usage: Usage

    def stranger(self, address: str) -> HubError | None:
        """Charge an address for a credential that was refused; return what it is told instead."""
        refusal = self.limiter.admit(None, address, policies.ONE_REQUEST)
        return None if refusal is None else refusal.error()

    def enter(self, principal: Principal, address: str, cost: Cost) -> None:
        """Charge a call. Raises RateLimited, and charges nothing.

        cost  with a topic where that is granted; its records are noted once they are written
        """
        refusal = self.limiter.admit(principal, address, cost)
        if refusal is None:
            used = Used(requests=1, bytes_in=dict(cost.charges).get(policies.BYTES_IN, 0))
        else:
            used = Used(requests=1, refused=1)
        self.usage.note(principal.partner, DOOR, used, cost.topic)
        if refusal is not None:
            raise refusal.error()

    def wrote(self, principal: Principal, topic: str, used: Used) -> None:
        """Note what became of records; they were charged when they came."""
        self.usage.note(principal.partner, DOOR, used, topic)

    def gave(self, principal: Principal, given: Given) -> float:
        """Charge records that go out; return the seconds to wait before more does."""
        shares: dict[str, Used] = {}
        for topic, size in given:
            share = shares.setdefault(topic, Used())
            share.records_out += 1
            share.bytes_out += size
        wait_s = 0.0
        for topic, share in shares.items():
            self.usage.note(principal.partner, DOOR, share, topic)
            cost = policies.cost(
                records_out=share.records_out, bytes_out=share.bytes_out, topic=topic
            )
            wait_s = max(wait_s, self.limiter.charge(principal, cost))
        return wait_s

    def headers(self, principal: Principal, cost: Cost) -> Iterable[tuple[str, str]]:
        """Return what an answer tells of the limits."""
        return self.limiter.headers(principal, cost)
