"""The way out: a principal and what it asks for become a seat in the hub.

opened = await streams.open(principal, wanted)      # authorised, start found, nothing sent
... the door sends its head ...
listener = streams.attach(opened, connection, door) # from here on frames flow
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import structlog

from gateway.frames import Door, Format, Gap, Style, Text
from gateway.hub.audience import Spec
from gateway.hub.connections import Connection, Listener, Seat, ending
from gateway.hub.fanout import Hub
from gateway.hub.place import Place, Tokens
from gateway.starts import Asks, Finder, Found, Latest, Spots, Start
from kafkahub import clock
from kafkahub.crypto import KeyRing
from kafkahub.errors import (
    ActionNotGranted,
    Forbidden,
    NotFound,
    QuotaExceeded,
    TopicNotFound,
    Unavailable,
)
from kafkahub.kafka.faults import UnknownTopic
from subscriptions import cursor as codec
from subscriptions import sealing
from subscriptions.access import authorize, refuse_spent
from subscriptions.cursor import Cursor
from subscriptions.filters.closures import compile_filter
from subscriptions.filters.places import refuse_places
from subscriptions.filters.syntax import parse
from subscriptions.grants import Grant, Principal
from subscriptions.live import Snapshot

MAX_TOPICS = 20
UNCHECKED_S = 300.0
"""How long streams go on while nobody can tell whether their rights still stand."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a listener asks for, whatever door it came through.

    topics       1 to 20 names, each once
    text         how the door writes frames
    filter       as decoded JSON; None or ``{}`` for everything
    cursor       a token of ours, or a JSON array in the form of KafkaSSE; decides before ``start``
    on_gap_fail  a gap ends the connection
    """

    topics: tuple[str, ...]
    text: Text
    filter: object = None
    start: Start = Latest()  # noqa: RUF009 - it has no members that could be shared by mistake
    cursor: str | None = None
    format: Format = "envelope"
    every: bool = False
    on_gap_fail: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A seat that is taken but not yet used; give it back with ``Streams.release``.

    place   where the listener stands; its token is what the opening heartbeat carries
    before  token that it gave, to be carried until the last gap is told; ``""`` without gaps
    gaps    to be told after the opening heartbeat, before any record
    """

    spec: Spec
    tokens: Tokens
    seat: Seat
    place: Place
    before: str
    gaps: Sequence[Gap]
    on_gap_fail: bool

    @property
    def token(self) -> str:
        return self.place.token(self.tokens)


class Looked(NamedTuple):
    """Where a reader stands that no seat was taken for."""

    spec: Spec
    tokens: Tokens
    found: Found


class Streams:
    """Opens streams, and ends those whose right has gone.

    Lives on the event loop. A cursor gives no right: each open is authorised from nothing.

    snapshot   returns what the process knows of grants and topics
    asks       answers questions about topics, see ``gateway.topology``
    ring       the keys that seal cursors
    """

    def __init__(
        self, hub: Hub, snapshot: Callable[[], Snapshot], asks: Asks, ring: KeyRing
    ) -> None:
        self.hub = hub
        self._snapshot = snapshot
        self._asks = asks
        self._ring = ring

    async def open(self, principal: Principal, wanted: Wanted) -> Opened:
        """Return a seat for a listener.

        Raises TopicNotFound alike for unknown and ungranted topics, ActionNotGranted, Forbidden
        without the scope, Invalid (``invalid_filter``, ``invalid_cursor``,
        ``too_many_partitions``), NotSupportedByCluster, Overloaded, Unavailable.
        """
        looked = await self.look(principal, wanted)
        spec, tokens, found = looked.spec, looked.tokens, looked.found
        start = Place(found.offsets, found.time_ms)
        seat, place = await self.hub.seat(spec, tokens, start, found.ends)
        return Opened(
            spec=spec,
            tokens=tokens,
            seat=seat,
            place=place,
            before=_before(wanted.cursor, found.gaps, hides=spec.seals),
            gaps=found.gaps,
            on_gap_fail=wanted.on_gap_fail,
        )

    async def look(self, principal: Principal, wanted: Wanted, *, is_live: bool = True) -> "Looked":
        """Return where a reader would stand, without a seat; raises as ``open`` does.

        is_live  ``latest`` may stay ``LATEST``, which a seat resolves; else it is an offset
        """
        spec = self.spec(principal, wanted)
        given, is_sealed = self._read_cursor(wanted.cursor, principal)
        reads = {topic: is_live and self.hub.seats.is_reading(topic) for topic in spec.topics}
        finder = Finder(
            asks=self._asks,
            reads=reads,
            start=wanted.start,
            given=given,
            is_sealed=is_sealed,
            hides=spec.seals,
        )
        try:
            found = await finder.find()
        except UnknownTopic as error:
            raise Unavailable(f"Kafka does not have the topic {error} yet.") from None
        now = clock.now()
        seal = sealing.sealer(self._ring, principal.partner, now).seal if spec.seals else None
        key = f"{principal.partner}:{sealing.month_of(now)}" if seal else ""
        return Looked(spec, Tokens(found.cluster, found.tags, seal, key), found)

    def authorize(self, principal: Principal, topics: Sequence[str]) -> tuple[Grant, ...]:
        """Return the grants that let a principal read topics; raises as ``open`` does."""
        return self._grants(principal, topics, self._snapshot())

    def listener(self, opened: Opened, connection: Connection, door: Door) -> Listener:
        """Return a listener that takes nothing yet; see ``Hub.attach``."""
        listener = Listener(connection, door, opened.spec, opened.seat, opened.place)
        listener.on_gap_fail = opened.on_gap_fail
        return listener

    def attach(self, opened: Opened, connection: Connection, door: Door) -> Listener:
        """Return a listener that takes what comes from its seat on; ``Hub.detach`` ends it."""
        listener = self.listener(opened, connection, door)
        self.hub.attach(listener)
        return listener

    def release(self, opened: Opened) -> None:
        """Give back a seat that no listener took."""
        self.hub.seats.release(opened.spec)

    def spec(self, principal: Principal, wanted: Wanted) -> Spec:
        """Return the audience that a principal's wish makes, by the rights of this moment."""
        snapshot = self._snapshot()
        topics = tuple(sorted(wanted.topics))
        grants = self._grants(principal, topics, snapshot)
        hides = any(grant.is_filtered for grant in grants)
        is_filtered = wanted.filter is not None and wanted.filter != {}
        parsed = parse(wanted.filter) if is_filtered else None
        if parsed is not None and hides:
            refuse_places(parsed)
        test = None if parsed is None else compile_filter(parsed)
        return Spec(
            topics=topics,
            grants=grants,
            catalogue=tuple(snapshot.topics[topic] for topic in topics),
            filter_text=_spelled(wanted.filter) if is_filtered else "",
            style=Style(wanted.text, wanted.format, hides),
            every=wanted.every,
            test=test,
        )

    def recheck(self, alive: Mapping[str, Principal], asked: Collection[str]) -> None:
        """End every stream whose right changed; called with each new snapshot.

        alive  the credentials that are still good, of those that were asked about, by id
        asked  a stream whose credential came meanwhile is looked at the next time
        """
        self.hub.tabs.renew(alive)
        for connection in self.hub.connections:
            principal = connection.principal
            if principal.is_partners and principal.credential not in asked:
                continue
            reason = self._fault(connection, alive)
            if reason is not None:
                is_gone = reason == "revoked"
                self.hub.end(connection, ending(reason), with_rest=not is_gone)

    def check_age(self, checked_s: float) -> None:
        """End every stream when rights were not seen for too long; ``checked_s`` is monotonic."""
        if time.monotonic() - checked_s > UNCHECKED_S:
            for connection in self.hub.connections:
                self.hub.end(connection, ending("unavailable", "access cannot be checked"))

    def _fault(self, connection: Connection, alive: Mapping[str, Principal]) -> str | None:
        principal = connection.principal
        if principal.is_partners:
            now = alive.get(principal.credential)
            if now is None:
                return "revoked"
            left_s = now.expires_at_ms / 1000 - clock.now().timestamp()
            connection.ends_at(time.monotonic() + left_s, "revoked")
        snapshot = self._snapshot()
        for listener in connection.listeners:
            try:
                grants = self._grants(principal, listener.spec.topics, snapshot)
            except (NotFound, Forbidden):
                return "revoked"
            except QuotaExceeded:
                return "quota_exceeded"
            catalogue = tuple(snapshot.topics[topic] for topic in listener.spec.topics)
            if grants != listener.spec.grants or catalogue != listener.spec.catalogue:
                return "grant_changed"
        return None

    def _grants(
        self, principal: Principal, topics: Sequence[str], snapshot: Snapshot
    ) -> tuple[Grant, ...]:
        now_ms = int(clock.now().timestamp() * 1000)
        try:
            grants = tuple(
                authorize(
                    principal,
                    topic,
                    "read",
                    grants=snapshot.grants,
                    topics=snapshot.topics,
                    now_ms=now_ms,
                )
                for topic in topics
            )
        except ActionNotGranted:
            raise
        except NotFound:
            raise TopicNotFound from None
        for topic in topics:
            if not principal.may(topic, "read"):
                raise Forbidden(f"The credential has no scope topic:{topic}:read.")
        for grant in grants:
            refuse_spent(grant, now_ms)
        return grants

    def _read_cursor(
        self, text: str | None, principal: Principal
    ) -> tuple[Cursor | Spots | None, bool]:
        """Return a cursor's position, and whether it came sealed."""
        if text is None:
            return None, False
        if text.lstrip().startswith("["):
            return codec.read_array(text), False
        if codec.raw(text).startswith(codec.SEALED):
            return sealing.sealer(self._ring, principal.partner, clock.now()).open(text), True
        return codec.decode(text), False


def _before(given: str | None, gaps: Sequence[Gap], *, hides: bool) -> str:
    """Return the token that is carried until all gaps are told: a cut then tells them again."""
    if not gaps or given is None or hides or given.lstrip().startswith("["):
        return ""
    return given


def _spelled(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
