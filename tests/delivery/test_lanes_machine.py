"""Whatever happens in whatever order, nothing is lost and what is durable is not sent again."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from delivery import inbox
from delivery.batch import Batch
from delivery.inbox import Found
from delivery.lanes import Lane, LaneState
from delivery.request import Request
from tests.delivery import makers
from tests.delivery.rig import CHECKPOINT_S, PLACE, Rig, record, row

Owed = tuple[str, int]
"""A subscription and an offset."""

HANGS = makers.endpoint("ep_1", max_in_flight=2)
OTHER = makers.endpoint("ep_2", max_in_flight=3)
LIVES = (
    makers.subscription("sub_a", to=HANGS),
    makers.subscription("sub_b", to=OTHER),
    makers.subscription("sub_c", to=OTHER),
)
NAMES = [live.id for live in LIVES]
DELIVERED, REJECTED, THROTTLED, BROKEN, OURS = 200, 400, 429, 500, 0
STATUSES = [DELIVERED, DELIVERED, DELIVERED, REJECTED, THROTTLED, BROKEN, OURS]
FAILED = {REJECTED, BROKEN}
MANY = 1_000
"""Rounds after which an engine that still has work is taken to be stuck."""


def is_owed(live: str, offset: int) -> bool:
    """Return the filter's verdict: one subscription wants only every second record."""
    return live != "sub_c" or offset % 2 == 0


def owed_of(request: Request) -> Owed:
    return request.delivery.form.subscription.id, request.delivery.offset


@dataclass
class Durable:
    """What PostgreSQL would hold.

    lanes    state and offset by subscription
    settled  delivered or parked, by subscription and offset
    """

    floor: int = 0
    epoch: int = 0
    checkpoint: int = 0
    lanes: dict[str, tuple[str, int]] = field(
        default_factory=lambda: dict.fromkeys(NAMES, ("live", 0)) | {NAMES[0]: ("behind", 0)}
    )
    settled: set[Owed] = field(default_factory=set)

    def apply(self, batch: Batch) -> None:
        for floor in batch.floors:
            assert floor.epoch == self.epoch
            assert floor.checkpoint == self.checkpoint + 1
            assert floor.next_offset >= self.floor, "a floor never moves back"
            self.floor, self.checkpoint = floor.next_offset, floor.checkpoint
        has_fence = bool(batch.floors)
        assert has_fence or not (batch.lanes or batch.parked), "written without a fence"
        for lane in batch.lanes:
            self.lanes[lane.subscription] = (lane.state, lane.next_offset)
        self.settled |= {(one.subscription, one.offset) for one in batch.parked}
        self.settled |= {
            (one.subscription, one.offset)
            for one in batch.attempts
            if one.outcome_class == "delivered"
        }

    def stand(self, live: str) -> int:
        """Return the offset below which the lane owes nothing, as a restart would see it."""
        state, offset = self.lanes[live]
        return max(offset, self.floor) if state == "live" else offset

    def found(self) -> Iterable[Found]:
        """Return the lanes as a new holder of the partition finds them."""
        for live, (state, offset) in self.lanes.items():
            above = {at for name, at in self.settled if name == live and at >= self.stand(live)}
            yield Found(row(live, state, offset), frozenset(above))


class LanesAndFloors(RuleBasedStateMachine):
    """One partition, three subscriptions, two endpoints, and every crash in between.

    out       requests without an answer yet
    doubtful  what was out, or not durable, when the partition was lost: it may arrive twice
    """

    def __init__(self) -> None:
        super().__init__()
        self.log = 0
        self.durable = Durable()
        self.delivered: Counter[Owed] = Counter()
        self.parked: set[Owed] = set()
        self.paused: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Let a fresh engine claim the partition."""
        self.rig = Rig(*LIVES)
        self.out: list[Request] = []
        self.delivered_here: Counter[Owed] = Counter()
        self.doubtful: set[Owed] = set()
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
            (offset, [(live, record(offset), "") for live in NAMES if is_owed(live, offset)])
            for offset in range(self.position, until)
        ]
        self.position = until
        self.rig.post(inbox.Fed(PLACE, hits, until))

    def answer_backlog(self, number: int) -> None:
        ask = self.rig.asks.pop(0)
        until = min(ask.offset + min(number, ask.room), max(self.log, ask.offset))
        name = ask.subscription.id
        hits = [
            (offset, (name, record(offset), ""))
            for offset in range(ask.offset, until)
            if is_owed(name, offset)
        ]
        self.rig.post(inbox.BacklogFed(ask, hits, until))

    # Requests.

    @rule(number=st.integers(1, 6), statuses=st.lists(st.sampled_from(STATUSES), max_size=5))
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
            is_known = owed in self.durable.settled and owed not in self.doubtful
            assert not is_known, f"{owed} is settled and durable"
            assert owed[0] not in self.paused
            assert is_owed(*owed)
            self.out.append(request)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 4), statuses=st.lists(st.sampled_from(STATUSES), min_size=1))
    def land(self, which: int, statuses: list[int]) -> None:
        for status in statuses[: len(self.out)]:
            self.land_one(self.out.pop(which % len(self.out)), status)

    def land_one(self, request: Request, status: int) -> None:
        owed = owed_of(request)
        answer = makers.answer(status) if status else makers.answer(0, "local_resources")
        if status == DELIVERED:
            self.delivered[owed] += 1
            self.delivered_here[owed] += 1
        elif status in FAILED:
            self.parked.add(owed)
        self.rig.land(request, answer=answer)
        is_once = self.delivered_here[owed] <= 1 or owed in self.doubtful
        assert is_once, f"{owed} was delivered twice by one engine"

    @rule(seconds=st.sampled_from([0.001, CHECKPOINT_S, 60.0, 60.0]))
    def tick(self, seconds: float) -> None:
        self.rig.tick(seconds)

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
        self.durable.apply(batch)
        self.rig.post(inbox.Committed(batch.number, frozenset()))

    # One rule for all of them: each throws away what the steps before have built up.
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
                self.durable.apply(self.rig.batches.pop())
            self.begin()

    def lose_and_claim_again(self) -> None:
        """A rebalance that came too late to finish: what is out lands in a partition given up."""
        self.rig.post(inbox.Lost([PLACE]))
        while self.rig.batches:
            self.commit()
        self.delivered_here.clear()
        self.doubtful |= {owed_of(request) for request in self.out}
        self.doubtful |= self.delivered.keys() - self.durable.settled
        self.rig.asks.clear()
        self.claim()

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
        for live in NAMES:
            for offset in range(self.durable.stand(live)):
                assert not is_owed(live, offset) or (live, offset) in self.durable.settled

    @invariant()
    def no_position_in_memory_passes_what_is_owed(self) -> None:
        floor = self.rig.partition().floor.position()
        for live, lane in self.rig.partition().lanes.items():
            state, offset = lane.row()
            stand = max(offset, floor) if state is LaneState.LIVE else offset
            for below in range(stand):
                assert not is_owed(live, below) or self.is_settled(live, below), (live, below)

    @invariant()
    def a_lane_stands_at_or_below_what_it_never_sent(self) -> None:
        for lane in self.rig.partition().lanes.values():
            state, offset = lane.row()
            if lane.queue and state is not LaneState.LIVE:
                assert offset <= lane.queue[0].offset

    @invariant()
    def requests_are_counted_right(self) -> None:
        by_endpoint = Counter(one.delivery.form.subscription.endpoint.id for one in self.out)
        for live in LIVES:
            assert self.rig.window(live.id).in_flight == by_endpoint[live.endpoint.id]
            assert by_endpoint[live.endpoint.id] <= live.endpoint.max_in_flight
        assert self.rig.dispatcher.in_flight == len(self.out)
        assert 0 <= self.rig.partition().in_flight <= len(self.out)

    def is_settled(self, live: str, offset: int) -> bool:
        owed = (live, offset)
        return bool(self.delivered[owed]) or owed in self.parked

    # The end: everything is healed, and what is owed arrives.

    def teardown(self) -> None:
        for live in list(self.paused):
            self.pause_or_resume(live)
        for _ in range(MANY):
            self.run_a_while()
            if self.is_quiet():
                break
        missing = [
            (live, offset)
            for live in NAMES
            for offset in range(self.log)
            if is_owed(live, offset) and (live, offset) not in self.durable.settled
        ]
        assert missing == []
        assert self.durable.floor == self.log
        assert all(self.durable.stand(live) >= self.log for live in NAMES)

    def run_a_while(self) -> None:
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

    def is_quiet(self) -> bool:
        lanes: Iterable[Lane] = self.rig.partition().lanes.values()
        is_settled = all(lane.state is LaneState.LIVE and lane.is_idle for lane in lanes)
        return is_settled and self.durable.floor == self.log and not self.rig.batches


LanesAndFloors.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
test_lanes_and_floors = LanesAndFloors.TestCase
