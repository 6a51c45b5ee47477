"""A WebSocket subscription in a pull group: leased records as events, acknowledged by cursor."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway import messages
from gateway.flow import Flow
from gateway.frames import Beat, State
from gateway.hub.audience import FRAME_BYTES
from gateway.hub.connections import Connection, ending
from gateway.hub.fanout import Hub
from gateway.hub.groups import Frames, gap_of
from gateway.hub.log import Part
from gateway.hub.reads import Bounds
from gateway.leased import Given, Handed, Member, place_of
from gateway.leasing import Leasing
from gateway.messages import MAX_UNACKED_CURSORS, WebSocketDoor
from gateway.stream import Streams, Wanted
from gateway.tolls import Tolls
from kafkahub import clock, ids
from kafkahub.errors import Conflict, Forbidden, HubError, NotFound, Unavailable
from subscriptions.audit import Actor, ActorKind
from subscriptions.pull.acks import Act
from subscriptions.pull.leases import TakenOver
from subscriptions.pull.rows import InstanceGone, Name

DOOR = "ws"
LEASE_S = 600.0
"""A client acknowledges by cursor and cannot extend; one that dies is found by ``TIMEOUT_S``."""
TIMEOUT_S = 30.0
"""How long an instance lives without a sign of its process."""
WAIT_S = 5.0
"""Longest wait in one read; each is a sign of life."""
RETRY_S, GIVE_UP_S = 1.0, 20.0
"""While Kafka or PostgreSQL is away: how often is tried again, and how long."""
ACK_S = 0.1
"""Acknowledgements of so long are one statement."""
MOST = Bounds(max_records=1_000, max_bytes=256 * 1024)
NOTHING = Bounds(max_records=0, max_bytes=1)
TAKEN = "another subscription has the instance"

Tell = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Groups:
    """What such subscriptions of a process share.

    leasing  returns the use case; it is made when the process starts
    open     the subscription that has an instance here: a newer one takes its place at once
    """

    hub: Hub
    streams: Streams
    tolls: Tolls
    frames: Frames
    leasing: Callable[[], Leasing]
    open: dict[Name, "Grouped"] = field(default_factory=dict)

    async def join(self, client: "Client", wish: messages.Subscribe, wanted: Wanted) -> "Grouped":
        """Return a subscription in a group, joined. Raises as ``Streams.open``, and Conflict."""
        connection, principal = client.connection, client.connection.principal
        session = ids.new("ses")
        looked = await self.streams.look(principal, wanted, is_live=False)
        actor = Actor(
            kind=ActorKind.KEY,
            id=principal.id,
            partner=principal.partner,
            address=connection.address or None,
        )
        instance = wish.instance or f"ws-{session.rpartition('_')[2]}"
        member = Member(
            actor=actor,
            name=Name(principal.partner, wish.group or "", instance),
            mode="ordered",
            spec=lambda: self.streams.spec(connection.principal, wanted),
            tokens=looked.tokens,
            found=looked.found,
            lease_s=LEASE_S,
            timeout_s=TIMEOUT_S,
            session=session,
        )
        leasing = self.leasing()
        try:
            await leasing.join(member)
            positions = await leasing.positions(*member.name[:2])
        except InstanceGone:
            raise Conflict("The instance was ended meanwhile; subscribe again.") from None
        made = Grouped(self, client, member, positions)
        made.is_strict = wanted.on_gap_fail
        older, self.open[member.name] = self.open.get(member.name), made
        if older is not None:  # one of another process sees it by its next read
            older.end("taken_over", TAKEN)
        return made


class Client(NamedTuple):
    """Whom a subscription tells; ``flow`` says how much it may be sent."""

    connection: Connection
    door: WebSocketDoor
    flow: Flow
    tell: Tell


class Grouped:
    """One such subscription.

    Runs   ``run``, in a task of its connection
    Ends   when that is cancelled: what was acknowledged is settled, the rest goes back

    cursor  behind what was handed out
    """

    def __init__(
        self, groups: Groups, client: Client, member: Member, positions: dict[Part, int]
    ) -> None:
        self._groups = groups
        self._connection, self._door, self._flow, self._tell = client
        self._member = member
        self._positions = positions
        self._leasing = groups.leasing()
        self._given: OrderedDict[str, dict[Part, bytes]] = OrderedDict()
        self._acts: dict[Part, bytes] = {}
        self._acted = asyncio.Event()
        self._changed = asyncio.Event()
        self.is_strict = False
        self.state: State = "catching_up"

    @property
    def topics(self) -> tuple[str, ...]:
        return self._member.spec().topics

    @property
    def cursor(self) -> str:
        return place_of(self._member, self._positions).token(self._member.tokens)

    def beat(self) -> Beat:
        """Return what a heartbeat tells; how far behind a group is, its own door says."""
        return Beat(clock.rfc3339(clock.now()), self.state, None, 0.0)

    def end(self, reason: str, detail: str = "") -> None:
        """End the whole connection."""
        self._groups.hub.end(self._connection, ending(reason, detail), with_rest=False)

    def ack(self, cursor: str) -> None:
        """Take everything up to a cursor as processed; the caller has checked that it is out."""
        while self._given:
            passed, last = self._given.popitem(last=False)
            self._acts |= last  # in order: an ack covers all before it in its partition
            if passed == cursor:
                break
        self._acted.set()
        self.look()

    def look(self) -> None:
        """Look again whether more may be sent."""
        self._changed.set()

    async def run(self) -> None:
        """Hand records out, and settle what is acknowledged, until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed())
                tasks.create_task(self._flush())
        finally:
            if self._groups.open.get(self._member.name) is self:
                del self._groups.open[self._member.name]
            await asyncio.shield(self._close())

    async def _close(self) -> None:
        with suppress(HubError, InstanceGone):
            await self._settle()
            await self._leasing.leave(self._member)

    async def _flush(self) -> None:
        while True:
            await self._acted.wait()
            await asyncio.sleep(ACK_S)
            self._acted.clear()
            try:
                is_taken = await self._settle()
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                self._acted.set()
                continue
            if not is_taken:
                text = "The records are another instance's by now."
                told = messages.error("invalid_cursor", text, sub=self._door.sub)
                await self._tell(told)

    async def _settle(self) -> bool:
        """Commit what was acknowledged; return whether all of it was still ours."""
        acts, self._acts = self._acts, {}
        if not acts:
            return True
        try:
            failed = await self._leasing.settle(
                *self._member.name[:2], [Act(one, "ack") for one in acts.values()]
            )
        except Unavailable:
            self._acts = acts | self._acts
            raise
        self._member.rung.set()
        return not failed

    async def _feed(self) -> None:
        while True:
            room = await self._room()
            bounds = NOTHING if room == 0 else Bounds(min(room or 1_000, 1_000), MOST.max_bytes)
            try:
                handed = await self._receive(bounds, WAIT_S if room != 0 else 0.0)
            except (TakenOver, InstanceGone):
                self.end("taken_over", TAKEN)
                return
            except (NotFound, Forbidden):
                self.end("revoked")
                return
            except Conflict as error:
                self.end("protocol_error", error.detail)
                return
            if handed is None or not await self._give(handed):
                return

    async def _room(self) -> int | None:
        """Return how many records may be sent, after waiting for some; 0 when none came free."""
        if self._flow.room == 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await self._changed.wait()
        return self._flow.room

    async def _receive(self, bounds: Bounds, wait_s: float) -> Handed | None:
        """Return what is handed out; None where Kafka or PostgreSQL stayed away."""
        begun_s = time.monotonic()
        while True:
            try:
                handed = await self._leasing.receive(self._member, bounds, wait_s)
            except Unavailable as error:
                self.state = "stalled"
                if time.monotonic() - begun_s > GIVE_UP_S:
                    self.end("unavailable", error.detail)
                    return None
                await asyncio.sleep(RETRY_S)
            else:
                self.state = "live" if handed.at_end else "catching_up"
                return handed

    async def _give(self, handed: Handed) -> bool:
        """Send what was handed out; return whether it goes on."""
        self._positions |= handed.after
        cursor, spec = self.cursor, self._member.spec()
        hides = spec.style.hides_place
        frames, gaps = [], list(handed.gaps)
        for one in handed.given:
            made = self._groups.frames.make(one.record, spec)
            if len(made) > FRAME_BYTES["object"]:
                place = one.record
                gaps.append(gap_of(place.topic, place.partition, place.offset, 1, "too_large"))
            else:
                frames.append(made)
        self._note(cursor, handed.given, len(frames))
        for gap in gaps:
            await self._tell(self._door.gap(gap, cursor, hides_place=hides))
        if gaps and self.is_strict:
            self.end("gap")
            return False
        if frames:
            payload = self._door.records([_Run(frames, cursor)])
            await self._tell(payload)
            await self._charge(handed, len(payload))
        return True

    def _note(self, cursor: str, given: list[Given], count: int) -> None:
        """Keep what an ack of this cursor would settle: the last record of each partition."""
        if not given:
            return
        last = {(one.record.topic, one.record.partition): one.ack_id for one in given}
        self._given[cursor] = self._given.pop(cursor, {}) | last
        if len(self._given) > MAX_UNACKED_CURSORS:
            self._given.popitem(last=False)
        self._flow.sent(count, cursor)

    async def _charge(self, handed: Handed, size: int) -> None:
        """Charge what was sent, and wait where it was too much."""
        counts: dict[str, int] = {}
        for one in handed.given:
            counts[one.record.topic] = counts.get(one.record.topic, 0) + 1
        total = sum(counts.values())
        principal = self._connection.principal
        waits = [
            self._groups.tolls.sent(principal, DOOR, topic, count, size * count // total)
            for topic, count in counts.items()
        ]
        if wait_s := max(waits):
            await asyncio.sleep(min(wait_s, WAIT_S))


@dataclass(frozen=True, slots=True)
class _Run:
    """Frames of one answer, as a door joins them."""

    frames: list[bytes]
    token: str
