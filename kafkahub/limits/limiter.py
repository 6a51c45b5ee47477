"""One limiter for all doors: the tightest limit decides, all are charged, nobody waits for Redis.

A door calls ``admit`` at the start of a request, ``charge`` for what it learns of only later, and
``headers`` for the answer. All of them work on memory alone; see ``docs/performance.md``.
"""

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence

from kafkahub.limits import headers, policies
from kafkahub.limits.buckets import BOOKING_S, Bucket, Company
from kafkahub.limits.gcra import Rate
from kafkahub.limits.headers import Refusal, Standing
from kafkahub.limits.leases import FAULTS, PREFIX, Booking, Leases, Paid
from kafkahub.limits.open_streams import OpenStreams
from kafkahub.limits.policies import Cost, Limited
from kafkahub.limits.tallies import Recent, Tally

MAX_TALLIES = 50_000
"""Principals, pairs of them with a topic, and addresses kept in memory; the longest unused go."""
MAX_DUE = 20_000
"""Buckets waiting to be booked; more wait in their turn, so memory stays flat in a flood."""

Headers = list[tuple[str, str]]


ANONYMOUS_REQUEST: tuple[tuple[str, int], ...] = ((policies.ANONYMOUS, 1),)


class Limiter:
    """Says who may go on. Shared by all threads and the event loop of a process.

    Runs   nothing by itself; ``start`` gives the bookings to a thread of ``Leases``
    Owns   all buckets; the lock guards them, and is held for some microseconds only
    Ends   ``stop``; then, and before ``start``, it keeps to this process's share

    company    name under which the processes are counted that share these limits
    processes  assumed to share the limits until they are counted
    kept       names kept in memory at most
    """

    def __init__(
        self,
        url: str,
        *,
        processes: int,
        kept: int = MAX_TALLIES,
        company: str = "processes",
        monotonic_s: Callable[[], float] = time.monotonic,
        on_away: Callable[[bool], None] = lambda _: None,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self._company = Company(processes)
        self._monotonic_s = monotonic_s
        self._on_refusal = on_refusal
        self._leases = Leases(
            url, self._company, name=company, monotonic_s=monotonic_s, on_away=on_away
        )
        self._lock = threading.Lock()
        self._tallies: Recent[Tally] = Recent(kept)
        self._buckets: weakref.WeakValueDictionary[str, Bucket] = weakref.WeakValueDictionary()
        self._due: list[Bucket] = []
        self._filling = self._fill
        self.streams = OpenStreams(self._company, self._leases.ring)

    def start(self) -> None:
        """Begin to share the limits with other processes. Call it after any fork."""
        self._leases.start(self, self.streams)

    def stop(self) -> None:
        """Share no more; what was used and not yet booked stays unbooked."""
        self._leases.stop()
        self._company.is_away = True

    @property
    def is_away(self) -> bool:
        """Whether this process keeps to its share, because Redis is away or not asked."""
        return self._company.is_away

    def admit(self, principal: Limited | None, address: str, cost: Cost) -> Refusal | None:
        """Charge ``cost`` and return None; or return why not, and charge nothing.

        principal  None for a request without an accepted credential: its address pays instead,
                   one request of the policy ``anonymous``
        cost       all that is known at the start; a batch as a whole
        """
        now_s = self._monotonic_s()
        with self._lock:
            if principal is None:
                tally, charges = self._tally_of(address), ANONYMOUS_REQUEST
            else:
                tally, charges = self._tally(principal, cost.topic), cost.charges
            company = self._company
            for policy, count in charges:
                for bucket in tally[policy]:
                    if (bucket.units < count or now_s >= bucket.ends_s) and bucket.wait_s(
                        count, now_s, company
                    ):
                        return self._refuse(tally, charges, now_s)
            for policy, count in charges:
                for bucket in tally[policy]:
                    if bucket.charge(count, now_s, company) and not bucket.is_due:
                        self._mark(bucket)
        return None

    def charge(self, principal: Limited, cost: Cost) -> float:
        """Charge what happened already: bytes as they are read or written, records as they go out.

        Returns the seconds to wait before more of it, 0.0 when there is no need: streams are paced
        by it, never cut.
        """
        now_s = self._monotonic_s()
        wait_s = 0.0
        with self._lock:
            tally = self._tally(principal, cost.topic)
            for policy, count in cost.charges:
                for bucket in tally[policy]:
                    if bucket.charge(count, now_s, self._company) and not bucket.is_due:
                        self._mark(bucket)
                    if bucket.units < 0 or self._company.is_away:
                        wait_s = max(wait_s, bucket.overdrawn_s(now_s))
        return wait_s

    def settle_bytes(
        self, principal: Limited, *, bytes_in: int = 0, bytes_out: int = 0, topic: str = ""
    ) -> float:
        """Charge bytes that no ``Content-Length`` told of; returns as ``charge`` does."""
        return self.charge(
            principal, policies.cost(bytes_in=bytes_in, bytes_out=bytes_out, topic=topic)
        )

    def take(self, principal: Limited, policy: str, count: int = 1) -> Refusal | None:
        """Charge one slow policy, such as ``control``, exactly over all processes.

        Waits for Redis, at most ``leases.ASK_DEADLINE_S`` a bucket, so not for the event loop; then
        this process's own knowledge decides.
        """
        with self._lock:
            buckets = self._tally(principal, "")[policy]
        return self._take_all(buckets, policy, count)

    def take_name(self, policy: str, name: str, rate: Rate, count: int = 1) -> Refusal | None:
        """Charge a slow policy of something that is no principal; otherwise as ``take``.

        policy  shown to clients, such as ``token`` or ``handshakes``
        name    whom it counts for, such as ``client:…`` or ``host:…``; says nothing secret
        """
        with self._lock:
            tally = self._tallies.get((policy, name))
            if tally is None:
                tally = Tally(policies.NOBODY, None, name, self._filling)
                tally[policy] = (self._bucket(policy, name, rate),)
                self._tallies.put((policy, name), tally)
        return self._take_all(tally[policy], policy, count)

    def _take_all(self, buckets: Sequence[Bucket], policy: str, count: int) -> Refusal | None:
        tally = {policy: tuple(buckets)}
        with self._lock:
            if any(self._wait_s(bucket, count) for bucket in buckets):
                return self._refuse(tally, ((policy, count),), self._monotonic_s())
        for bucket in buckets:
            if not self._take_one(bucket, count):
                with self._lock:
                    return self._refuse(tally, ((policy, count),), self._monotonic_s())
        return None

    def bucket(self, policy: str, name: str, rate: Rate) -> Bucket:
        """Return the bucket of something that is no principal, for ``wait_s`` and ``draw``.

        It is kept, and shared with other processes, as long as the caller holds on to it.
        """
        with self._lock:
            return self._bucket(policy, name, rate)

    def wait_s(self, bucket: Bucket) -> float:
        """Return the seconds until one unit may be drawn; 0.0 for now. Charges nothing."""
        with self._lock:
            return self._wait_s(bucket, 1)

    def draw(self, bucket: Bucket) -> None:
        """Take one unit, there or not: what is taken too early is waited for afterwards."""
        with self._lock:
            if bucket.charge(1, self._monotonic_s(), self._company) and not bucket.is_due:
                self._mark(bucket)

    def headers(self, principal: Limited, cost: Cost) -> Headers:
        """Return ``RateLimit-Policy`` and ``RateLimit`` for an answer to a known credential."""
        now_s = self._monotonic_s()
        names = tuple(policy for policy, _ in cost.charges)
        with self._lock:
            tally = self._tally(principal, cost.topic)
            standings = [_standing(name, tally[name], now_s) for name in names if tally[name]]
        if tally.told is None:
            tally.told = {}
        told = tally.told.get(names)
        if told is None:
            told = headers.policy_value((each.policy, each.rate) for each in standings)
            tally.told[names] = told
        if not standings:
            return []
        return [("RateLimit-Policy", told), ("RateLimit", headers.limit_value(standings))]

    def _wait_s(self, bucket: Bucket, count: int) -> float:
        return bucket.wait_s(count, self._monotonic_s(), self._company)

    def _take_one(self, bucket: Bucket, count: int) -> bool:
        """Return whether the bucket had the units; by Redis if it answers."""
        sent_s = self._monotonic_s()
        paid = None
        if not self._company.is_away:
            try:
                paid = self._leases.ask(f"{PREFIX}:{bucket.name}", bucket.rate, count)
            except FAULTS:
                self._leases.ring()  # so that it finds out whether Redis is away
        with self._lock:
            if paid is None:
                bucket.charge(count, sent_s, self._company)
                bucket.book_alone(sent_s, self._company)
                return True
            bucket.book(0, paid.whole_in_s, sent_s, self._monotonic_s())
            return paid.leased >= count

    def _refuse(
        self,
        tally: Mapping[str, tuple[Bucket, ...]],
        charges: Sequence[tuple[str, int]],
        now_s: float,
    ) -> Refusal:
        """Return all that is used up, and the longest wait of it."""
        waits: dict[str, float] = {}
        for policy, count in charges:
            for bucket in tally[policy]:
                wait_s = bucket.wait_s(count, now_s, self._company)
                if wait_s:
                    waits[policy] = max(wait_s, waits.get(policy, 0.0))
                if bucket.debt and not bucket.is_due:
                    self._mark(bucket)
        if not waits:  # Redis said no, and rounding let this process think otherwise
            waits = {policy: BOOKING_S for policy, _ in charges}
        refusal = Refusal(max(waits.values()), tuple(waits))
        self._on_refusal(refusal)
        return refusal

    def _mark(self, bucket: Bucket) -> None:
        """Have the bucket booked with the next turn."""
        if len(self._due) < MAX_DUE:
            bucket.is_due = True
            self._due.append(bucket)
            self._leases.ring()

    def _tally(self, principal: Limited, topic: str) -> Tally:
        limits = principal.limits
        topic = topic if policies.TOPIC in limits.rates else ""
        key = (principal.id, topic) if topic else principal.id
        tally = self._tallies.get(key)
        if tally is None or tally.limits is not limits:
            tally = Tally(limits, principal, topic, self._filling)
            self._tallies.put(key, tally)
        return tally

    def _tally_of(self, address: str) -> Tally:
        tally = self._tallies.get(("", address))
        if tally is None:
            tally = Tally(policies.NOBODY, None, address, self._filling)
            self._tallies.put(("", address), tally)
        return tally

    def _fill(self, tally: Tally, policy: str) -> tuple[Bucket, ...]:
        return tuple(
            self._bucket(policy, tally.name_of(scope), rates[policy])
            for scope, rates in tally.limits.rates.items()
            if policy in rates and (scope != policies.TOPIC or tally.name)
        )

    def _bucket(self, policy: str, name: str, rate: Rate) -> Bucket:
        """Return the one bucket of this name that this process has."""
        full = f"{policy}:{name}"
        bucket = self._buckets.get(full)
        if bucket is None:
            bucket = self._buckets[full] = Bucket(full, policy, rate)
        elif bucket.rate != rate:
            bucket.set_rate(rate)
        return bucket

    # For the thread of Leases.

    def collect(self) -> Sequence[Booking]:
        now_s = self._monotonic_s()
        with self._lock:
            due, self._due = self._due, []
            return [Booking(bucket, bucket.debt, bucket.wanted(now_s)) for bucket in due]

    def settle(self, bookings: Sequence[Booking], paid: Sequence[Paid], sent_s: float) -> None:
        now_s = self._monotonic_s()
        with self._lock:
            for (bucket, debt, _), (leased, whole_in_s) in zip(bookings, paid, strict=True):
                bucket.is_due = False
                bucket.book(debt + leased, whole_in_s, sent_s, now_s)
                if bucket.debt:  # made meanwhile
                    self._mark(bucket)

    def put_back(self, bookings: Sequence[Booking]) -> None:
        with self._lock:
            self._due = [booking.bucket for booking in bookings] + self._due

    def go_alone(self) -> None:
        now_s = self._monotonic_s()
        with self._lock:
            due, self._due = self._due, []
            for bucket in due:
                bucket.is_due = False
                bucket.book_alone(now_s, self._company)


def _standing(policy: str, buckets: Sequence[Bucket], now_s: float) -> Standing:
    """Return how the tightest bucket of a policy stands."""
    tightest, left = buckets[0], buckets[0].left(now_s)
    for bucket in buckets[1:]:
        if (other := bucket.left(now_s)) < left:
            tightest, left = bucket, other
    return Standing(policy, tightest.rate, left)
