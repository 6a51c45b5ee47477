"""Subscriptions, grants and topics, compiled and in memory, kept fresh by LISTEN and a poll.

A snapshot is immutable and swapped by one assignment. Both flows read only this: no flow asks a
table "who may?".
"""

import select
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TypeVar

import psycopg
import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from psycopg.conninfo import make_conninfo

from kafkahub import clock, config
from kafkahub.errors import Unavailable
from subscriptions.grant_rows import live_grant
from subscriptions.grants import Grant, GrantKey, Grants
from subscriptions.live import (
    NOTHING,
    LiveEndpoint,
    LiveReplay,
    LiveSubscription,
    LiveTopic,
    SigningKey,
    Snapshot,
)
from subscriptions.models import Endpoint, Partner, Replay, SigningSecret, Subscription, Topic
from subscriptions.models import Grant as GrantRow
from subscriptions.rows import (
    Surroundings,
    live_endpoint,
    live_replay,
    live_subscription,
    live_topic,
)

__all__ = [
    "LiveEndpoint",
    "LiveSubscription",
    "LiveTopic",
    "SigningKey",
    "Snapshot",
    "SnapshotKeeper",
    "listen_dsn",
    "load",
]

log = structlog.get_logger()

CHANNEL = "kafkahub_access"
POLL_S = 2.0
"""Longest time that a lost notification goes unnoticed; pauses and revocations have 5 s in all."""
RECONNECT_S = 1.0
LEFT_PARKED = timedelta(days=4)
"""How long a replay to another endpoint is known after its end: the schedule takes 75 h."""
UNUSED = ("created_at", "updated_at")
"""Columns of no meaning here: reading times would take half of a load."""
STOP_S = 10.0
"""Longest time ``stop`` waits: a statement of the load may run for 5 s."""
CONNECTION: Mapping[str, int | str] = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=5s",
}
"""A connection that only listens would never notice a dead peer; with these the poll does."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def load(previous: Snapshot | None = None) -> Snapshot:
    """Return the snapshot of now; what did not change is the same object as in ``previous``.

    One secret that does not open, or one filter that cannot be read, stops its owner only.
    Raises django.db.DatabaseError.
    """
    started_s = time.monotonic()
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        version = _version(is_outermost=is_outermost)
        snapshot = _build(version, previous or NOTHING)
    log.info(
        "snapshot.loaded",
        version=version,
        subscriptions=len(snapshot.subscriptions),
        duration_ms=round((time.monotonic() - started_s) * 1000, 1),
    )
    return snapshot


def _version(*, is_outermost: bool) -> int:
    """Return the access version, as the first query of a transaction that sees no later change.

    Inside a caller's transaction the isolation is the caller's.
    """
    with connection.cursor() as cursor:
        if is_outermost:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT version FROM access_version")  # its only row
        return int(cursor.fetchone()[0])


def _build(version: int, old: Snapshot) -> Snapshot:
    origins = _origins_of_active_partners()
    topics = _kept({row.name: live_topic(row) for row in Topic.objects.all()}, old.topics)
    around = Surroundings(
        partners=frozenset(origins),
        endpoints=_endpoints(old.endpoints),
        topics=topics,
        grants=_kept(_grants(topics, old.grants), old.grants),
    )
    subscriptions = {
        row.id: live_subscription(row, around, old.subscriptions.get(row.id))
        for row in Subscription.objects.webhooks().defer(*UNUSED)
    }
    return Snapshot(
        version=version,
        subscriptions=subscriptions,
        by_topic=_by_topic(subscriptions.values()),
        topics=around.topics,
        endpoints=around.endpoints,
        grants=around.grants,
        stale_at_ms=_stale_at_ms(around),
        origins=_kept(origins, old.origins),
        replays=_replays(subscriptions, around),
    )


def _replays(
    subscriptions: Mapping[str, LiveSubscription], around: Surroundings
) -> dict[str, LiveReplay]:
    now_open = Q(state__in=[Replay.State.RUNNING, Replay.State.PAUSED])
    # Its schedule is over by then: what is left parked is dead, or goes where the partner says.
    elsewhere = Q(endpoint__isnull=False, ended_at__gt=clock.now() - LEFT_PARKED)
    rows = Replay.objects.filter(now_open | elsewhere)
    return {
        row.id: live_replay(row, subscriptions[row.subscription_id], around)
        for row in rows
        if row.subscription_id in subscriptions
    }


def _origins_of_active_partners() -> dict[str, frozenset[str]]:
    active = Partner.objects.filter(status=Partner.Status.ACTIVE)
    rows = active.values_list("id", "allowed_origins")
    return {partner: frozenset(origins) for partner, origins in rows}


def _grants(topics: Mapping[str, LiveTopic], old: Grants) -> dict[GrantKey, Grant]:
    """Return the living grants; one whose rules cannot be read gives no right until it is mended.

    A grant made after the topics were read is in the next snapshot.
    """
    found: dict[GrantKey, Grant] = {}
    for row in GrantRow.objects.alive().defer(*UNUSED):
        key = (row.partner_id, row.topic_id, row.action)
        topic = topics.get(row.topic_id)
        grant = None if topic is None else live_grant(row, topic, old.get(key))
        if grant is not None:
            found[key] = grant
    return found


def _endpoints(old: Mapping[str, LiveEndpoint]) -> dict[str, LiveEndpoint]:
    secrets: dict[str, list[SigningSecret]] = defaultdict(list)
    for secret in SigningSecret.objects.signing().order_by("-id"):
        secrets[secret.endpoint_id].append(secret)
    return {
        row.id: live_endpoint(row, secrets[row.id], old.get(row.id))
        for row in Endpoint.objects.defer(*UNUSED)
    }


def _kept(new: Mapping[Key, Value], old: Mapping[Key, Value]) -> dict[Key, Value]:
    """Return ``new`` with the old object wherever it is equal."""
    return {key: old[key] if old.get(key) == value else value for key, value in new.items()}


def _by_topic(
    subscriptions: Iterable[LiveSubscription],
) -> dict[str, tuple[LiveSubscription, ...]]:
    found: dict[str, list[LiveSubscription]] = defaultdict(list)
    for subscription in subscriptions:
        for topic in subscription.topics:
            found[topic].append(subscription)
    return {topic: tuple(members) for topic, members in found.items()}


def _stale_at_ms(around: Surroundings) -> int | None:
    """Return when the first grant or key ends: no row changes then, and no trigger rings."""
    ends = [grant.valid_until_ms for grant in around.grants.values()]
    now_ms = int(clock.now().timestamp() * 1_000)
    ends += [grant.spent_until_ms for grant in around.grants.values() if grant.is_spent(now_ms)]
    for endpoint in around.endpoints.values():
        ends += [key.expires_at_ms for key in endpoint.keys]
    return min((end for end in ends if end is not None), default=None)


def listen_dsn() -> str:
    """Return the address for LISTEN, which must lead past any transaction pooler."""
    settings = config.load()
    return (settings.database_listen_url or settings.database_url).get_secret_value()


class SnapshotKeeper:
    """Keeps the snapshot of one process fresh.

    Runs   one thread, started by ``start``, after any fork
    Owns   the connection that listens, and Django's connection of its thread
    Gives  ``current``, swapped as a whole; ``on_change`` is called in the thread after each swap
    Ends   ``stop`` wakes the thread and waits for it

    load       makes a snapshot, given the one before
    dsn        see ``listen_dsn``
    checked_s  monotonic time at which ``current`` was last seen to be the newest
    """

    def __init__(
        self,
        load: Callable[[Snapshot | None], Snapshot],
        dsn: str,
        on_change: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._dsn = make_conninfo(dsn, **CONNECTION)
        self._on_change = on_change
        self._current: Snapshot | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)
        self.checked_s = float("-inf")

    @property
    def current(self) -> Snapshot:
        """The newest snapshot. Raises Unavailable before the first: none is not an empty one."""
        if self._current is None:
            raise Unavailable("Subscriptions were not read yet.")
        return self._current

    def start(self, deadline_s: float = 10.0) -> None:
        """Start the thread; return once there is a snapshot.

        Raises Unavailable when PostgreSQL gave none in time; the thread goes on trying.
        """
        self._thread.start()
        if not self.wait_until(0, deadline_s):
            raise Unavailable("Subscriptions could not be read from PostgreSQL in time.")

    def wait_until(self, version: int, deadline_s: float) -> bool:
        """Wait for a snapshot of at least this access version; return whether it came in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._current is not None and self._current.version >= version, deadline_s
            )

    def stop(self) -> None:
        """End the thread; ``current`` stays what it was."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake_writer.send(b"x")
        if self._thread.ident is not None:
            self._thread.join(STOP_S)
        self._wake_writer.close()
        self._wake_reader.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as listening:
                    listening.execute(f"LISTEN {CHANNEL}")
                    self._follow(listening)
            except (psycopg.Error, DatabaseError) as error:
                log.warning("snapshot.connection_lost", reason=str(error))
            except Exception:  # outermost loop of the thread: it must not end while others run
                log.exception("snapshot.refresh_failed")
            self._stopping.wait(RECONNECT_S)

    def _follow(self, listening: psycopg.Connection) -> None:
        """Reload at once, for nobody knows what was missed, then with every new version."""
        self._reload()
        while not self._stopping.is_set():
            self._rest(listening)
            if _version_of(listening) != self.current.version or not _seconds_left(self.current):
                self._reload()
            self.checked_s = time.monotonic()

    def _rest(self, listening: psycopg.Connection) -> None:
        """Sleep until something rings, ``stop`` wakes, a grant or key ends, or it is time to poll.

        What rang while a query ran is in psycopg's memory already: no socket would tell of it.
        """
        if not list(listening.notifies(timeout=0)):
            timeout_s = min(POLL_S, _seconds_left(self.current))
            sockets = select.poll()  # not select(): it takes no descriptor above 1023
            for one in (listening, self._wake_reader):
                sockets.register(one, select.POLLIN)
            sockets.poll(timeout_s * 1_000)
            list(listening.notifies(timeout=0))

    def _reload(self) -> None:
        try:
            snapshot = self._load(self._current)
        finally:
            connection.close()  # idle between loads, it would hold a process of the server
        with self._changed:
            self._current = snapshot
            self._changed.notify_all()
        self._on_change(snapshot)


def _version_of(listening: psycopg.Connection) -> int | None:
    row = listening.execute("SELECT version FROM access_version").fetchone()  # its only row
    return None if row is None else int(row[0])


def _seconds_left(snapshot: Snapshot) -> float:
    """Return how long the snapshot stays true if no row changes; 0 when it is over."""
    if snapshot.stale_at_ms is None:
        return float("inf")
    return max(0.0, snapshot.stale_at_ms / 1_000 - clock.now().timestamp())
