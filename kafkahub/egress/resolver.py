"""Our own DNS look-ups: a deadline, a bounded memory, and one denied address refuses the name.

DNS only: no hosts file, no search domains. libcurl never resolves; it dials what is found here.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import pycares
import structlog
from pycares import errno

from kafkahub.egress import addresses
from kafkahub.egress.addresses import AddressRules
from kafkahub.egress.urls import LOOPBACK_NAME

DEADLINE_S = 3.0
"""Longest a look-up takes over all tries and servers."""
TRY_S = 1.0
"""First wait for one server, in seconds; the second round waits twice as long."""
TRIES = 2
TTL_MIN_S = 5
TTL_MAX_S = 60
"""Bounds on how long an answer is believed; below them a rebinding name would cost a look-up
each, above them a moved endpoint would be missed."""
NEGATIVE_S = 5
"""How long a failure is remembered, so that a dead name is not asked for with every record."""
MAX_ADDRESSES = 64
MAX_NAMES = 10_000
"""Answers remembered at most; the oldest is forgotten first."""
MAX_PER_OWNER = 20
"""Look-ups of one partner under way at most; further ones wait, so dead names hurt nobody else."""
BACKOFF_S = 0.1
"""Pause after an error of ours, so that it does not take a whole core."""
FOREVER = float("inf")

log = structlog.get_logger()

_FAULTS = {
    errno.ARES_ENOTFOUND: "dns_not_found",
    errno.ARES_ENODATA: "dns_not_found",
    errno.ARES_ETIMEOUT: "dns_timeout",
}
_FAULTS_BY_WEIGHT = ("dns_timeout", "dns_failed", "dns_not_found")
"""Where A and AAAA fail in two ways: what may pass tells more than "not found"."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name stands for now.

    addresses  may be dialled, all of them; empty exactly where ``fault`` is set
    expires    monotonic time until which this may be used
    fault      outcome ``dns_not_found dns_timeout dns_failed address_denied``, or None
    """

    addresses: tuple[str, ...]
    expires: float
    fault: str | None = None


OnReady = Callable[[Resolution], None]


@dataclass(slots=True, eq=False)
class _Query:
    """One name that is being asked for, with everybody who waits for it."""

    host: str
    owner: str
    waiting: list[OnReady]
    missing: int = 2  # A and AAAA
    deadline: float = FOREVER
    found: list[str] = field(default_factory=list)
    ttl_s: int = TTL_MAX_S
    faults: list[str] = field(default_factory=list)


class Resolver:
    """Looks names up for one process. Make it after the fork.

    Runs   one thread that asks and watches deadlines, beside c-ares' own that reads answers
    Owns   the c-ares channel; only its thread calls it, since a call from a callback can deadlock
    Takes  names through ``lookup``, which never blocks
    Ends   ``close()``: whoever still waits gets ``dns_failed``
    """

    def __init__(
        self,
        rules: AddressRules,
        servers: Sequence[str] = (),
        *,
        negative_s: float = NEGATIVE_S,
    ) -> None:
        """Start; ``servers`` are ``address[:port]``, by default the system's."""
        self._rules = rules
        self._negative_s = negative_s
        self._channel = pycares.Channel(servers=servers or None, timeout=TRY_S, tries=TRIES)
        self._known: dict[str, Resolution] = {}
        self._asked: dict[str, _Query] = {}
        self._busy: Counter[str] = Counter()
        self._to_start: deque[_Query] = deque()
        self._held_back: dict[str, deque[_Query]] = {}
        self._by_deadline: deque[_Query] = deque()
        self._has_stale_cache = False
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="egress-resolver", daemon=True)
        self._thread.start()

    def peek(self, host: str) -> Resolution | None:
        """Return what is known of ``host`` and still holds, without asking."""
        known = self._known.get(host)
        if known is not None and time.monotonic() < known.expires:
            return known
        return None

    def lookup(self, host: str, on_ready: OnReady, *, owner: str = "") -> None:
        """Call ``on_ready`` once with the resolution of a name or literal address.

        owner  whose limit of look-ups under way this counts against

        ``on_ready`` runs on any thread, maybe before this returns, and must only hand over.
        """
        ready = self.peek(host) or self._without_dns(host)
        if ready is None:
            with self._changed:
                ready = self._ask(host, on_ready, owner)
        if ready is not None:
            on_ready(ready)

    def resolve(self, host: str, deadline_s: float = DEADLINE_S, *, owner: str = "") -> Resolution:
        """Return the resolution, waiting ``deadline_s`` at most; then it is ``dns_timeout``."""
        answer: Future[Resolution] = Future()
        self.lookup(host, answer.set_result, owner=owner)
        try:
            return answer.result(deadline_s)
        except TimeoutError:
            return self._failed("dns_timeout")

    def close(self) -> None:
        """Stop; everybody who waits gets ``dns_failed``."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _failed(self, fault: str) -> Resolution:
        return Resolution((), time.monotonic() + self._negative_s, fault)

    def _without_dns(self, host: str) -> Resolution | None:
        if host == LOOPBACK_NAME and self._rules.allow_loopback:
            host = "127.0.0.1"
        if addresses.parse(host) is None:
            return None
        if self._rules.is_denied(host):
            return self._failed("address_denied")
        return Resolution((host,), FOREVER)

    def _ask(self, host: str, on_ready: OnReady, owner: str) -> Resolution | None:
        if self._is_closed:
            return self._failed("dns_failed")
        query = self._asked.get(host)
        if query is not None:
            query.waiting.append(on_ready)
            return None
        query = self._asked[host] = _Query(host, owner, [on_ready])
        if owner and self._busy[owner] >= MAX_PER_OWNER:
            self._held_back.setdefault(owner, deque()).append(query)
        else:
            self._may_start(query)
        return None

    def _may_start(self, query: _Query) -> None:
        self._busy[query.owner] += 1
        self._to_start.append(query)
        self._changed.notify_all()

    def _run(self) -> None:
        """Ask, expire, flush, until closed."""
        while not self._is_closed:
            try:
                self._turn()
            except Exception:  # the outermost loop: without it every name would hang for ever
                log.exception("resolver.turn_failed")
                time.sleep(BACKOFF_S)
        self._channel.close()
        for query in list(self._asked.values()):
            self._finish(query)

    def _turn(self) -> None:
        for query in self._started():
            self._send(query)
        for query in self._overdue():
            self._finish(query)
        if self._has_stale_cache:
            # c-ares keeps "not found" as long as the zone says, up to an hour; a name that was
            # only just made would stay dead for so long.
            self._has_stale_cache = False
            self._channel.reinit()
        self._wait()

    def _started(self) -> list[_Query]:
        with self._changed:
            queries = list(self._to_start)
            self._to_start.clear()
            deadline = time.monotonic() + DEADLINE_S
            for query in queries:
                query.deadline = deadline
            self._by_deadline.extend(queries)
        return queries

    def _send(self, query: _Query) -> None:
        for kind in (pycares.QUERY_TYPE_A, pycares.QUERY_TYPE_AAAA):
            answered = partial(self._on_answer, query)
            try:
                self._channel.query(query.host, kind, callback=answered)
            except (pycares.AresError, UnicodeError):  # no name that DNS can carry
                answered(None, errno.ARES_EBADNAME)

    def _overdue(self) -> list[_Query]:
        now = time.monotonic()
        with self._changed:
            late = []
            while self._by_deadline and (
                self._by_deadline[0].missing == 0 or self._by_deadline[0].deadline <= now
            ):
                late.append(self._by_deadline.popleft())
        return [query for query in late if query.missing]

    def _wait(self) -> None:
        with self._changed:
            if self._to_start or self._is_closed or self._has_stale_cache:
                return
            wait_s = None
            if self._by_deadline:
                wait_s = max(0.0, self._by_deadline[0].deadline - time.monotonic())
            self._changed.wait(wait_s)

    def _on_answer(
        self, query: _Query, result: pycares.DNSResult | None, error: int | None
    ) -> None:
        """Take one of the two answers; runs on c-ares' thread, or on ours."""
        with self._changed:
            if result is None:
                query.faults.append(_FAULTS.get(error or 0, "dns_failed"))
            else:
                _collect(query, result)
            query.missing -= 1
        if query.missing == 0:
            self._finish(query)

    def _finish(self, query: _Query) -> None:
        """Remember what is known, tell everybody, let the next one of this owner start."""
        with self._changed:
            if self._asked.get(query.host) is not query:
                return  # over already: an answer after the deadline
            del self._asked[query.host]
            resolution = self._judge(query)
            self._remember(query.host, resolution)
            self._release(query.owner)
        for on_ready in query.waiting:
            on_ready(resolution)

    def _judge(self, query: _Query) -> Resolution:
        if any(self._rules.is_denied(address) for address in query.found):
            return self._failed("address_denied")
        if query.found:
            expires = time.monotonic() + max(TTL_MIN_S, query.ttl_s)
            return Resolution(tuple(query.found[:MAX_ADDRESSES]), expires)
        faults = {*query.faults, *(["dns_timeout"] if query.missing else [])}
        if self._is_closed:
            faults = {"dns_failed"}
        return self._failed(
            next((name for name in _FAULTS_BY_WEIGHT if name in faults), "dns_failed")
        )

    def _remember(self, host: str, resolution: Resolution) -> None:
        self._known.pop(host, None)  # so that the newest stands last
        if len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]
        self._known[host] = resolution
        if resolution.fault:
            self._has_stale_cache = True
            self._changed.notify_all()

    def _release(self, owner: str) -> None:
        self._busy[owner] -= 1
        if not self._busy[owner]:
            del self._busy[owner]
        held_back = self._held_back.get(owner)
        if held_back:
            self._may_start(held_back.popleft())
        elif held_back is not None:
            del self._held_back[owner]


def _collect(query: _Query, result: pycares.DNSResult) -> None:
    """Add the addresses at the end of the chain of names, and the shortest TTL on the way."""
    found = [
        record.data.addr
        for record in result.answer
        if isinstance(record.data, pycares.ARecordData | pycares.AAAARecordData)
    ]
    if not found:
        query.faults.append("dns_not_found")
        return
    query.found += found
    query.ttl_s = min(query.ttl_s, *(record.ttl for record in result.answer))
