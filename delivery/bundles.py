"""Bundles on their way: their bodies, and what follows from their answers.

Belongs to the dispatcher's thread; does no I/O.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from delivery import request
from delivery.batch import Outcomes
from delivery.batching import BatchLane, Bundle, KeyBatchLane
from delivery.board import Board
from delivery.forms import is_same_right
from delivery.heads import Heads
from delivery.lanes import Delivery
from delivery.ordering import LANE_KEY
from delivery.outcome import OutcomeClass
from delivery.request import Request
from kafkahub.egress.curl import Answer
from kafkahub.kafka import envelope
from kafkahub.kafka.envelope import Body

PARTIAL_BYTES = 64 * 1024
"""Most bytes that are read of an answer which may name records of its batch."""
ITEM_REJECTED = "item_rejected"
Delay = Callable[[Delivery, OutcomeClass], float | None]
"""Seconds by the schedule to the next attempt of a delivery; None when it is used up."""


class Failed(msgspec.Struct, frozen=True):
    """One record that an endpoint did not take; unknown members, ``reason`` too, are not looked at.

    id  its webhook-id
    """

    id: str


class Refusals(msgspec.Struct, frozen=True):
    """The body of a 2xx that settles a part of a batch."""

    failed: list[Failed] = []


class Bundles:
    """What the dispatcher does with bundles.

    delay  computes the schedule, counting the attempt
    """

    def __init__(self, board: Board, outcomes: Outcomes, heads: Heads, delay: Delay) -> None:
        self._board = board
        self._outcomes = outcomes
        self._heads = heads
        self._delay = delay

    # Out.

    def body(self, bundle: Bundle, lane: BatchLane) -> Body | None:
        """Return the body of a bundle, cut to its limits; None where nothing of it may go now."""
        if not all(is_same_right(one.form, lane.form) for one in bundle.items):
            self._renew(bundle, lane)
            return None
        shape = envelope.of_items(lane.form.shape)
        most = min(lane.limits.max_bytes, lane.form.subscription.endpoint.max_body_bytes)
        parts: list[bytes] = []
        kept: list[Delivery] = []
        size = envelope.BATCH_FRAME_BYTES
        for at, one in enumerate(bundle.items):
            part = self._part(one, lane, shape)
            if part is None:
                continue
            size += len(part) + 1
            if kept and size > most:
                lane.put_back(bundle.items[at:])
                break
            parts.append(part)
            kept.append(one)
        if not kept:
            return None
        bundle.items = kept
        bundle.webhook_id = self._board.batch_id([one.webhook_id for one in kept])
        times = [one.record.timestamp_ms for one in kept if one.record is not None]
        return envelope.batch(
            parts, shape, max((ms for ms in times if ms is not None), default=None)
        )

    def _part(self, one: Delivery, lane: BatchLane, shape: envelope.Shape) -> bytes | None:
        one.form = lane.form
        one.webhook_id = one.webhook_id or lane.form.deliveries.of(one.offset)
        try:
            return request.item(one, shape)
        except request.Unsendable as fault:
            self._board.settle(one)
            self._outcomes.born_dead(one, fault.reason)
            return None

    def _renew(self, bundle: Bundle, lane: BatchLane) -> None:
        """Let records be projected anew whose grant has changed since they were read."""
        if lane.keeps_order:
            lane.put_back(bundle.items)
            self._board.read_again(lane)
            return
        for one in bundle.items:
            if is_same_right(one.form, lane.form):
                lane.put_back([one])
            else:
                one.webhook_id = one.webhook_id or lane.form.deliveries.of(one.offset)
                self._board.settle(one)
                self._outcomes.outdated(one)

    # Back.

    def judged(self, bundle: Bundle, lane: BatchLane, answer: Answer) -> Answer:
        """Return the answer for the bundle as a whole, once its body is looked at.

        What it names of the bundle is in ``refused`` then. A body that is cut, or says something
        else, makes a ``bad_response``: nobody knows what was taken.
        """
        if not (lane.limits.partial and 200 <= answer.status < 300):  # noqa: PLR2004 - success
            return answer
        if not answer.body and answer.note is None:
            return answer
        try:
            found = msgspec.json.decode(answer.body, type=Refusals)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        if found is None or answer.note is not None:
            return msgspec.structs.replace(answer, outcome="bad_response")
        named = {each.id for each in found.failed}
        bundle.refused = [one for one in bundle.items if one.webhook_id in named]
        return answer

    def delivered(self, sent: Request, bundle: Bundle, lane: BatchLane, now: float) -> None:
        """Settle what was taken; what was refused is treated as a record of its own."""
        refused = bundle.refused
        taken = [one for one in bundle.items if one not in refused] if refused else bundle.items
        for one in taken:
            self._board.settle(one)
        if not refused:
            return
        lane.ahead.update(one.offset for one in taken)
        self._rejected(sent, refused, lane, outcome=ITEM_REJECTED, status=200, now=now)

    def rejected(
        self, sent: Request, bundle: Bundle, lane: BatchLane, *, status: int | None, now: float
    ) -> None:
        """Halve what was rejected; a record that stands alone is treated as without batches."""
        if len(bundle.items) > 1:
            lane.put_back(bundle.items, halves=True)
            self._board.offer(lane)
            return
        self._rejected(sent, bundle.items, lane, outcome="http_4xx", status=status, now=now)

    def _rejected(
        self,
        sent: Request,
        items: Sequence[Delivery],
        lane: BatchLane,
        *,
        outcome: str,
        status: int | None,
        now: float,
    ) -> None:
        """Park records that were rejected; by partition only the first, the others come after."""
        if lane.keeps_order and not isinstance(lane, KeyBatchLane):
            lane.put_back_each(items[1:])
            items = items[:1]
        for one in items:
            made = self._alone(one)
            if made is None:
                continue
            if lane.is_blocked(one):
                self._outcomes.block(one, made, lane.blocked(one, self._outcomes.next_number))
                self._board.settle(one)
                continue
            delay_s = self._delay(one, OutcomeClass.REJECTED)
            alone = replace(sent, delivery=one, made=made)
            self._heads.failed(
                alone,
                lane,
                OutcomeClass.REJECTED,
                delay_s,
                outcome=outcome,
                status=status,
                now=now,
            )

    def failed(
        self,
        sent: Request,
        bundle: Bundle,
        lane: BatchLane,
        outcome_class: OutcomeClass,
        *,
        outcome: str,
        status: int | None,
        now: float,
    ) -> float | None:
        """Try the whole bundle again by the schedule; return in how many seconds, or None."""
        delay_s = self._delay(bundle, outcome_class)
        if delay_s is not None:
            for one in bundle.items:
                one.attempts = bundle.attempts
            return self._heads.wait(bundle, lane, outcome_class, delay_s, now)
        is_held = lane.form.subscription.holds and not lane.replay
        for at, one in enumerate(bundle.items):
            one.attempts = bundle.attempts
            made = self._alone(one)
            if made is None:
                continue
            alone = replace(sent, delivery=one, made=made)
            if is_held and at:
                self._outcomes.block(one, made, LANE_KEY)
                self._board.settle(one)
            else:
                self._heads.exhaust(alone, lane, outcome=outcome, status=status)
        return None

    def _alone(self, one: Delivery) -> Body | None:
        """Return the body of a record by itself, as its row keeps it."""
        try:
            return request.body(one)
        except request.Unsendable as fault:
            self._board.settle(one)
            self._outcomes.born_dead(one, fault.reason)
            return None

    def note(
        self,
        sent: Request,
        bundle: Bundle,
        answer: Answer,
        *,
        outcome: str,
        outcome_class: OutcomeClass,
        retry_after_s: int | None,
        delay_s: float | None,
        now: float,
    ) -> None:
        """Note the attempt of each record; the answer's text only once."""
        quiet = msgspec.structs.replace(answer, body=b"")
        for at, one in enumerate(bundle.items):
            one.sends += 1
            is_refused = one in bundle.refused if bundle.refused else False
            self._outcomes.attempt(
                replace(sent, delivery=one),
                quiet if at else answer,
                outcome=ITEM_REJECTED if is_refused else outcome,
                outcome_class=OutcomeClass.REJECTED if is_refused else outcome_class,
                retry_after_s=retry_after_s,
                delay_s=delay_s,
                now=now,
                batch=bundle.webhook_id,
            )
