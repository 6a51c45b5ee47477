"""Whatever happens in whatever order, no record overtakes an earlier one of its key or lane."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from delivery import inbox
from delivery.batch import Batch
from delivery.batching import items_of
from delivery.inbox import Found
from delivery.lanes import LaneState
from delivery.ledger import NewlyParked, ParkedRow
from delivery.request import Request
from delivery.succession import Order
from kafkahub.kafka.record import Record
from subscriptions.live import BatchLimits
from tests.delivery import makers
from tests.delivery.rig import CHECKPOINT_S, PLACE, Rig, record, row

Owed = tuple[str, int]
"""A subscription and an offset."""

ONE = makers.endpoint("ep_1", max_in_flight=4)
TWO = makers.endpoint("ep_2", max_in_flight=4)
BATCH = BatchLimits(max_records=3, max_wait_ms=0, max_bytes=100_000, partial=False)
HOLDS: Any = {"schedule_s": (), "holds": True}
LIVES = (
    makers.subscription("sub_key", to=ONE, ordering="key", schedule_s=(5, 5)),
    makers.subscription("sub_hold", to=TWO, ordering="key", schedule_s=(5,), holds=True),
    makers.subscription("sub_lane", to=TWO, ordering="partition", schedule_s=(5,)),
    makers.subscription("sub_stop", to=ONE, ordering="partition", **HOLDS),
    makers.subscription("many_key", to=ONE, ordering="key", schedule_s=(5,), batch=BATCH),
    makers.subscription("many_hold", to=TWO, ordering="key", batch=BATCH, **HOLDS),
    makers.subscription("many_lane", to=TWO, ordering="partition", schedule_s=(5,), batch=BATCH),
    makers.subscription("many", to=ONE, schedule_s=(5,), batch=BATCH),
)
NAMES = [live.id for live in LIVES]
BY_KEY = {"sub_key", "sub_hold", "many_key", "many_hold"}
DELIVERED, REJECTED, THROTTLED, BROKEN, OURS = 200, 400, 429, 500, 0
STATUSES = [DELIVERED, DELIVERED, DELIVERED, REJECTED, REJECTED, THROTTLED, BROKEN, OURS]
MANY = 1_000
"""Rounds after which an engine that still has work is taken to be stuck."""


def key_of(offset: int) -> bytes | None:
    """Return the key of a record: three keys, and every fourth record has none."""
    return (b"a", b"b", None, b"c", b"a", b"a", None)[offset % 7]


def is_before(live: str, earlier: int, later: int) -> bool:
    """Return whether the one may not be overtaken by the other."""
    if earlier >= later:
        return False
    if live == "many":
        return False
    key = key_of(earlier)
    return live not in BY_KEY or (key is not None and key == key_of(later))


def owed_of(request: Request) -> list[Owed]:
    name = request.delivery.form.subscription.id
    return [(name, one.offset) for one in items_of(request.delivery)]


@dataclass
class Row:
    """A parked row; ``claim`` is the number of the engine that has it, 0 for none."""

    new: NewlyParked
    state: str
    attempts: int
    claim: int = 0

    @property
    def order(self) -> Order | None:
        tag = self.new.order_key
        return None if tag is None else Order(self.new.subscription, *PLACE, tag)

    @property
    def is_open(self) -> bool:
        return self.state in {"scheduled", "sending", "blocked", "held"}


@dataclass
class Durable:
    """What PostgreSQL would hold."""

    floor: int = 0
    epoch: int = 0
    checkpoint: int = 0
    lanes: dict[str, tuple[str, int, int]] = field(
        default_factory=lambda: dict.fromkeys(NAMES, ("live", 0, 0)) | {"sub_key": ("behind", 0, 0)}
    )
    delivered: set[Owed] = field(default_factory=set)
    rows: dict[str, Row] = field(default_factory=dict)

    def apply(self, batch: Batch) -> frozenset[Order]:
        """Write a batch; return the orders that have no row left."""
        for floor in batch.floors:
            assert floor.epoch == self.epoch
            assert floor.next_offset >= self.floor, "a floor never moves back"
            self.floor, self.checkpoint = floor.next_offset, floor.checkpoint
        for lane in batch.lanes:
            self.lanes[lane.subscription] = (lane.state, lane.next_offset, lane.head_attempts)
        for new in batch.parked:
            self.rows.setdefault(new.id, Row(new, new.state, new.attempts))
        self._finish(batch)
        self.delivered |= {
            (one.subscription, one.offset)
            for one in batch.attempts
            if one.outcome_class == "delivered"
        }
        return frozenset(order for order in batch.orders if not self.promote(order))

    def _finish(self, batch: Batch) -> None:
        for row_id in batch.delivered:
            self.rows.pop(row_id, None)
        for later in batch.rescheduled:
            self._end(later.id, "scheduled", later.attempts)
        for dead in batch.dead:
            self._end(dead.id, dead.state, dead.attempts)
        for row_id in batch.unclaimed:
            if row_id in self.rows:
                self.rows[row_id].claim = 0

    def _end(self, row_id: str, state: str, attempts: int) -> None:
        if found := self.rows.get(row_id):
            found.state, found.attempts, found.claim = state, attempts, 0

    def promote(self, order: Order) -> bool:
        """Make the first open row of an order its head; return whether there is one."""
        mine = self.open_of(order)
        if mine and mine[0].state == "blocked":
            mine[0].state = "sending" if mine[0].claim else "scheduled"
        return bool(mine)

    def open_of(self, order: Order) -> list[Row]:
        mine = [one for one in self.rows.values() if one.order == order and one.is_open]
        return sorted(mine, key=lambda one: one.new.offset)

    def orders(self) -> set[Order]:
        return {one.order for one in self.rows.values() if one.is_open and one.order is not None}

    def stand(self, live: str) -> int:
        """Return the offset below which the lane owes nothing, as a restart would see it."""
        state, offset, _ = self.lanes[live]
        return max(offset, self.floor) if state == "live" else offset

    def found(self) -> Iterable[Found]:
        """Return the lanes as a new holder of the partition finds them."""
        for live, (state, offset, attempts) in self.lanes.items():
            settled = {at for name, at in self.settled() if name == live and at >= self.stand(live)}
            waiting = {order.order_key for order in self.orders() if order.subscription == live}
            lane = row(live, state, offset)._replace(head_attempts=attempts)
            yield Found(lane, frozenset(settled), waiting=frozenset(waiting))

    def settled(self) -> set[Owed]:
        parked = {(one.new.subscription, one.new.offset) for one in self.rows.values()}
        return self.delivered | parked


class Orders(RuleBasedStateMachine):
    """One partition, two subscriptions by key and two serial ones, and every crash in between.

    engine  number of the engine; what an older one has claimed is claimed again
    """

    def __init__(self) -> None:
        super().__init__()
        self.log = 0
        self.engine = 0
        self.durable = Durable()
        self.delivered: Counter[Owed] = Counter()
        self.over: set[Owed] = set()
        self.paused: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Let a fresh engine claim the partition."""
        self.engine += 1
        self.rig = Rig(*LIVES)
        self.out: list[Request] = []
        for live in self.paused:
            self.rig.set_sending(live, sending=False)
        self.claim()

    def claim(self) -> None:
        self.durable.epoch += 1
        self.position = self.durable.floor
        self.rig.assign(
            *self.durable.found(),
            next_offset=self.durable.floor,
            epoch=self.durable.epoch,
            checkpoint=self.durable.checkpoint,
        )

    # Records.

    @rule(number=st.integers(1, 8), is_read=st.booleans())
    def append(self, number: int, is_read: bool) -> None:
        self.log += number
        if is_read:
            self.feed(number)

    @rule(number=st.integers(1, 8))
    def feed(self, number: int) -> None:
        if not self.rig.is_gate_open or self.position == self.log:
            return
        until = min(self.position + number, self.log)
        hits = [
            (offset, [(live, keyed(offset), "") for live in NAMES])
            for offset in range(self.position, until)
        ]
        self.position = until
        self.rig.post(inbox.Fed(PLACE, hits, until))

    def answer_backlog(self, number: int) -> None:
        ask = self.rig.asks.pop(0)
        until = min(ask.offset + min(number, ask.room), max(self.log, ask.offset))
        name = ask.subscription.id
        hits = [(offset, (name, keyed(offset), "")) for offset in range(ask.offset, until)]
        self.rig.post(inbox.BacklogFed(ask, hits, until))

    # Requests.

    @rule(number=st.integers(1, 6), statuses=st.lists(st.sampled_from(STATUSES), max_size=6))
    def work(self, number: int, statuses: list[int]) -> None:
        """Bring records, send, and let some of what is out land."""
        self.append(number, is_read=True)
        self.send(number)
        for status in statuses[: len(self.out)]:
            self.land_one(self.out.pop(0), status)

    @rule(number=st.integers(1, 6))
    def bring_from_the_backlog(self, number: int) -> None:
        """Let every lane that is behind come nearer, and send."""
        self.rig.tick()
        for _ in range(len(self.rig.asks)):
            self.answer_backlog(number)
        self.send(number)

    @rule(number=st.integers(1, 6))
    def send(self, number: int) -> None:
        for request in self.rig.take(number):
            owed = owed_of(request)
            assert owed == sorted(owed) or owed[0][0] == "many"
            for live, offset in owed:
                self.assert_in_order(live, offset, owed)
            self.out.append(request)

    def assert_in_order(self, live: str, offset: int, beside: list[Owed]) -> None:
        assert live not in self.paused
        busy = [at for request in self.out for name, at in owed_of(request) if name == live]
        for earlier in range(offset):
            if not is_before(live, earlier, offset) or (live, earlier) in beside:
                continue
            is_done = bool(self.delivered[live, earlier]) or (live, earlier) in self.over
            assert is_done, f"{offset} overtakes {earlier} of {live}"
            assert earlier not in busy, f"{offset} goes out beside {earlier} of {live}"

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 4), statuses=st.lists(st.sampled_from(STATUSES), min_size=1))
    def land(self, which: int, statuses: list[int]) -> None:
        for status in statuses[: len(self.out)]:
            self.land_one(self.out.pop(which % len(self.out)), status)

    def land_one(self, request: Request, status: int) -> None:
        if status == DELIVERED:
            self.delivered.update(owed_of(request))
        answer = makers.answer(status) if status else makers.answer(0, "local_resources")
        self.rig.land(request, answer=answer)

    @rule(seconds=st.sampled_from([0.001, CHECKPOINT_S, 5.0, 60.0]))
    def tick(self, seconds: float) -> None:
        self.rig.tick(seconds)

    # Parked rows.

    @rule(number=st.integers(0, 3))
    def claim_due(self, number: int) -> None:
        """Claim the heads that are due, and some rows behind each."""
        claimed = []
        for order in sorted(self.durable.orders()):
            head, *behind = self.durable.open_of(order)
            if order.subscription in self.paused or not self.is_free(head):
                continue
            head.state = "sending"
            for one in (head, *behind[:number]):
                one.claim = self.engine
                claimed.append(one)
        for one in self.durable.rows.values():
            if one.order is None and self.is_free(one):
                one.state, one.claim = "sending", self.engine
                claimed.append(one)
        self.rig.post(inbox.ParkedClaimed([as_claimed(one) for one in claimed]))
        self.send(MANY)

    def is_free(self, one: Row) -> bool:
        return one.state == "scheduled" or (one.state == "sending" and not self.has(one))

    def has(self, one: Row) -> bool:
        return one.claim == self.engine

    @rule(which=st.integers(0, 5))
    def decide(self, which: int) -> None:
        """Redrive a held row, or discard one that is not being sent."""
        mine = [
            one
            for one in self.durable.rows.values()
            if one.state == "held" or (one.state in {"scheduled", "blocked"} and not self.has(one))
        ]
        if not mine:
            return
        one = mine[which % len(mine)]
        if one.state == "held" and which % 2:
            one.state, one.attempts = "scheduled", 0
            return
        one.state = "discarded"
        self.over.add((one.new.subscription, one.new.offset))
        if one.order is not None:
            self.durable.promote(one.order)

    @rule()
    def look_at_held_lanes(self) -> None:
        gone = [order for order in self.rig.dispatcher.held if not self.durable.open_of(order)]
        if gone:
            self.rig.post(inbox.Released(gone))

    # Subscriptions.

    @rule(live=st.sampled_from(NAMES))
    def pause_or_resume(self, live: str) -> None:
        self.paused ^= {live}
        self.rig.set_sending(live, sending=live not in self.paused)

    # Checkpoints, crashes, and partitions that come and go.

    @precondition(lambda self: self.rig.batches)
    @rule()
    def commit(self) -> None:
        batch = self.rig.batches.pop()
        emptied = self.write(batch)
        self.rig.post(inbox.Committed(batch.number, frozenset(), emptied))

    def write(self, batch: Batch) -> frozenset[Order]:
        emptied = self.durable.apply(batch)
        self.over |= {
            (one.new.subscription, one.new.offset)
            for one in self.durable.rows.values()
            if one.state == "dead"
        }
        return emptied

    @rule(
        kind=st.sampled_from(["crash", "crash behind the commit", "lose", "hand over"]),
        statuses=st.lists(st.sampled_from(STATUSES), max_size=4),
        meanwhile=st.sampled_from([None, *NAMES]),
    )
    def disturb(self, kind: str, statuses: list[int], meanwhile: str | None) -> None:
        if kind == "lose":
            self.lose_and_claim_again()
        elif kind == "hand over":
            self.hand_over_and_claim_again(statuses, meanwhile)
        else:
            if kind != "crash" and self.rig.batches:
                self.write(self.rig.batches.pop())
            self.begin()

    def lose_and_claim_again(self) -> None:
        """A rebalance that came too late to finish: another engine goes on, this one is fenced."""
        self.begin()

    def hand_over_and_claim_again(self, statuses: list[int], meanwhile: str | None) -> None:
        """A rebalance in good order; a subscription may be paused or resumed in the midst of it."""
        revoked = inbox.Revoked([PLACE])
        self.rig.post(revoked)
        if meanwhile is not None:
            self.pause_or_resume(meanwhile)
        while self.out:
            self.land_one(self.out.pop(), statuses.pop() if statuses else DELIVERED)
        for _ in range(3):
            self.rig.tick()
            while self.rig.batches:
                self.commit()
        assert revoked.done.is_set()
        self.rig.asks.clear()
        self.claim()

    # What always holds.

    @invariant()
    def what_is_durable_passes_nothing_unsettled(self) -> None:
        settled = self.durable.settled()
        for live in NAMES:
            for offset in range(self.durable.stand(live)):
                assert (live, offset) in settled, (live, offset)

    @invariant()
    def an_order_has_one_head(self) -> None:
        for order in self.durable.orders():
            head, *behind = self.durable.open_of(order)
            assert head.state != "blocked"
            assert all(one.state == "blocked" for one in behind)

    @invariant()
    def requests_are_counted_right(self) -> None:
        by_endpoint = Counter(one.delivery.form.subscription.endpoint.id for one in self.out)
        for live in LIVES:
            assert self.rig.window(live.id).in_flight == by_endpoint[live.endpoint.id]
        assert self.rig.dispatcher.in_flight == len(self.out)
        assert 0 <= self.rig.partition().in_flight <= sum(len(owed_of(one)) for one in self.out)

    # The end: everything is healed, and what is owed arrives.

    def teardown(self) -> None:
        for live in list(self.paused):
            self.pause_or_resume(live)
        for _ in range(MANY):
            self.run_a_while()
            if self.is_quiet():
                break
        owed = {(live, offset) for live in NAMES for offset in range(self.log)}
        assert owed - set(+self.delivered) - self.over == set()
        assert self.durable.floor == self.log
        assert not self.durable.orders()

    def run_a_while(self) -> None:
        for one in self.durable.rows.values():
            if one.state == "held":
                one.state, one.attempts = "scheduled", 0
        while self.rig.asks:
            self.answer_backlog(6)
        if self.rig.is_gate_open and self.position < self.log:
            self.feed(6)
        self.send(MANY)
        while self.out:
            self.land_one(self.out.pop(), DELIVERED)
        self.tick(1.0)
        while self.rig.batches:
            self.commit()
        self.claim_due(2)
        self.look_at_held_lanes()

    def is_quiet(self) -> bool:
        lanes = self.rig.partition().lanes.values()
        is_settled = all(lane.state is LaneState.LIVE and lane.is_idle for lane in lanes)
        is_open = any(one.is_open for one in self.durable.rows.values())
        return is_settled and self.durable.floor == self.log and not is_open


def keyed(offset: int) -> Record:
    return msgspec.structs.replace(record(offset), key=key_of(offset))


def as_claimed(one: Row) -> ParkedRow:
    new = one.new
    return ParkedRow(
        new.id,
        new.subscription,
        new.topic,
        new.partition,
        new.offset,
        new.generation,
        new.key,
        new.record_time_ms,
        new.body or b"",
        dict(new.headers),
        new.grant_version,
        new.reason,
        one.attempts,
        new.sends,
        new.order_key,
    )


Orders.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
test_orders = Orders.TestCase
