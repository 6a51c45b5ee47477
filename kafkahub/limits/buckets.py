"""One limit of one name, as one process keeps it: units in hand, debts, and what Redis last said.

No threads and no I/O here: the limiter calls with its lock held, and the times come in.
"""

from dataclasses import dataclass

from kafkahub.limits import gcra
from kafkahub.limits.gcra import EPSILON_S, Rate

CHUNK_S = 0.05
"""Seconds of a rate that one lease holds at most."""
CHUNKS_A_BURST = 4
"""A lease is at most this part of a burst, so that one process cannot hold all of it."""
LEASE_S = 1.0
"""How long leased units are good. Who leased them and went away has wasted no more than them."""
MIN_LEASE_GAP_S = 0.005
"""Least time by which use is turned into a rate: two answers may come almost at once."""
BOOKING_S = 0.05
"""What somebody is told to wait whose credit is used up until debts are booked, in seconds."""


@dataclass(slots=True)
class Company:
    """Who else spends from the same limits, as this process last knew.

    processes  living ones, this one too
    is_away    Redis does not answer, or was never asked: each keeps to its share
    """

    processes: int
    is_away: bool = True


class Bucket:
    """A limit of one name: what may be taken, and what was taken and is not yet booked in Redis.

    units       in hand and paid for while ``ends_s`` is ahead; below 0 they are a debt
    whole_at_s  when the burst is whole again: what Redis said, in this process's monotonic time
    is_due      it waits to be booked, or is being booked
    """

    __slots__ = (
        "__weakref__",
        "_answered_s",
        "_low",
        "_own",
        "_own_processes",
        "_start",
        "chunk",
        "ends_s",
        "is_due",
        "name",
        "policy",
        "rate",
        "units",
        "whole_at_s",
    )

    def __init__(self, name: str, policy: str, rate: Rate) -> None:
        self.name = name
        self.policy = policy
        self.units = 0
        self.ends_s = float("-inf")
        self.whole_at_s = float("-inf")
        self.is_due = False
        self._answered_s = float("-inf")
        self._start = 0
        self._low = 0.0
        self.set_rate(rate)

    def set_rate(self, rate: Rate) -> None:
        """Hold to another rate from now on; what was used stays used."""
        self.rate = rate
        self._own = rate
        self._own_processes = 1
        self.chunk = max(1, min(round(rate.per_s * CHUNK_S), rate.burst // CHUNKS_A_BURST))

    def _share(self, company: Company) -> Rate:
        """Return this process's part of the rate; kept, for it is wanted twice a request."""
        if self._own_processes != company.processes:
            self._own_processes = company.processes
            self._own = gcra.share(self.rate, company.processes)
        return self._own

    def wait_s(self, count: int, now_s: float, company: Company) -> float:
        """Return the seconds until ``count`` units may be taken; 0.0 when they may be now."""
        if self.units >= count and now_s < self.ends_s:
            return 0.0
        if company.is_away:
            return gcra.wait_s(self.whole_at_s, now_s, count, self._share(company))
        if self.units > 0 and now_s >= self.ends_s:
            self._start -= self.units
            self.units = 0
        return self._wait_on_credit(min(count, self.rate.burst), now_s, company.processes)

    def _wait_on_credit(self, count: int, now_s: float, processes: int) -> float:
        """Return the wait for units that are not in hand, by what Redis said last.

        Small counts are held to this process's part of what is left, so that all processes
        together cannot spend the same units; a batch that no lease would ever hold may take all.
        """
        left = gcra.left(self.whole_at_s, now_s, self.rate)
        own = left if count > self.chunk else min(left, max(self.chunk, left / processes))
        if self.units + own >= count - self.rate.per_s * EPSILON_S:
            return 0.0
        return max(BOOKING_S, (count - self.units - left) / self.rate.per_s)

    def charge(self, count: int, now_s: float, company: Company) -> bool:
        """Take ``count`` units, there or not; return whether the bucket now wants to be booked."""
        if company.is_away and (self.units < count or now_s >= self.ends_s):
            self.whole_at_s = gcra.after(self.whole_at_s, now_s, count, self._share(company))
            return False
        self.units -= count
        return self.units < self._low

    def overdrawn_s(self, now_s: float) -> float:
        """Return the seconds until what was taken too much is made good; 0.0 when nothing was."""
        left = gcra.left(self.whole_at_s, now_s, self.rate) + min(self.units, 0)
        return max(0.0, -left / self.rate.per_s)

    def left(self, now_s: float) -> int:
        """Return the units that may be taken now, by the best knowledge of this process."""
        if self.units < 0 or now_s < self.ends_s:
            known = gcra.left(self.whole_at_s, now_s, self.rate) + self.units
        else:
            known = gcra.left(self.whole_at_s, now_s, self.rate)
        return max(0, min(self.rate.burst, int(known + EPSILON_S)))

    @property
    def debt(self) -> int:
        """Units taken that Redis does not know of."""
        return max(0, -self.units)

    def wanted(self, now_s: float) -> int:
        """Return the units to lease ahead: what the next ``CHUNK_S`` will use, by the last.

        A name that is seldom used leases nothing: its units would end unused.
        """
        used = self._start - self.units
        gap_s = max(now_s - self._answered_s, MIN_LEASE_GAP_S)
        expected = int(used / gap_s * CHUNK_S * 2)
        return max(0, min(self.chunk, expected) - max(0, self.units))

    def book(self, paid: int, whole_in_s: float, sent_s: float, now_s: float) -> None:
        """Take an answer of Redis over.

        paid        units booked: the debt that was told, and what was leased on top
        whole_in_s  when the burst is whole again, in seconds from the answer
        sent_s      when was asked: the lease runs from there
        """
        self.units += paid
        self._start = self.units
        self._low = max(0.0, self.units / 2)
        self.ends_s = sent_s + LEASE_S
        self.whole_at_s = now_s + whole_in_s
        self._answered_s = now_s

    def book_alone(self, now_s: float, company: Company) -> None:
        """Book debts in this process's share, for Redis does not answer."""
        if self.units < 0:
            own = self._share(company)
            self.whole_at_s = gcra.after(self.whole_at_s, now_s, self.debt, own)
            self.units = self._start = 0
            self._low = 0.0
