"""All partitions and lanes of one engine, and what moves them.

Belongs to the dispatcher's thread; does no I/O. It decides which deliveries exist and who reads
for a lane; the dispatcher decides what happens to each of them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from delivery import inbox, kinds
from delivery.batch import Outcomes
from delivery.floor import Owed
from delivery.forms import Naming, is_same_right
from delivery.inbox import Place
from delivery.lanes import RECREATED, Delivery, Lane, LaneState, Partition
from delivery.ledger import ParkedRow
from delivery.losses import RETENTION, Losses
from delivery.ordering import OrderedLane
from delivery.replay_lanes import lane_of
from delivery.request import LaneForm
from delivery.serial import SerialLane
from delivery.standings import Standings
from delivery.waits import Waits
from delivery.window import PROBES_MAX, Paced, Turns, Window
from kafkahub.failpoints import failpoint
from subscriptions import identity
from subscriptions.live import NOTHING, LiveSubscription, Snapshot

REFILL_SHARE = 2
"""A lane that is behind is read for again when this part of its room is free."""


@dataclass(frozen=True, slots=True)
class Room:
    """What one lane may hold in memory.

    records, bytes_  beyond either the lane is full
    full_s           how long a full lane may hold the shared reader up before it falls behind
    """

    records: int
    bytes_: int
    full_s: float = 0.05


class Board:
    """Partitions, their lanes, and the turns they take.

    ask   asks the backlog reader for a lane; it answers by ``inbox.BacklogFed``
    paces gives the rates in force by endpoint
    gate  opens (True) or closes (False) the shared reader; neither waits
    """

    def __init__(
        self,
        naming: Naming,
        room: Room,
        *,
        turns: Turns,
        outcomes: Outcomes,
        ask: Callable[[inbox.Ask], None],
        gate: Callable[[bool], None],
        paces: Callable[[Snapshot], Mapping[str, Paced]] = lambda _: {},
    ) -> None:
        self._naming = naming
        self._room = room
        self._turns = turns
        self._outcomes = outcomes
        self._ask = ask
        self._gate = gate
        self._paces = paces
        self._is_gated = False
        self.losses = Losses(naming, outcomes)
        # Ordered, so that the same notes make the same requests in the same order.
        self._behind: dict[Lane, None] = {}
        self._full: dict[Lane, None] = {}
        self._retiring: dict[Lane, None] = {}
        self.waits = Waits(self.offer, outcomes.now_us)
        self.partitions: dict[Place, Partition] = {}
        self.snapshot = NOTHING
        self.down: frozenset[str] = frozenset()
        """Endpoints whose breaker is open; swapped as a whole, so other threads may read it."""

    def window(self, subscription: LiveSubscription) -> Window:
        """Return the window of the endpoint that a subscription sends to."""
        endpoint = subscription.endpoint
        return self._turns.window(endpoint.id, endpoint.max_in_flight)

    def parked_form(self, row: ParkedRow) -> LaneForm | None:
        """Return the form of a parked row; None when its subscription is gone."""
        return self._naming.parked(self.snapshot, row)

    # Records that come in.

    def fed(self, note: inbox.Fed, now: float) -> None:
        """Queue what the shared reader read, for every live lane that owes it."""
        partition = self.partitions.get(note.place)
        if partition is None or partition.is_leaving:
            return
        floor, lanes = partition.floor, partition.lanes
        touched: dict[Lane, None] = {}
        for offset, hits in note.hits:
            owed = Owed(offset, 0)
            for subscription, record, fault in hits:
                lane = lanes.get(subscription)
                if lane is None or not lane.owes(offset):
                    continue
                owed.pending += 1
                lane.push(Delivery(lane.form, record, offset, lane, owed, fault))
                touched[lane] = None
            if owed.pending:
                floor.read(owed)
        floor.skip_to(note.next_offset)
        for lane in touched:
            self.offer(lane)
            self._watch(lane, now)

    def backlog_fed(self, note: inbox.BacklogFed) -> None:
        """Queue what was read for a lane that is behind; an answer to an older pass is dropped."""
        partition = self.partitions.get(note.ask.place)
        lane = partition.lanes.get(note.ask.lane) if partition is not None else None
        if lane is None or lane.pass_number != note.ask.pass_number:
            return
        lane.is_granted = False
        failpoint("replay.mid" if lane.replay else "backlog.mid_batch")
        deliveries = [
            Delivery(lane.form, record, offset, lane, None, fault)
            for offset, (_, record, fault) in note.hits
        ]
        if note.is_gap:
            self.losses.note(lane, note.ask.offset, lane.clamp(note.next_offset), RETENTION)
        lane.push_backlog(deliveries, note.next_offset)
        self._outcomes.touch(lane)
        if lane.state is LaneState.LIVE:
            failpoint("handover.before_live")
            self._behind.pop(lane, None)
        self.offer(lane)

    def overtaken(self, note: inbox.Overtaken) -> None:
        """Announce what retention took from the lanes that the shared reader feeds."""
        partition = self.partitions.get(note.place)
        if partition is not None and not partition.is_leaving:
            for lane in partition.lanes.values():
                self.losses.overtaken(lane, note.next_offset)
            partition.floor.skip_to(note.next_offset)

    def recreated(self, note: inbox.Recreated) -> None:
        """Let every lane of a partition stand still, and announce what the old log still owed."""
        partition = self.partitions.get(note.place)
        if partition is None or partition.is_leaving:
            return
        is_announced, partition.is_recreated = partition.is_recreated, True
        for lane in partition.lanes.values():
            if is_announced:
                self._heed(lane)
            else:
                self._fall_behind(lane, RECREATED, LaneState.PAUSED)
                self.losses.note(lane, lane.row()[1], None, note.reason)

    def told(self, standings: Standings) -> None:
        """Let lanes go on whose partner was told of their gap."""
        for lane in self.losses.told(standings):
            self.offer(lane)

    def give_back(self, delivery: Delivery, lane: Lane) -> None:
        """Take back a delivery whose attempt did not count."""
        lane.give_back(delivery)
        self.offer(lane)

    def settle(self, delivery: Delivery) -> None:
        """Note that a delivery is delivered or parked."""
        lane = delivery.lane
        if lane is not None:
            lane.settle(delivery)
            if lane.is_dirty:
                self._outcomes.touch(lane)
            if lane.is_ordered:
                self.offer(lane)  # what waited behind it may go

    # Partitions and lanes that come, change and go.

    def assigned(self, note: inbox.Assigned) -> None:
        """Set up a partition that this engine has claimed."""
        claim = note.claim
        partition = Partition(
            claim.topic,
            claim.partition,
            epoch=claim.epoch,
            generation=claim.generation,
            next_offset=note.next_offset,
        )
        partition.checkpoint = claim.checkpoint
        self.partitions[claim.topic, claim.partition] = partition
        for found in note.lanes:
            self._found(partition, found)

    def changed(self, note: inbox.SnapshotChanged) -> None:
        """Let every lane follow its subscription."""
        self.snapshot = note.snapshot
        self._turns.pace(self._paces(note.snapshot))
        for partition in self.partitions.values():
            if not partition.is_leaving:  # its queues are dropped, so no place can be told of them
                self._follow(partition)
        for found in note.lanes:
            partition_of = self.partitions.get((found.row.topic, found.row.partition))
            if partition_of is not None:
                self._found(partition_of, found)

    def leave(self, places: Iterable[Place]) -> None:
        """Send nothing more of these partitions; what is in flight may land."""
        for place in places:
            partition = self.partitions.get(place)
            if partition is not None:
                partition.is_leaving = True
                for lane in partition.lanes.values():
                    lane.drop()

    def is_busy(self, place: Place) -> bool:
        """Return whether requests of this partition are out."""
        partition = self.partitions.get(place)
        return partition is not None and partition.in_flight > 0

    def lose(self, places: Iterable[Place]) -> None:
        """Forget partitions that belong to another engine."""
        for place in places:
            partition = self.partitions.pop(place, None)
            if partition is not None:
                partition.is_lost = True
                self._outcomes.lose(place)
                for lane in list(partition.lanes.values()):
                    self._abandon(lane)

    def _follow(self, partition: Partition) -> None:
        wanted = {live.id: live for live in self.snapshot.by_topic.get(partition.topic, ())}
        for lane in list(partition.lanes.values()):
            live = wanted.get(lane.form.subscription.id)
            if lane.replay:
                self._follow_replay(lane)
            elif live is None:
                self._abandon(lane)
            else:
                form = self._form(partition, live.id)
                if form is not None:
                    self._reform(lane, form)
                self._heed(lane)

    def _follow_replay(self, lane: Lane) -> None:
        replay = self.snapshot.replays.get(lane.replay)
        if replay is None or replay.is_over:
            self._abandon(lane)
            return
        form = self._replay_form(lane.partition, lane.replay)
        if form is not None:
            self._reform(lane, form)
        self._heed(lane)

    def _reform(self, lane: Lane, form: LaneForm) -> None:
        """Let what is queued go out by the settings of now, to the endpoint of now."""
        before = lane.form.subscription
        if kinds.kind_of(before) != kinds.kind_of(form.subscription) and not lane.replay:
            self._retire(lane)
        is_right_new = not is_same_right(lane.form, form)
        if before.endpoint.id != form.subscription.endpoint.id:
            self._turns.withdraw(self.window(before), lane)
        lane.form = form
        if is_right_new and (lane.queued or lane.is_granted) and lane.state is not LaneState.PAUSED:
            # What is queued was projected under the grant of before: it is read again.
            self._fall_behind(lane, "grant_changed")
        self.offer(lane)

    def _found(self, partition: Partition, found: inbox.Found) -> None:
        """Set a lane up where its row says that it stands."""
        row = found.row
        if row.replay:
            self._found_replay(partition, found)
            return
        form = self._form(partition, row.subscription)
        before = partition.lanes.get(row.subscription)
        if form is None or (before is not None and before.seeks == row.seeks):
            return
        if before is not None:  # a person has moved it: what is out still lands, and counts no more
            self._abandon(before)
        lane = self._made(partition, form, set(found.settled), found.waiting)
        lane.live_from = max(row.next_offset, partition.floor.next_offset)
        lane.seeks = row.seeks
        self.losses.found(lane, found.untold)
        if row.state != LaneState.LIVE:
            lane.owe_from(row.next_offset, row.reason)
            if row.reason == RECREATED:  # announced before the partition came here
                partition.is_recreated = True
            self._behind[lane] = None
            self._outcomes.touch(lane)
        if isinstance(lane, SerialLane):
            lane.restore(row.next_offset, row.head_attempts, row.not_before_us)
            self.waits.sleep(lane)  # until the next look at least
        self._heed(lane)

    def _made(
        self, partition: Partition, form: LaneForm, ahead: set[int], waiting: Collection[bytes]
    ) -> Lane:
        """Return a new lane of the kind that its subscription asks for.

        waiting  order keys with parked rows, which keep none where the lane does not
        """
        lane = kinds.make(partition, form, ahead, waiting, secret=self._naming.id_key)
        partition.lanes[form.subscription.id] = lane
        if waiting and not (isinstance(lane, OrderedLane) and lane.heads.keys() == set(waiting)):
            self._outcomes.dissolve(lane)
        return lane

    def _retire(self, lane: Lane) -> None:
        """Let another kind of lane take over once what is out has ended."""
        lane.retire()
        self._outcomes.touch(lane)
        self._full.pop(lane, None)
        self._behind[lane] = None
        self._retiring[lane] = None

    def _succeed(self) -> None:
        """Let others take over from lanes that have nothing out any more."""
        for lane in [one for one in self._retiring if not one.in_flight]:
            lane.retire()
            if not lane.is_idle:
                continue
            del self._retiring[lane]
            self._forget(lane)
            if lane.partition.lanes.get(lane.form.subscription.id) is not lane:
                continue  # its partition or subscription went meanwhile
            waiting = lane.heads.keys() if isinstance(lane, OrderedLane) else ()
            fresh = self._made(lane.partition, lane.form, lane.ahead, waiting)
            fresh.owe_from(lane.read_offset, "")
            fresh.seeks = lane.seeks
            self.losses.found(fresh, lane.untold)
            self._behind[fresh] = None
            self._outcomes.touch(fresh)
            self._heed(fresh)

    def _found_replay(self, partition: Partition, found: inbox.Found) -> None:
        """Set up a lane that has an end."""
        row = found.row
        form = self._replay_form(partition, row.replay)
        replay = self.snapshot.replays.get(row.replay)
        if form is None or replay is None or row.replay in partition.lanes:
            return
        lane = lane_of(partition, form, row, found.settled, only_missing=replay.only_missing)
        partition.lanes[row.replay] = lane
        self._behind[lane] = None
        self._heed(lane)

    def _replay_form(self, partition: Partition, replay: str) -> LaneForm | None:
        asked, topic = self.snapshot.replays.get(replay), self.snapshot.topics.get(partition.topic)
        if asked is None or topic is None:
            return None
        return self._naming.of(
            asked.live, topic, partition=partition.number, generation=partition.generation
        )

    def _form(self, partition: Partition, subscription: str) -> LaneForm | None:
        return self._naming.lane(
            self.snapshot,
            subscription,
            topic=partition.topic,
            partition=partition.number,
            generation=partition.generation,
        )

    def _heed(self, lane: Lane) -> None:
        """Pause or resume a lane as its subscription says, and its partition."""
        is_held = lane.partition.is_recreated
        is_sending = lane.form.subscription.sending and not is_held
        if isinstance(lane, SerialLane) and lane.is_held and not is_held:
            self.waits.held[lane] = None
            if lane.state is not LaneState.PAUSED:
                self._fall_behind(lane, "held", LaneState.PAUSED)
            return
        if not is_sending and lane.state is not LaneState.PAUSED:
            reason = lane.reason if is_held else "subscription"
            self._fall_behind(lane, reason, LaneState.PAUSED)
        elif is_sending and lane.state is LaneState.PAUSED:
            lane.resume()
            self._behind[lane] = None
            self._outcomes.touch(lane)
            self.offer(lane)

    def _abandon(self, lane: Lane) -> None:
        lane.abandon()
        del lane.partition.lanes[lane.subscription]
        self._retiring.pop(lane, None)
        self._forget(lane)

    def _forget(self, lane: Lane) -> None:
        self._behind.pop(lane, None)
        self._full.pop(lane, None)
        self.waits.forget(lane)

    def _fall_behind(self, lane: Lane, reason: str, state: LaneState = LaneState.BEHIND) -> None:
        if lane.partition.is_leaving:
            return  # its queue is dropped, so no place can be told of it
        failpoint("lane.behind.before_row")
        lane.fall_behind(reason, state)
        self._outcomes.touch(lane)
        self._full.pop(lane, None)
        if state is LaneState.BEHIND:
            self._behind[lane] = None
        else:
            self._behind.pop(lane, None)

    def offer(self, lane: Lane) -> None:
        """Let the lane take its turns while it has something to send."""
        if lane.is_hungry:
            self._turns.offer(self.window(lane.form.subscription), lane)
        if lane.is_ordered and isinstance(lane, OrderedLane):
            self.waits.note(lane)

    # Lanes that keep an order.

    def lane_of(self, subscription: str, place: Place) -> OrderedLane | None:
        """Return a lane that keeps an order; None where it is not ours."""
        partition = self.partitions.get(place)
        lane = partition.lanes.get(subscription) if partition is not None else None
        return lane if isinstance(lane, OrderedLane) and lane.is_ours else None

    def sleep(self, lane: SerialLane) -> None:
        """Read nothing more for a lane whose head is tried again later."""
        if not lane.is_ours:
            return
        if lane.state is not LaneState.PAUSED:
            self._fall_behind(lane, "head")
        self.waits.sleep(lane)
        self._outcomes.touch(lane)

    def read_again(self, lane: OrderedLane) -> None:
        """Read what a lane owes once more."""
        if lane.state is not LaneState.PAUSED:
            self._fall_behind(lane, "grant_changed")

    def heed(self, lane: SerialLane) -> None:
        """Pause or resume a lane that has begun or ceased to wait for a person."""
        if not lane.is_held:
            self.waits.held.pop(lane, None)
        self._heed(lane)

    def batch_id(self, ids: Sequence[str]) -> str:
        """Return the id of a batch of these deliveries."""
        return identity.batch(self._naming.id_key, ids)

    # Endpoints that go down and come back.

    def endpoint_down(self, endpoint: str) -> None:
        """Let every lane of an endpoint owe by its position, until a probe gets through."""
        self.down |= {endpoint}
        for lane in self._lanes_of(endpoint):
            if lane.state is LaneState.LIVE:
                self._fall_behind(lane, "endpoint_down")

    def endpoint_up(self, endpoint: str, since: float) -> list[str]:
        """Let an endpoint be served again; return its subscriptions in the snapshot.

        since  monotonic time of its first failure: heads that failed since then are due
        """
        self.down -= {endpoint}
        since_us = self._outcomes.now_us(since)
        for lane in self._lanes_of(endpoint):
            if isinstance(lane, SerialLane) and lane.failed_us >= since_us:
                lane.wake()
            self.offer(lane)
        live = self.snapshot.subscriptions.values()
        return [one.id for one in live if one.endpoint.id == endpoint]

    def _lanes_of(self, endpoint: str) -> list[Lane]:
        return [
            lane
            for partition in self.partitions.values()
            for lane in partition.lanes.values()
            if lane.form.subscription.endpoint.id == endpoint
        ]

    # Pace.

    def pace(self, now: float) -> None:
        """Judge full lanes, and ask the backlog reader for those that have room."""
        if self._full or self._is_gated:
            self._judge_full(now)
        self.waits.look(now, self.down)
        if self._retiring:
            self._succeed()
        if self._behind:
            self._refill(now)

    def owing(self, now: float) -> frozenset[Place]:
        """Return the partitions held here whose floor nothing keeps back on purpose.

        An endpoint that asked to be left alone, for an hour perhaps, keeps that of its live lanes.
        """
        return frozenset(
            place
            for place, partition in self.partitions.items()
            if not (partition.is_leaving or partition.is_recreated)
            and not any(self._is_resting(lane, now) for lane in partition.lanes.values())
        )

    def _is_resting(self, lane: Lane, now: float) -> bool:
        is_waiting = lane.state is LaneState.LIVE and (lane.queued or lane.returned)
        return bool(is_waiting) and self.window(lane.form.subscription).not_before > now

    def _watch(self, lane: Lane, now: float) -> None:
        room = self._room
        is_full = lane.queued >= room.records or lane.queued_bytes >= room.bytes_
        if is_full and lane.full_since is None:
            lane.full_since = now
            self._full[lane] = None

    def _judge_full(self, now: float) -> None:
        """Let lanes fall behind that hold others up too long; open the gate when none is full.

        A lane that is alone holds nobody up: then the shared reader waits for it instead, which
        spares reading the same records twice.
        """
        room = self._room
        for lane in list(self._full):
            is_half = lane.queued * 2 <= room.records and lane.queued_bytes * 2 <= room.bytes_
            if is_half:
                lane.full_since = None
                self._full.pop(lane, None)
            elif lane.form.subscription.endpoint.id in self.down:
                self._fall_behind(lane, "endpoint_down")
            elif now - (lane.full_since or now) > room.full_s and not self._is_alone(lane):
                self._fall_behind(lane, "overflow")
        is_gated = bool(self._full)
        if is_gated != self._is_gated:
            self._is_gated = is_gated
            self._gate(not is_gated)

    def _is_alone(self, lane: Lane) -> bool:
        """Whether every other live lane of this engine goes to the same endpoint."""
        endpoint = lane.form.subscription.endpoint.id
        return all(
            other.state is not LaneState.LIVE or other.form.subscription.endpoint.id == endpoint
            for partition in self.partitions.values()
            for other in partition.lanes.values()
        )

    def _refill(self, now: float) -> None:
        for lane in self._behind:
            free = 0 if lane.is_read_out else self._free(lane, now)
            if free and not lane.is_granted and not lane.partition.is_leaving:
                lane.is_granted = True
                place = (lane.partition.topic, lane.partition.number)
                live = lane.form.subscription
                self._ask(
                    inbox.Ask(
                        place,
                        live,
                        lane.read_offset,
                        free,
                        lane.pass_number,
                        lane.replay,
                        lane.only_missing,
                    )
                )

    def _free(self, lane: Lane, now: float) -> int:
        """Return how many records to read for a lane that is behind: none until half is free."""
        if lane.is_waiting or lane in self._retiring:
            return 0
        if lane.form.subscription.endpoint.id in self.down:
            return 0 if lane.queued or lane.returned else self._probes(lane, now)
        free = self._room.records - lane.queued
        has_room = free * REFILL_SHARE >= self._room.records
        return free if has_room and lane.queued_bytes < self._room.bytes_ else 0

    def _probes(self, lane: Lane, now: float) -> int:
        """Return how many records to read as probes: none where a parked head is to be one.

        What is read behind heads would be parked, and an outage shall not make rows.
        """
        if isinstance(lane, OrderedLane) and lane.heads:
            window = self.window(lane.form.subscription)
            return 0 if window.parked.queue or window.not_before > now else PROBES_MAX
        return PROBES_MAX
