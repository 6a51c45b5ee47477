"""What the probes of an orchestrator ask: is it alive, is it ready, what are its numbers.

A ``Watch`` looks at the neighbours every few seconds in a thread of its own, so that a probe is
answered from memory and an outage next door cannot make it hang. The web process answers in
``asgi.py``, the parent of a worker through ``health_server.py``.
"""

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import psycopg
import redis
import structlog

from kafkahub import clock
from kafkahub.config import Config
from kafkahub.observability import metrics

LOOK_EVERY_S = 2.0
"""Time between two looks at each neighbour: PostgreSQL's age may reach 10 s, Redis's 4."""

LOOK_DEADLINE_S = 3
"""Longest look, in whole seconds, as libpq counts them."""

DRAIN_DEADLINE_S = 5.0
"""Longest wait for the watching thread at the end."""

log = structlog.get_logger()
neighbour_up = {
    "postgres": metrics.gauge("postgres_up", "1 while PostgreSQL answers.", across="min"),
    "redis": metrics.gauge("redis_up", "1 while Redis answers.", across="min"),
    "kafka": metrics.gauge("kafka_up", "1 while a Kafka broker answers.", across="min"),
}
clock_offset = metrics.gauge(
    "clock_offset_seconds", "PostgreSQL's clock minus ours, in seconds.", across="max"
)

_fork_gate = threading.Lock()
"""Held while a watch sets a gauge, and while the process forks.

A prefork parent forks at any moment; without this a child could inherit the lock of the metric
files in a locked state, which nobody would ever release.
"""


class Probe(NamedTuple):
    """How one neighbour is looked at.

    look       returns when it answered, raises otherwise
    max_age_s  how long ago the last answer may be
    required   False: without it the process is degraded, not unready
    close      gives back what the looks needed
    """

    look: Callable[[], None]
    max_age_s: float
    required: bool = True
    close: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The state of one neighbour; ``age_s`` is None when it never answered."""

    ok: bool
    age_s: float | None
    error: str | None = None


class Readiness(NamedTuple):
    """``status`` is ``ready``, ``degraded`` or ``unready``; only the last one is a 503."""

    status: str
    parts: Mapping[str, Part]

    @property
    def http_status(self) -> int:
        return 503 if self.status == "unready" else 200

    def body(self, *, with_parts: bool) -> bytes:
        """Return the JSON of an answer; parts are for operators, not for the public."""
        shown = (
            {"status": self.status, "parts": self.parts} if with_parts else {"status": self.status}
        )
        return msgspec.json.encode(shown)


class Watch:
    """Looks at the neighbours of this process.

    Runs   one thread a neighbour between ``start`` and ``stop``: one that hangs delays no other
    Owns   what the probes were made with
    Ends   ``stop`` waits for looks under way, at most ``DRAIN_DEADLINE_S``
    """

    def __init__(
        self, probes: Mapping[str, Probe], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_draining = False
        self._probes = probes
        self._monotonic = monotonic
        self._last: dict[str, float] = {}
        self._errors: dict[str, str | None] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        _guard_forks()
        for name in self._probes:
            thread = threading.Thread(
                target=self._run, args=[name], name=f"watch-{name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def drain(self) -> None:
        """Tell probes that this process takes no new work."""
        self.is_draining = True

    def stop(self) -> None:
        self.drain()
        self._ended.set()
        for thread in self._threads:
            thread.join(DRAIN_DEADLINE_S)
        for probe in self._probes.values():
            if probe.close is not None:
                probe.close()

    def look(self, name: str) -> None:
        """Look at one neighbour now and remember what was seen."""
        error: str | None = None
        try:
            self._probes[name].look()
        except Exception as fault:  # noqa: BLE001 - whatever a neighbour does, the answer is "not up"
            error = type(fault).__name__
        else:
            self._last[name] = self._monotonic()
        self._tell_change(name, error)
        self._errors[name] = error
        with _fork_gate:
            neighbour_up[name].set(error is None)

    def readiness(self) -> Readiness:
        """Return what a probe is told now; reads memory only."""
        now = self._monotonic()
        parts = {name: self._part(name, now) for name in self._probes}
        missing = [self._probes[name].required for name, part in parts.items() if not part.ok]
        if self.is_draining or any(missing):
            return Readiness("unready", parts)
        return Readiness("degraded" if missing else "ready", parts)

    def _part(self, name: str, now: float) -> Part:
        last = self._last.get(name)
        age_s = None if last is None else round(now - last, 1)
        is_fresh = age_s is not None and age_s <= self._probes[name].max_age_s
        return Part(is_fresh, age_s, self._errors.get(name))

    def _tell_change(self, name: str, error: str | None) -> None:
        before = self._errors.get(name)
        if error and not before:
            log.warning("neighbour.lost", neighbour=name, error=error)
        elif before and not error:
            log.info("neighbour.returned", neighbour=name)

    def _run(self, name: str) -> None:
        self.look(name)
        while not self._ended.wait(LOOK_EVERY_S):
            self.look(name)


@functools.cache
def _guard_forks() -> None:
    os.register_at_fork(
        before=_fork_gate.acquire,
        after_in_parent=_fork_gate.release,
        after_in_child=_fork_gate.release,
    )


def neighbours(config: Config, look_at_kafka: Callable[[], None]) -> dict[str, Probe]:
    """Return the probes of this installation, for ``Watch``."""
    postgres = PostgresLook(config.database_url.get_secret_value())
    cache = RedisLook(config.redis_url.get_secret_value())
    return {
        "postgres": Probe(postgres, max_age_s=10, close=postgres.close),
        "kafka": Probe(look_at_kafka, max_age_s=30),
        "redis": Probe(cache, max_age_s=10, required=False, close=cache.close),
    }


class PostgresLook:
    """Asks PostgreSQL for its time on a connection of its own, made anew after a fault."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.connection: psycopg.Connection[tuple[float]] | None = None

    def __call__(self) -> None:
        if self.connection is None or self.connection.closed:
            self.connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=LOOK_DEADLINE_S,
                application_name="kafkahub-health",
                options=f"-c statement_timeout={LOOK_DEADLINE_S}s",
                tcp_user_timeout=LOOK_DEADLINE_S * 1000,
            )
        try:
            row = self.connection.execute("SELECT extract(epoch FROM now())::float8").fetchone()
        except psycopg.Error:
            self.connection.close()
            raise
        if row is not None:
            with _fork_gate:
                clock_offset.set(row[0] - clock.now().timestamp())

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


class RedisLook:
    """Pings Redis."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=LOOK_DEADLINE_S, socket_connect_timeout=LOOK_DEADLINE_S
        )

    def __call__(self) -> None:
        self._client.ping()

    def close(self) -> None:
        self._client.close()


def dial_kafka(bootstrap: str) -> Callable[[], None]:
    """Return a look that is content when one broker takes a connection.

    For the parent of prefork workers only: a librdkafka client there would be copied, without its
    threads, into every child.
    """

    def look() -> None:
        for broker in bootstrap.split(","):
            host, _, port = broker.strip().rpartition(":")
            with contextlib.suppress(OSError):
                socket.create_connection((host.strip("[]"), int(port)), LOOK_DEADLINE_S).close()
                return
        raise ConnectionError(f"no broker of {bootstrap} takes a connection")

    return look


class Answer(NamedTuple):
    """One small HTTP answer."""

    status: int
    content_type: str
    body: bytes


def answer(path: str, watch: Watch, *, with_parts: bool) -> Answer:
    """Return the answer to one of the three paths, 404 to any other."""
    match path:
        case "/livez":
            return Answer(200, "application/json", b'{"status":"alive"}')
        case "/readyz":
            readiness = watch.readiness()
            body = readiness.body(with_parts=with_parts)
            return Answer(readiness.http_status, "application/json", body)
        case "/metrics":
            return Answer(200, metrics.CONTENT_TYPE, metrics.text())
        case _:
            return Answer(404, "application/json", b'{"status":404,"title":"Not Found"}')
