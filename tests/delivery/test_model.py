"""Two engines, one partition and a real PostgreSQL: whoever dies or wakes up late, nothing is lost.

The pure machine beside this (test_lanes_machine) invents what is durable; here the statements of
positions, leases and parked rows decide, with the claims of a real start.
"""

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from delivery import inbox, ledger, parking, positions
from delivery.checkpoint import Checkpoint
from delivery.consumer import Consumer, Gate
from delivery.database import Conn, connect
from delivery.leases import LEASE_S
from delivery.request import Request
from delivery.topic_ids import TopicIds
from kafkahub.egress.curl import Answer
from subscriptions.models import Subscription
from tests import factories
from tests.delivery import makers
from tests.delivery.links import url
from tests.delivery.rig import CHECKPOINT_S, PLACE, Rig, record

if TYPE_CHECKING:
    from kafkahub.kafka.admin import Admin

Owed = tuple[str, int]
"""A subscription and an offset."""

NAMES = ("sub_model_a", "sub_model_b")
DELIVERED, UNHEARD, REFUSED, BROKEN = 204, -204, 400, 500
"""What a receiver does; ``UNHEARD`` is a delivery whose answer does not come back."""
KINDS = (DELIVERED, DELIVERED, DELIVERED, UNHEARD, REFUSED, BROKEN)
ROUNDS = 100
"""Rounds after which a healed engine that still owes something is taken to be stuck."""

FLOOR = "SELECT next_offset, owner, epoch FROM partition_position"
LANES = "SELECT subscription_id, state, next_offset FROM lane_position"
DURABLE = """
SELECT 'floor', '', next_offset, '' FROM partition_position
UNION ALL SELECT 'lane', subscription_id, next_offset, state FROM lane_position
UNION ALL SELECT 'parked', subscription_id, "offset", state FROM parked_delivery
"""
WIPE = """
DELETE FROM delivery_attempt; DELETE FROM parked_delivery; DELETE FROM lane_position;
DELETE FROM partition_position
"""
EXPIRE = "UPDATE parked_delivery SET lease_until = now() - interval '1 s' WHERE state = 'sending'"
COME_DUE = "UPDATE parked_delivery SET next_attempt_at = now() WHERE state = 'scheduled'"
DEAD = "SELECT id FROM parked_delivery WHERE state = 'dead'"


class Durable(NamedTuple):
    """What a start would find.

    stands  the offset below which each lane owes nothing
    parked  how many rows each record has
    """

    floor: int
    stands: dict[str, int]
    parked: Counter[Owed]


class Engine:
    """An engine whose threads are the test: dispatcher, checkpoint, claims."""

    def __init__(self, conn: Conn) -> None:
        self.owner: UUID = uuid4()
        self.conn = conn
        lives = [makers.subscription(name, schedule_s=(1, 1)) for name in NAMES]
        # Attempts are compared with the start of their lane, which is PostgreSQL's time.
        self.rig = Rig(*lives, owner=self.owner, now_us=lambda _: ledger.clock_us(conn))
        self.out: list[tuple[Request, int]] = []
        self.position = 0
        self.checkpoint = Checkpoint(
            self.owner, lambda: conn, kept_days=30, on_committed=lambda *_: None
        )
        self.consumer = Consumer(
            self.owner,
            lambda: conn,
            options={},
            group="model",
            snapshot=lambda: self.rig.board.snapshot,
            post=self.rig.post,
            gate=Gate(),
            topics=TopicIds(cast("Admin", None)),  # nothing here asks Kafka
        )

    def claim(self, end: int) -> None:
        """Take the partition over as the shared reader does, from what PostgreSQL says."""
        claim = positions.claim(self.conn, *PLACE, self.owner)
        if claim.next_offset is None:
            claim = self.consumer._begin(self.conn, PLACE, set(NAMES), (0, end), "")
        assert claim.next_offset is not None
        self.position = claim.next_offset
        lanes = self.consumer._stand(self.conn, claim, set(NAMES), claim.next_offset)
        self.rig.asks.clear()
        self.rig.post(inbox.Assigned(claim, claim.next_offset, lanes))

    @property
    def has_partition(self) -> bool:
        return PLACE in self.rig.board.partitions


def owed_of(request: Request) -> Owed:
    return request.delivery.form.subscription.id, request.delivery.offset


class PositionsLeasesAndParkedRows(RuleBasedStateMachine):
    """One partition, two subscriptions, two engines that both may believe to hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = connect(url(), "model")
        self.conn.execute(WIPE)
        self.end = 0
        self.engines = [Engine(self.conn), Engine(self.conn)]
        self.received: Counter[Owed] = Counter()
        self.allowed = 0
        self.floor = 0
        self.engines[0].claim(0)

    # Records and requests.

    @rule(
        number=st.integers(1, 6),
        kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=8),
        kept=st.integers(0, 3),
        is_written=st.booleans(),
    )
    def work(self, number: int, kinds: list[int], kept: int, is_written: bool) -> None:
        """Let the holder read, send, and hear of all but the oldest few; perhaps write it."""
        self.end += number
        for which, engine in enumerate(self.engines):
            if engine.has_partition:
                self.consume(engine)
                self.backlog(engine)
                self.redeliver(engine)
                self.send(which, kinds)
                for request, kind in engine.out[kept:]:
                    engine.rig.land(request, answer=_answer(kind))
                del engine.out[kept:]
                if is_written:
                    self.write(engine)

    def consume(self, engine: Engine) -> None:
        offsets = range(engine.position, self.end)
        if not engine.has_partition or not engine.rig.is_gate_open or not offsets:
            return
        hits = [(offset, [(name, record(offset), "") for name in NAMES]) for offset in offsets]
        engine.position = self.end
        engine.rig.post(inbox.Fed(PLACE, hits, self.end))

    @rule(which=st.integers(0, 1))
    def read_the_backlog(self, which: int) -> None:
        self.backlog(self.engines[which])

    def backlog(self, engine: Engine) -> None:
        engine.rig.tick()
        for _ in range(len(engine.rig.asks)):
            ask = engine.rig.asks.pop(0)
            until = min(ask.offset + ask.room, max(self.end, ask.offset))
            name = ask.subscription.id
            hits = [(offset, (name, record(offset), "")) for offset in range(ask.offset, until)]
            engine.rig.post(inbox.BacklogFed(ask, hits, until))

    @rule(which=st.integers(0, 1), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    def send(self, which: int, kinds: list[int]) -> None:
        """Let requests go out; what the receiver makes of each is settled from here on."""
        engine = self.engines[which]
        for kind in kinds:
            for request in engine.rig.take(1):
                engine.out.append((request, kind))
                if kind in {DELIVERED, UNHEARD}:
                    self.received[owed_of(request)] += 1
                self.allowed += kind == UNHEARD

    @rule(which=st.integers(0, 1), number=st.integers(1, 6))
    def land(self, which: int, number: int) -> None:
        engine = self.engines[which]
        for _ in range(min(number, len(engine.out))):
            request, kind = engine.out.pop(0)
            engine.rig.land(request, answer=_answer(kind))

    # Checkpoints, crashes, and engines that wake up late.

    @rule(which=st.integers(0, 1))
    def commit(self, which: int) -> None:
        self.write(self.engines[which])

    def write(self, engine: Engine) -> None:
        engine.rig.tick(CHECKPOINT_S)
        while engine.rig.batches:
            batch = engine.rig.batches.pop(0)
            before = self.standing()
            committed = engine.checkpoint._write(batch)
            if committed.fenced:
                assert self.standing() == before, "under an old epoch and owner"
            engine.rig.post(committed)

    def standing(self) -> object:
        lanes = sorted(self.conn.execute(LANES).fetchall())
        return self.conn.execute(FLOOR).fetchall(), lanes

    @rule(which=st.integers(0, 1), is_known=st.booleans())
    def claim_by_another(self, which: int, is_known: bool) -> None:
        """Give the partition to an engine; the other one learns of it now, or by its next write."""
        other = self.engines[1 - which]
        if self.engines[which].has_partition:
            return
        self.doubt(other)
        if is_known:
            other.rig.post(inbox.Lost([PLACE]))
        self.engines[which].claim(self.end)

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """Lose an engine with all that was not durable; a fresh one claims what it had."""
        lost = self.engines[which]
        self.doubt(lost)
        self.engines[which] = Engine(self.conn)
        if lost.has_partition:
            self.engines[which].claim(self.end)

    def doubt(self, engine: Engine) -> None:
        """Allow as many copies as the engine has sent, or heard of, and not written."""
        self.allowed += len(engine.out) + engine.rig.dispatcher._unflushed()

    # Parked rows and their leases.

    @rule(which=st.integers(0, 1))
    def claim_due(self, which: int) -> None:
        self.redeliver(self.engines[which])

    def redeliver(self, engine: Engine) -> None:
        rows = ledger.claim_due(
            self.conn, engine.owner, subscriptions=NAMES, limit=8, each=4, lease_s=LEASE_S
        )
        engine.rig.post(inbox.ParkedClaimed(rows))

    @rule()
    def time_passes(self) -> None:
        self.conn.execute(COME_DUE)
        for engine in self.engines:
            engine.rig.tick(60.0)

    @rule()
    def leases_run_out(self) -> None:
        """Let no claim be renewed in time: engines drop what is not out, others may claim it."""
        for engine in self.engines:
            self.doubt(engine)
            engine.rig.post(inbox.ParkedForgotten())
        self.conn.execute(EXPIRE)

    @rule()
    def redrive(self) -> None:
        for (row_id,) in self.conn.execute(DEAD).fetchall():
            parking.due_now(row_id, "failed", ["dead"])

    # Subscriptions.

    @rule(name=st.sampled_from(NAMES), sending=st.booleans())
    def pause_or_resume(self, name: str, sending: bool) -> None:
        for engine in self.engines:
            engine.rig.set_sending(name, sending=sending)

    # What always holds.

    @invariant()
    def what_is_durable_passes_nothing_unsettled(self) -> None:
        durable = self.durable()
        for name in NAMES:
            for offset in range(durable.stands[name]):
                is_settled = self.received[name, offset] or durable.parked[name, offset]
                assert is_settled, f"{name} {offset} is below {durable.stands[name]}"
        assert durable.floor >= self.floor, "a floor never moves back"
        assert all(count == 1 for count in durable.parked.values()), "a record is parked once"
        self.floor = durable.floor

    def durable(self) -> Durable:
        """Return what PostgreSQL holds, in one look."""
        floor, stands, parked = 0, {}, Counter[Owed]()
        for kind, name, offset, state in self.conn.execute(DURABLE).fetchall():
            if kind == "floor":
                floor = offset
            elif kind == "lane":
                stands[name] = (state, offset)
            else:
                parked[name, offset] += 1
        found = {name: stands.get(name, ("live", floor)) for name in NAMES}
        return Durable(
            floor,
            {
                name: max(at, floor) if state == "live" else at
                for name, (state, at) in found.items()
            },
            parked,
        )

    # The end: one engine is left, everything is healed, and what is owed arrives.

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.conn.close()

    def heal(self) -> None:
        for engine in self.engines:
            self.doubt(engine)
        last = Engine(self.conn)
        self.engines = [last, Engine(self.conn)]
        last.claim(self.end)
        self.conn.execute(EXPIRE)
        for _ in range(ROUNDS):
            self.run_a_while(last)
            durable = self.durable()
            if min(durable.stands.values()) >= self.end and not durable.parked:
                break
        missing = [
            (name, offset)
            for name in NAMES
            for offset in range(self.end)
            if not self.received[name, offset]
        ]
        assert missing == []
        assert not self.durable().parked
        copies = sum(count - 1 for count in self.received.values() if count)
        assert copies <= self.allowed

    def run_a_while(self, engine: Engine) -> None:
        self.conn.execute(COME_DUE)
        self.redrive()
        self.consume(engine)
        self.backlog(engine)
        self.redeliver(engine)
        self.send(0, [DELIVERED] * 64)
        self.land(0, 64)
        engine.rig.tick(1.0)
        self.write(engine)


def _answer(kind: int) -> Answer:
    return makers.answer(0, "timeout_headers") if kind == UNHEARD else makers.answer(kind)


@pytest.fixture(autouse=True)
def _subscriptions(transactional_db: None) -> None:
    """Make the rows that lanes and parked rows point at."""
    owner = factories.partner()
    for name in NAMES:
        made = factories.subscription(owner)
        Subscription.objects.filter(pk=made.pk).update(id=name)


PositionsLeasesAndParkedRows.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None
)
pytestmark = pytest.mark.timeout(300)
test_positions_leases_and_parked_rows = PositionsLeasesAndParkedRows.TestCase
