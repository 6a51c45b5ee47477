"""What credentials do, minute by minute, counted in memory and written twice a minute.

Unusual use is told from it. Nothing here ever waits for a database, and what cannot be written
while PostgreSQL is away is forgotten: it is no ground to refuse anybody.
"""

import functools
import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple, Protocol

import structlog
from django.db import DatabaseError, connection

from kafkahub import clock
from subscriptions.flushing import Flusher

FLUSH_S = 30.0
MINUTE_S = 60
MAX_SUBJECTS = 50_000
"""Counters kept between two writes; beyond, newcomers are not counted."""
MAX_NAMES = 32
"""Different networks, agents or missing things kept of one subject and minute: rules ask for 20."""
SHORT_S = 10.0
"""A stream that lasted less was hardly read."""
PREFIX_BITS = {4: 16, 6: 32}
NOT_FOUND = 404
CLIENT_ERRORS = range(400, 500)

ADD = """
INSERT INTO subscriptions_sighting AS kept
       (subject, partner, minute, requests, errors, failures, streams, short_streams,
        missing, networks, agents)
SELECT u.subject, u.partner, to_timestamp(u.minute * 60.0), u.requests, u.errors, u.failures,
       u.streams, u.short_streams, string_to_array(u.missing, ' '),
       string_to_array(u.networks, ' '), string_to_array(u.agents, chr(10))
  FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::int[], %s::int[], %s::int[], %s::int[],
              %s::int[], %s::text[], %s::text[], %s::text[])
       AS u(subject, partner, minute, requests, errors, failures, streams, short_streams,
            missing, networks, agents)
 ORDER BY u.subject, u.minute
ON CONFLICT (subject, minute) DO UPDATE SET
       requests = kept.requests + EXCLUDED.requests,
       errors = kept.errors + EXCLUDED.errors,
       failures = kept.failures + EXCLUDED.failures,
       streams = kept.streams + EXCLUDED.streams,
       short_streams = kept.short_streams + EXCLUDED.short_streams,
       missing = ARRAY(SELECT DISTINCT unnest(kept.missing || EXCLUDED.missing)),
       networks = ARRAY(SELECT DISTINCT unnest(kept.networks || EXCLUDED.networks)),
       agents = ARRAY(SELECT DISTINCT unnest(kept.agents || EXCLUDED.agents))
"""  # by the unique index, in one order of row locks in all processes
ADD_HOURS = """
INSERT INTO subscriptions_sightinghour AS kept (subject, hour, requests, networks, agents)
SELECT u.subject, date_trunc('hour', to_timestamp(min(u.minute) * 60.0), 'UTC'), sum(u.requests),
       ARRAY(SELECT DISTINCT unnest(string_to_array(string_agg(nullif(u.networks, ''), ' '), ' '))),
       ARRAY(SELECT DISTINCT
             unnest(string_to_array(string_agg(nullif(u.agents, ''), chr(10)), chr(10))))
  FROM unnest(%s::text[], %s::bigint[], %s::int[], %s::text[], %s::text[])
       AS u(subject, minute, requests, networks, agents)
 WHERE u.requests > 0
 GROUP BY u.subject, u.minute / 60
 ORDER BY u.subject
ON CONFLICT (subject, hour) DO UPDATE SET
       requests = kept.requests + EXCLUDED.requests,
       networks = ARRAY(SELECT DISTINCT unnest(kept.networks || EXCLUDED.networks)),
       agents = ARRAY(SELECT DISTINCT unnest(kept.agents || EXCLUDED.agents))
"""

log = structlog.get_logger()


class Known(Protocol):
    """Whoever is authenticated; see ``grants.Principal``."""

    @property
    def id(self) -> str: ...

    @property
    def partner(self) -> str: ...


class Answered(NamedTuple):
    """One request that was answered.

    path         of the URL
    lasted_s     from its head to the end of its answer
    is_stream    whether it was one for the client to keep open
    """

    status: int
    path: str
    address: str
    agent: str
    lasted_s: float
    is_stream: bool = False


class Key(NamedTuple):
    """``minute`` is Unix time in whole minutes."""

    subject: str
    partner: str
    minute: int


@dataclass(slots=True)
class Seen:
    """What one subject did in one minute."""

    requests: int = 0
    errors: int = 0
    failures: int = 0
    streams: int = 0
    short_streams: int = 0
    missing: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)


class Sightings:
    """Counts for one process. Shared by all threads and the event loop.

    Runs   one thread between ``start`` and ``stop``, which writes
    Owns   the counters since the last write
    Ends   ``stop`` writes once more
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Key, Seen] = {}
        self._flusher = Flusher("sightings", FLUSH_S, self.flush)

    def answered(self, who: Known, answered: Answered) -> None:
        """Count a request of a known credential; memory only."""
        with self._lock:
            seen = self._of(who.id, who.partner)
            if seen is None:
                return
            seen.requests += 1
            seen.errors += answered.status in CLIENT_ERRORS
            if answered.is_stream:
                seen.streams += 1
                seen.short_streams += answered.lasted_s < SHORT_S
            if answered.status == NOT_FOUND:
                _keep(seen.missing, _digest(answered.path))
            _keep(seen.networks, network_of(answered.address))
            _keep(seen.agents, family_of(answered.agent))

    def failed(self, names: Iterable[str]) -> None:
        """Count a credential that was refused, under each of these names; memory only."""
        with self._lock:
            for name in names:
                seen = self._of(name, "")
                if seen is not None:
                    seen.failures += 1

    def start(self) -> None:
        self._flusher.start()

    def stop(self) -> None:
        self._flusher.stop()

    def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            seen, self._seen = self._seen, {}
        if not seen:
            return
        try:
            _write(seen)
        except DatabaseError as error:
            log.warning("sightings.not_written", rows=len(seen), error=type(error).__name__)

    def _of(self, subject: str, partner: str) -> Seen | None:
        key = Key(subject, partner, int(clock.now().timestamp()) // MINUTE_S)
        found = self._seen.get(key)
        if found is None and len(self._seen) < MAX_SUBJECTS:
            found = self._seen[key] = Seen()
        return found


@functools.lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """Return the /16 (IPv6: /32) of an address, "" for what is none."""
    try:
        source = ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(source, "ipv4_mapped", None) or source
    return str(ip_network((mapped, PREFIX_BITS[mapped.version]), strict=False))


@functools.lru_cache(maxsize=10_000)
def family_of(agent: str) -> str:
    """Return the name a client gives itself, without versions: ``python-requests``."""
    words = agent.split("/", 1)[0].split()
    return words[0][:60] if words else ""


def _keep(names: set[str], name: str) -> None:
    if name and len(names) < MAX_NAMES:
        names.add(name)


def _digest(path: str) -> str:
    """Return what tells paths apart without keeping what somebody looked for."""
    return hashlib.blake2b(path.encode(errors="replace"), digest_size=8).hexdigest()


def _write(seen: Mapping[Key, Seen]) -> None:
    keys, values = list(seen), list(seen.values())
    subjects = [key.subject for key in keys]
    minutes = [key.minute for key in keys]
    networks = [" ".join(one.networks) for one in values]
    agents = ["\n".join(one.agents) for one in values]
    counts = [
        [getattr(one, name) for one in values]
        for name in ("requests", "errors", "failures", "streams", "short_streams")
    ]
    missing = [" ".join(one.missing) for one in values]
    partners = [key.partner for key in keys]
    with connection.cursor() as cursor:
        cursor.execute(ADD, [subjects, partners, minutes, *counts, missing, networks, agents])
        cursor.execute(ADD_HOURS, [subjects, minutes, counts[0], networks, agents])


@functools.cache
def process_sightings() -> Sightings:
    """Return the one of this process."""
    return Sightings()
