"""Claimed parked rows, and heads: what waits behind what failed, and who goes next.

Belongs to the dispatcher's thread; does no I/O.
"""

from collections.abc import Iterable
from itertools import groupby

from delivery import inbox, request
from delivery.batch import Outcomes
from delivery.batching import BatchLane, KeyBatchLane
from delivery.board import Board
from delivery.forms import is_outdated
from delivery.lanes import Delivery, Lane
from delivery.ledger import ParkedRow
from delivery.ordering import LANE_KEY, Chain, KeyLane, OrderedLane
from delivery.outcome import OutcomeClass
from delivery.request import Request
from delivery.serial import SerialLane
from delivery.succession import Order
from delivery.window import Turns

UNWELL = frozenset({OutcomeClass.FAILED, OutcomeClass.OVERLOADED})
"""What a serial head is tried again after at no cost: the endpoint may be down."""

REFUSED_S = 1.0
"""When rows are looked at again that may not be sent from here now."""


class Chained(Delivery):
    """A parked row that others of its order come after."""

    __slots__ = ("chain",)
    chain: Chain


class Heads:
    """What the dispatcher does with claimed rows and with ordered lanes' failures."""

    def __init__(self, board: Board, outcomes: Outcomes, turns: Turns) -> None:
        self._board = board
        self._outcomes = outcomes
        self._turns = turns

    # Rows that redelivery has claimed.

    def claimed(self, rows: Iterable[ParkedRow]) -> None:
        """Let claimed rows go out: those of one order one after the other, the rest at once."""
        ordered = []
        for row in rows:
            if row.order_key is None:
                self._offer(row)
            else:
                ordered.append(row)
        ordered.sort(key=_place_in_order)
        for order, group in groupby(ordered, key=_order_of):
            self._continue(order, list(group))

    def reclaim(self) -> None:
        """Give claimed rows that are not out yet the settings of now; those not ours go back."""
        rows = []
        for delivery in self._turns.forget_parked():
            if isinstance(delivery, Chained):
                chain = delivery.chain
                chain.lane.chains.pop(chain.order_key, None)
                rows += [chain.now, *chain.behind]
            elif delivery.parked is not None:
                rows.append(delivery.parked)
        self.claimed(rows)

    def forget(self) -> None:
        """Send none of the claimed rows that are not out yet: their leases may be over."""
        self._turns.forget_parked()
        for partition in self._board.partitions.values():
            for lane in partition.lanes.values():
                if isinstance(lane, OrderedLane):
                    lane.chains.clear()

    def _offer(self, row: ParkedRow) -> None:
        form = self._board.parked_form(row)
        if form is None or not form.subscription.sending or is_outdated(row, form):
            self._outcomes.give_back(row)
            return
        self._queue(Delivery(form, None, row.offset), row)

    def _queue(self, delivery: Delivery, row: ParkedRow) -> None:
        delivery.parked = row
        delivery.webhook_id = row.id
        delivery.attempts, delivery.sends = row.attempts, row.sends
        window = self._board.window(delivery.form.subscription)
        window.parked.queue.append(delivery)
        self._turns.offer(window, window.parked)

    # Chains of rows.

    def _continue(self, order: Order, rows: list[ParkedRow]) -> None:
        """Begin a chain, or add to the one that is there."""
        lane = self._board.lane_of(order.subscription, (order.topic, order.partition))
        if lane is None:
            self._refuse(rows)
            return
        chain = lane.chains.get(order.order_key)
        if chain is not None:
            self._join(chain, rows)
            return
        lane.heads.setdefault(order.order_key, 0)
        chain = Chain(lane, order.order_key, rows[0], rows[1:])
        lane.chains[order.order_key] = chain
        self._send(chain)

    def _join(self, chain: Chain, rows: list[ParkedRow]) -> None:
        """Add the rows that come after a chain's last; those that it has are still claimed."""
        last = (chain.behind or [chain.now])[-1]
        chain.behind.extend(row for row in rows if _age(row) > _age(last))
        for row in rows:
            if _age(row) < _age(chain.now):
                self._outcomes.give_back(row)

    def _send(self, chain: Chain) -> None:
        """Let the row whose turn it is go out; give the chain back where nothing may be sent."""
        form = self._board.parked_form(chain.now)
        may_send = form is not None and form.subscription.sending and chain.lane.is_ours
        if form is None or not may_send or is_outdated(chain.now, form):
            chain.lane.chains.pop(chain.order_key, None)
            self._refuse([chain.now, *chain.behind])
            return
        delivery = Chained(form, None, chain.now.offset)
        delivery.chain = chain
        self._queue(delivery, chain.now)

    def _refuse(self, rows: list[ParkedRow]) -> None:
        self._outcomes.give_back(rows[0], REFUSED_S)
        self._outcomes.unclaim(rows[1:])

    def started(self, delivery: Delivery) -> None:
        """Note that a parked row goes out; its partition is not given up until it has landed."""
        if isinstance(delivery, Chained):
            delivery.chain.lane.partition.in_flight += 1

    def landed(self, delivery: Delivery, *, is_over: bool) -> None:
        """Let the next of a chain go out, or give it back.

        is_over  whether the row is delivered. If not, those behind go on waiting, behind a dead
                 one until that is durable: after a crash it would be sent again
        """
        if not isinstance(delivery, Chained):
            return
        chain = delivery.chain
        chain.lane.partition.in_flight -= 1
        if chain.lane.chains.get(chain.order_key) is not chain:
            return
        if is_over and chain.behind:
            chain.now = chain.behind.popleft()
            self._send(chain)
            return
        del chain.lane.chains[chain.order_key]
        self._outcomes.unclaim(chain.behind)

    # What was projected under another grant.

    def outdated(self, delivery: Delivery, lane: Lane) -> None:
        """Let a record be made anew that was sent before: where there is an order, in its place."""
        if isinstance(lane, OrderedLane):
            lane.unsend(delivery)
            self._board.read_again(lane)
            return
        self._board.settle(delivery)
        self._outcomes.outdated(delivery)

    # Heads of lanes.

    def failed(
        self,
        sent: Request,
        lane: OrderedLane,
        outcome_class: OutcomeClass,
        delay_s: float | None,
        *,
        outcome: str,
        status: int | None,
        now: float,
    ) -> float | None:
        """Do what follows from a failure in a lane that keeps an order.

        delay_s  by the schedule; None when it is used up

        Returns the seconds to the next attempt, or None.
        """
        match lane:
            case KeyLane() | KeyBatchLane():
                self._block(sent, lane, delay_s, outcome=outcome, status=status)
                return delay_s
            case BatchLane() if not lane.keeps_order:
                self._board.settle(sent.delivery)
                self._outcomes.failed(sent.delivery, sent, outcome, status, delay_s)
                return delay_s
            case SerialLane() if delay_s is not None:
                return self.wait(sent.delivery, lane, outcome_class, delay_s, now)
            case SerialLane():
                self.exhaust(sent, lane, outcome=outcome, status=status)
        return None

    def _block(
        self,
        sent: Request,
        lane: KeyLane | KeyBatchLane,
        delay_s: float | None,
        *,
        outcome: str,
        status: int | None,
    ) -> None:
        """Park a record, and let the later ones of its key wait behind it."""
        delivery, order_key = sent.delivery, None
        is_held = delay_s is None and lane.form.subscription.holds
        if delay_s is not None or is_held:
            order_key = lane.block(delivery, self._outcomes.next_number)
        else:
            self._die(delivery, lane)
        self._board.settle(delivery)
        self._outcomes.failed(
            delivery,
            sent,
            outcome,
            status,
            delay_s,
            order_key=order_key,
            is_held=is_held and order_key is not None,
        )

    def wait(
        self,
        delivery: Delivery,
        lane: SerialLane,
        outcome_class: OutcomeClass,
        delay_s: float,
        now: float,
    ) -> float:
        """Try a head again: a few times soon and at no cost, then by its schedule."""
        free_s = lane.free_try_s() if outcome_class in UNWELL else None
        wait_s = delay_s if free_s is None else free_s
        lane.wait(
            delivery,
            now_us=self._outcomes.now_us(now),
            delay_s=wait_s,
            is_on_trial=free_s is not None,
        )
        lane.give_back(delivery)
        self._board.sleep(lane)
        return wait_s

    def exhaust(self, sent: Request, lane: SerialLane, *, outcome: str, status: int | None) -> None:
        """Bury a head and let its lane go on, or hold both until a person has decided."""
        delivery = sent.delivery
        # The lane of a replay ends: what it cannot deliver is a dead letter of it.
        is_held = lane.form.subscription.holds and not lane.replay
        order_key = LANE_KEY if is_held else None
        if order_key is not None:
            lane.heads[order_key] = self._outcomes.next_number
        elif not (isinstance(lane, BatchLane) and not lane.keeps_order):
            self._die(delivery, lane)
        self._board.settle(delivery)
        self._outcomes.failed(
            delivery, sent, outcome, status, None, order_key=order_key, is_held=is_held
        )
        self._board.heed(lane)

    def _die(self, delivery: Delivery, lane: OrderedLane) -> None:
        if lane.die(delivery, self._outcomes.next_number):
            self._board.waits.dying[lane] = None

    # Records behind a head.

    def park(self, room: int) -> None:
        """Park up to ``room`` records that wait behind a head of their key."""
        for lane in list(self._board.waits.parking):
            while lane.to_park and room > 0:
                self._set_aside(lane.to_park.popleft(), lane)
                room -= 1
            if not lane.to_park:
                del self._board.waits.parking[lane]
                self._board.offer(lane)

    def _set_aside(self, delivery: Delivery, lane: OrderedLane) -> None:
        # In the form it was read in: by its grant's version the row tells whether that still holds.
        delivery.webhook_id = delivery.webhook_id or lane.form.deliveries.of(delivery.offset)
        try:
            made = request.body(delivery)
        except request.Unsendable as fault:
            self._outcomes.born_dead(delivery, fault.reason)
        else:
            order_key = lane.blocked(delivery, self._outcomes.next_number)
            self._outcomes.block(delivery, made, order_key)
        lane.set_aside(delivery)
        if lane.is_dirty:
            self._outcomes.touch(lane)

    # Orders that have come to their end.

    def committed(self, note: inbox.Committed) -> None:
        """Let records go out again whose orders have no row left, or whose head is dead now."""
        for lane in list(self._board.waits.dying):
            if not lane.committed(note.number):
                del self._board.waits.dying[lane]
            self._board.offer(lane)
        for order in note.emptied:
            self._unblock(order, note.number)

    def released(self, orders: Iterable[Order]) -> None:
        """Let lanes go on whose held row a person has discarded."""
        for order in orders:
            self._unblock(order, self._outcomes.next_number)

    def _unblock(self, order: Order, number: int) -> None:
        lane = self._board.lane_of(order.subscription, (order.topic, order.partition))
        if lane is None or not lane.unblock(order.order_key, number):
            return
        if isinstance(lane, SerialLane):
            self._board.heed(lane)
        self._board.offer(lane)

    def held(self, durable: int) -> frozenset[Order]:
        """Return the orders of lanes that wait for a person; ``durable``: batches written."""
        return frozenset(
            Order(lane.form.subscription.id, lane.partition.topic, lane.partition.number, LANE_KEY)
            for lane in self._board.waits.held
            if lane.heads.get(LANE_KEY, durable + 1) <= durable
        )


def _order_of(row: ParkedRow) -> Order:
    return Order(row.subscription, row.topic, row.partition, row.order_key or b"")


def _age(row: ParkedRow) -> tuple[int, int]:
    return row.generation, row.offset


def _place_in_order(row: ParkedRow) -> tuple[Order, tuple[int, int]]:
    return _order_of(row), _age(row)
