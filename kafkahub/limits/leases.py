"""The one place that talks to Redis about limits: in the background, many buckets at a time."""

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from kafkahub.limits.buckets import Bucket, Company
from kafkahub.limits.gcra import Rate

DEADLINE_S = 0.5
"""Longest wait for Redis in the background."""
ASK_DEADLINE_S = 0.05
"""Longest wait for Redis of somebody who waits for the answer."""
MAX_FAILURES = 3
"""Failures in a row after which this process goes on by itself."""
GAP_S = 0.005
"""Least time between two turns: what comes due meanwhile goes into one pipeline."""
COMPANY_S = 1.0
"""Time between two looks at who else lives, and at Redis while it is away."""
COMPANY_LIFE_S = 5
"""Seconds after which a process that said nothing is not counted."""
STREAMS_S = 2.0
"""Time between two reports of streams that stay open."""
STREAMS_LIFE_S = 10
"""Seconds after which the streams of a process that said nothing are not counted."""
BATCH = 100
"""Names one script call takes: far below the time in which Redis would keep others waiting."""
STOP_S = 5.0
PREFIX: Final = "kh:limit"

FAULTS = (redis.RedisError, OSError)

log = structlog.get_logger()


class Booking(NamedTuple):
    """One bucket on its way to Redis, with the debt to book and the units to lease."""

    bucket: Bucket
    debt: int
    wanted: int


class Paid(NamedTuple):
    """Redis' answer: units leased, and seconds until the burst is whole again."""

    leased: int
    whole_in_s: float


class Ledger(Protocol):
    """Whose buckets are booked; every method may be called from the background thread."""

    def collect(self) -> Sequence[Booking]:
        """Return what is due, which is on its way from now on."""

    def settle(self, bookings: Sequence[Booking], paid: Sequence[Paid], sent_s: float) -> None:
        """Take the answers over."""

    def put_back(self, bookings: Sequence[Booking]) -> None:
        """Take bookings back that did not get through."""

    def go_alone(self) -> None:
        """Book all debts in this process: Redis does not answer."""


class Streams(Protocol):
    """Whose open streams are counted together with those of other processes."""

    def collect_open(self, now_s: float) -> Mapping[str, int]:
        """Return the streams open here by the names that are due to be told."""

    def settle_open(self, others: Mapping[str, int]) -> None:
        """Take over how many the other processes have."""


class Script:
    """One Lua file beside this module."""

    def __init__(self, name: str) -> None:
        self.text = (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - how Redis names scripts

    def run(self, client: redis.Redis, keys: Sequence[str], arguments: Sequence[object]) -> object:
        """Return the script's answer; it is sent again only to a Redis that does not know it."""
        try:
            return client.evalsha(self.sha, len(keys), *keys, *map(str, arguments))
        except redis.exceptions.NoScriptError:
            client.script_load(self.text)
            return client.evalsha(self.sha, len(keys), *keys, *map(str, arguments))

    def run_many(
        self, client: redis.Redis, calls: Sequence[tuple[Sequence[str], Sequence[object]]]
    ) -> list[object]:
        """Return the answers of many calls in one pipeline."""
        try:
            return self._pipeline(client, calls)
        except redis.exceptions.NoScriptError:  # then not one of them was run
            client.script_load(self.text)
            return self._pipeline(client, calls)

    def _pipeline(
        self, client: redis.Redis, calls: Sequence[tuple[Sequence[str], Sequence[object]]]
    ) -> list[object]:
        work = client.pipeline(transaction=False)
        for keys, arguments in calls:
            work.evalsha(self.sha, len(keys), *keys, *map(str, arguments))
        return list(work.execute())


LEASE = Script("lease")
COMPANY = Script("company")
STREAMS = Script("streams")


def connect(url: str, deadline_s: float) -> redis.Redis:
    """Return a client that gives up in time and tries nothing twice."""
    return redis.Redis.from_url(
        url,
        socket_timeout=deadline_s,
        socket_connect_timeout=deadline_s,
        retry=Retry(NoBackoff(), 0),
    )


class Leases:
    """Books and leases for one process.

    Runs   one thread between ``start`` and ``stop``, after any fork
    Owns   its connections; ``company``, which it alone writes
    Ends   ``stop`` books what is due and waits for the thread, at most ``STOP_S``

    name     under which the processes of the company count each other
    on_away  called with whether this process goes on by itself, at each change
    """

    def __init__(
        self,
        url: str,
        company: Company,
        *,
        name: str = "processes",
        monotonic_s: Callable[[], float] = time.monotonic,
        on_away: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._background = connect(url, DEADLINE_S)
        self._asking = connect(url, ASK_DEADLINE_S)
        self._company = company
        self._name = name
        self._monotonic_s = monotonic_s
        self._on_away = on_away
        self._process = uuid4().hex
        self._failures = 0
        self._looked_s = float("-inf")
        self._rung = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, ledger: Ledger, streams: Streams) -> None:
        run = functools.partial(self._run, ledger, streams)
        self._wake.set()  # the first turn finds out who else lives
        self._thread = threading.Thread(target=run, name="limits", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
        self._background.close()
        self._asking.close()

    def ring(self) -> None:
        """Wake the thread: something is due. Costs nothing while it is awake anyway."""
        if not self._rung:
            self._rung = True
            self._wake.set()

    def ask(self, name: str, rate: Rate, wanted: int) -> Paid:
        """Return what Redis gives right now, for policies so slow that waiting is no matter.

        Raises one of ``FAULTS`` after ``ASK_DEADLINE_S``.
        """
        answer = LEASE.run(self._asking, [name], [rate.per_s, rate.burst, 0, wanted])
        return _paid(answer)[0]

    def _run(self, ledger: Ledger, streams: Streams) -> None:
        while not self._stopping.is_set():
            self._wake.wait(COMPANY_S)
            self._wake.clear()
            self._rung = False
            try:
                self._turn(ledger, streams)
            except Exception:  # outermost loop of the thread: limits must go on being kept
                log.exception("limiter.turn_failed")
            self._stopping.wait(GAP_S)

    def _turn(self, ledger: Ledger, streams: Streams) -> None:
        now_s = self._monotonic_s()
        try:
            if now_s - self._looked_s >= COMPANY_S:
                self._looked_s = now_s
                self._count_company()
            if not self._company.is_away:
                self._book(ledger)
                self._tell_streams(streams, now_s)
        except FAULTS as error:
            self._failed(ledger, error)

    def _count_company(self) -> None:
        answer = COMPANY.run(
            self._background, [f"{PREFIX}:{self._name}"], [self._process, COMPANY_LIFE_S]
        )
        self._company.processes = max(1, int(str(answer)))
        self._failures = 0
        if self._company.is_away:
            self._company.is_away = False
            self._on_away(False)
            log.info("limiter.redis_returned", processes=self._company.processes)

    def _book(self, ledger: Ledger) -> None:
        bookings = ledger.collect()
        if not bookings:
            return
        sent_s = self._monotonic_s()
        calls = [_call(bookings[at : at + BATCH]) for at in range(0, len(bookings), BATCH)]
        try:
            answers = LEASE.run_many(self._background, calls)
        except FAULTS:
            ledger.put_back(bookings)
            raise
        ledger.settle(bookings, [paid for one in answers for paid in _paid(one)], sent_s)
        self._failures = 0

    def _tell_streams(self, streams: Streams, now_s: float) -> None:
        counts = streams.collect_open(now_s)
        names = list(counts)
        for at in range(0, len(names), BATCH):
            some = names[at : at + BATCH]
            keys = [f"{PREFIX}:{name}" for name in some]
            arguments = [self._process, STREAMS_LIFE_S, *(counts[name] for name in some)]
            sums = STREAMS.run(self._background, keys, arguments)
            streams.settle_open(dict(zip(some, _numbers(sums), strict=True)))

    def _failed(self, ledger: Ledger, error: Exception) -> None:
        self._failures += 1
        if self._company.is_away:
            return
        if self._failures < MAX_FAILURES:
            self._looked_s = float("-inf")
            self.ring()
            return
        self._company.is_away = True
        ledger.go_alone()
        self._on_away(True)
        log.warning("limiter.redis_lost", reason=str(error), processes=self._company.processes)


def _call(bookings: Sequence[Booking]) -> tuple[list[str], list[object]]:
    arguments: list[object] = []
    for bucket, debt, wanted in bookings:
        arguments += (bucket.rate.per_s, bucket.rate.burst, debt, wanted)
    return [f"{PREFIX}:{bucket.name}" for bucket, _, _ in bookings], arguments


def _paid(answer: object) -> list[Paid]:
    numbers = _numbers(answer)
    return [
        Paid(leased, micros / 1_000_000)
        for leased, micros in zip(numbers[::2], numbers[1::2], strict=True)
    ]


def _numbers(answer: object) -> list[int]:
    if not isinstance(answer, list):
        raise redis.ResponseError("a script of ours answered with no list")
    return [int(each) for each in answer]
