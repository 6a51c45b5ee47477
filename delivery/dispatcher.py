"""The heart of an engine: which delivery goes out next, and what follows from its answer.

All lanes, floors and windows of one engine have one owner, the sender's thread. Other threads
post notes; this one never waits for them, for a database or for Kafka.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from delivery import health, inbox, request, suspicion
from delivery.batch import Batch, Outcomes
from delivery.batching import BatchLane, Bundle
from delivery.board import Board
from delivery.breaker import PROBE_S
from delivery.bundles import PARTIAL_BYTES, Bundles
from delivery.forms import is_same_right
from delivery.heads import Heads
from delivery.inbox import Place
from delivery.lags import Lags
from delivery.lanes import Delivery
from delivery.ordering import OrderedLane
from delivery.outcome import OutcomeClass, classify, name_of
from delivery.request import Request
from delivery.retry import kept, next_delay_s, retry_after
from delivery.serial import SerialLane
from delivery.standings import Cursors
from delivery.window import Turns, Window
from kafkahub import clock
from kafkahub.egress.curl import Answer
from kafkahub.failpoints import failpoint
from kafkahub.kafka.envelope import Body

if TYPE_CHECKING:
    from delivery.succession import Order

log = structlog.get_logger()

OURS_WAIT_S = 1.0
"""How long an endpoint is left alone after a fault on our side."""
TRACE_BITS = 192


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of an engine of the same names.

    checkpoint_s  longest time between two checkpoints
    """

    checkpoint_s: float
    checkpoint_outcomes: int
    retry_after_max_s: int


@dataclass(frozen=True, slots=True)
class Outside:
    """The threads that the dispatcher hands values to; none of these calls waits.

    commit  takes a batch; answered by ``inbox.Committed``
    drop    tells the consumer that partitions are not ours any more
    gone    takes the id of an endpoint that answered 410, to be disabled
    report  takes what is known of endpoints, every few seconds
    """

    commit: Callable[[Batch], None]
    drop: Callable[[Iterable[Place]], None]
    gone: Callable[[str], None]
    report: Callable[[list[health.Report]], None] = lambda _: None


@dataclass(slots=True)
class Leaving:
    """Partitions on their way to another engine.

    last  number of the batch that holds the last outcome of them; None while requests are out
    """

    note: inbox.Revoked
    last: int | None = None


class Dispatcher:
    """Lanes and windows of one engine.

    Runs   on the sender's thread, which calls ``take``, ``land`` and ``tick``
    Owns   partitions, lanes, floors, windows and the outcomes not yet committed
    Takes  notes through ``post``, from any thread
    Ends   by a ``Drain`` note
    """

    def __init__(
        self,
        board: Board,
        limits: Limits,
        outside: Outside,
        *,
        turns: Turns,
        outcomes: Outcomes,
        cursors: Cursors,
        seed: int,
    ) -> None:
        self._board = board
        self._limits = limits
        self._outside = outside
        self._turns = turns
        self._outcomes = outcomes
        self._heads = Heads(board, outcomes, turns)
        self._bundles = Bundles(board, outcomes, self._heads, self._next_delay_s)
        self._cursors = cursors
        self._random = random.Random(seed)  # noqa: S311 - jitter and trace ids, no secrets
        self._inbox: deque[inbox.Note] = deque()
        self._committing: Batch | None = None
        self._last_commit = 0.0
        self._durable = 0
        self._leaving: list[Leaving] = []
        self._drain: inbox.Drain | None = None
        self._in_flight = 0
        self._lags = Lags()
        self._reported_at = 0.0
        self._doubted_at = 0.0
        self.held: frozenset[Order] = frozenset()
        """Orders of lanes that wait for a person; swapped as a whole, for other threads."""

    # The sender's side.

    def post(self, note: inbox.Note) -> None:
        """Take a note from any thread; it is acted upon at the next tick."""
        self._inbox.append(note)

    def take(self, now: float) -> Request | None:
        """Return the next request to send, or None while there is none or none may go.

        Nothing goes while too many outcomes wait to be made durable: that bounds what a crash,
        or a database that is away, can double.
        """
        while self._drain is None and self._unflushed() < self._limits.checkpoint_outcomes:
            delivery = self._turns.take(now, self._random.random)
            if delivery is None:
                return None
            ready = self._request(delivery, now)
            if ready is not None:
                self._in_flight += 1
                return ready
        return None

    def land(self, sent: Request, answer: Answer, now: float) -> None:
        """Take the answer of a request and decide what follows."""
        self._in_flight -= 1
        delivery = sent.delivery
        if delivery.is_bundle:
            self._land_bundle(sent, answer, now)
            return
        delivery.sends += 1
        outcome = answer.outcome or name_of(answer.status)
        asked_s = None
        if answer.retry_after:
            asked_s = retry_after(answer.retry_after, clock.now(), self._limits.retry_after_max_s)
        outcome_class = classify(outcome, answer.status or None, asked_to_wait=asked_s is not None)
        window = self._board.window(delivery.form.subscription)
        if window.answered(outcome_class, answer.duration_us, now):
            self._turned(window, delivery, now)
        if outcome_class is not OutcomeClass.DELIVERED:
            self._note_failure(window, delivery, outcome_class, outcome, answer, now)
        if outcome_class is OutcomeClass.DELIVERED:
            failpoint("send.after_2xx")
            delay_s = None
            self._delivered(delivery)
        elif window.breaker.is_open and outcome_class is not OutcomeClass.REJECTED:
            delay_s = self._wait_for_endpoint(delivery, outcome)
        elif outcome_class.counts or outcome_class is OutcomeClass.BLOCKED:
            failpoint("send.after_failure")
            delay_s = self._failed(sent, answer, outcome, outcome_class, asked_s, now=now)
        else:
            delay_s = self._put_off(delivery, now, outcome_class, asked_s, outcome=outcome)
        self._outcomes.attempt(
            sent,
            answer,
            outcome=outcome,
            outcome_class=outcome_class,
            retry_after_s=asked_s,
            delay_s=delay_s,
            now=now,
        )
        if delivery.lane is None:
            is_over = outcome_class is OutcomeClass.DELIVERED
            self._heads.landed(delivery, is_over=is_over)
        self._turns.landed(window)

    def _land_bundle(self, sent: Request, answer: Answer, now: float) -> None:
        """Do as ``land`` does for many records at once."""
        bundle, lane = sent.delivery, sent.delivery.lane
        if not (isinstance(bundle, Bundle) and isinstance(lane, BatchLane)):
            raise TypeError("a bundle belongs to a lane that makes them")
        answer = self._bundles.judged(bundle, lane, answer)
        outcome = answer.outcome or name_of(answer.status)
        asked_s = None
        if answer.retry_after:
            asked_s = retry_after(answer.retry_after, clock.now(), self._limits.retry_after_max_s)
        outcome_class = classify(outcome, answer.status or None, asked_to_wait=asked_s is not None)
        window = self._board.window(bundle.form.subscription)
        is_part = bundle.is_split and outcome_class is OutcomeClass.REJECTED
        # The parts of a rejected bundle say nothing new: they count as one outcome.
        if not is_part and window.answered(outcome_class, answer.duration_us, now):
            self._turned(window, bundle, now)
        if outcome_class is not OutcomeClass.DELIVERED:
            self._note_failure(window, bundle, outcome_class, outcome, answer, now)
        status, delay_s = answer.status or None, None
        if outcome_class is OutcomeClass.DELIVERED:
            failpoint("send.after_2xx")
            self._bundles.delivered(sent, bundle, lane, now)
        elif outcome_class is OutcomeClass.REJECTED:
            failpoint("send.after_failure")
            self._bundles.rejected(sent, bundle, lane, status=status, now=now)
        elif window.breaker.is_open:
            delay_s = self._wait_for_endpoint(bundle, outcome)
        elif outcome_class.counts or outcome_class is OutcomeClass.BLOCKED:
            failpoint("send.after_failure")
            delay_s = self._bundles.failed(
                sent, bundle, lane, outcome_class, outcome=outcome, status=status, now=now
            )
        else:
            delay_s = self._put_off(bundle, now, outcome_class, asked_s, outcome=outcome)
        self._bundles.note(
            sent,
            bundle,
            answer,
            outcome=outcome,
            outcome_class=outcome_class,
            retry_after_s=asked_s,
            delay_s=delay_s,
            now=now,
        )
        self._turns.landed(window)

    def tick(self, now: float) -> None:
        """Act on the notes that came in and on what is due."""
        while self._inbox:
            self._act(self._inbox.popleft(), now)
        self._turns.wake_due(now)
        self._board.told(self._cursors.standings)
        self._board.pace(now)
        if self._board.waits.parking:
            self._heads.park(self._limits.checkpoint_outcomes - self._unflushed())
        self._note_landed()
        if self._is_commit_due(now):
            self._commit(now)
        self._finish_leaving()
        if now - self._reported_at >= health.EVERY_S:
            self._report(now)
        if now - self._doubted_at >= suspicion.EVERY_S:
            self._doubted_at = now
            self._presume_down(suspicion.silent(self._board, self._turns, now), now)
        if self._drain is not None and self._is_at_rest():
            self._drain.done.set()

    def _report(self, now: float) -> None:
        since, self._reported_at = self._reported_at, now
        reports = health.gather(self._turns.windows(), since, now, self._outcomes.now_us)
        if reports:
            self._outside.report(reports)

    @property
    def down(self) -> frozenset[str]:
        """Endpoints that are down; may be read from any thread."""
        return self._board.down

    @property
    def in_flight(self) -> int:
        """Requests that are out."""
        return self._in_flight

    # Requests out.

    def _request(self, delivery: Delivery, now: float) -> Request | None:
        if delivery.is_bundle:
            return self._request_of_bundle(delivery, now)
        if delivery.lane is None:
            self._heads.started(delivery)
        if not delivery.webhook_id:
            delivery.webhook_id = delivery.form.deliveries.of(delivery.offset)
        lane = delivery.lane
        if lane is not None and delivery.form is not lane.form:
            if not is_same_right(delivery.form, lane.form):
                self._heads.outdated(delivery, lane)
                self._turns.landed(self._board.window(lane.form.subscription))
                return None
            delivery.form = lane.form  # secrets and URL of now, not of when it was read
        try:
            ready = request.build(
                delivery,
                self._body(delivery),
                unix_s=clock.unix_seconds(),
                random_bits=self._random.getrandbits(TRACE_BITS),
                cursor=self._cursors.of(delivery),
            )
        except request.Unsendable as fault:
            self._board.settle(delivery)
            self._outcomes.born_dead(delivery, fault.reason)
        except request.Unsigned:
            self._put_off(delivery, now, OutcomeClass.OURS, None, outcome="secret_unreadable")
        else:
            failpoint("lane.before_send")
            ready.is_probe = self._board.window(delivery.form.subscription).breaker.is_open
            return ready
        if delivery.lane is None:
            self._heads.landed(delivery, is_over=False)
        self._turns.landed(self._board.window(delivery.form.subscription))
        return None

    def _request_of_bundle(self, bundle: Delivery, now: float) -> Request | None:
        lane = bundle.lane
        if not (isinstance(bundle, Bundle) and isinstance(lane, BatchLane)):
            raise TypeError("a bundle belongs to a lane that makes them")
        made = self._bundles.body(bundle, lane)
        window = self._board.window(lane.form.subscription)
        if made is not None:
            bundle.form = lane.form
            try:
                ready = request.build(
                    bundle,
                    made,
                    unix_s=clock.unix_seconds(),
                    random_bits=self._random.getrandbits(TRACE_BITS),
                    cursor=self._cursors.of(bundle),
                )
            except request.Unsigned:
                self._put_off(bundle, now, OutcomeClass.OURS, None, outcome="secret_unreadable")
            else:
                ready.is_probe = window.breaker.is_open
                ready.reads_bytes = PARTIAL_BYTES if lane.limits.partial else 0
                return ready
        self._board.offer(lane)
        self._turns.landed(window)
        return None

    def _body(self, delivery: Delivery) -> Body:
        if delivery.parked is not None and delivery.parked.body is not None:
            return Body(delivery.parked.body, tuple(delivery.parked.headers.items()))
        return request.body(delivery)

    # What follows from an answer.

    def _note_failure(  # noqa: PLR0917 - all of it is of one answer, on the way of each failure
        self,
        window: Window,
        delivery: Delivery,
        outcome_class: OutcomeClass,
        outcome: str,
        answer: Answer,
        now: float,
    ) -> None:
        """Keep what is told of the endpoint; what is our own fault says nothing of it."""
        if outcome_class is OutcomeClass.GONE:
            self._outside.gone(delivery.form.subscription.endpoint.id)
        if outcome_class is not OutcomeClass.OURS:
            window.failed.note(outcome, answer.status or None, now, window.delivered_at)

    def _turned(self, window: Window, delivery: Delivery, now: float) -> None:
        """Act on a breaker that has opened or closed."""
        endpoint = delivery.form.subscription.endpoint.id
        if window.breaker.is_open:
            window.opened(now, self._random.random())
            self._went_down(endpoint)
        else:
            window.closed(now)
            since = window.down_since if window.down_since is not None else now
            self._outcomes.hasten(self._board.endpoint_up(endpoint, since), since)
            log.info("endpoint.came_back", endpoint=endpoint, down_s=round(now - since, 1))

    def _went_down(self, endpoint: str) -> None:
        self._board.endpoint_down(endpoint)
        log.warning("endpoint.went_down", endpoint=endpoint)

    def _presume_down(self, suspects: Iterable[suspicion.Suspect], now: float) -> None:
        """Probe endpoints that nothing else would be sent to before a schedule is over."""
        for endpoint, window, since in suspects:
            was_open = window.breaker.is_open
            window.presumed_down(now, since)
            if not was_open:
                self._went_down(endpoint)

    def _wait_for_endpoint(self, delivery: Delivery, outcome: str) -> float:
        """Keep a delivery owed whose endpoint is down: that costs it nothing.

        Returns the seconds until it may be sent again.
        """
        if delivery.lane is not None:
            self._board.give_back(delivery, delivery.lane)
        else:
            self._outcomes.put_off(delivery, outcome, None, PROBE_S)
        return PROBE_S

    def _delivered(self, delivery: Delivery) -> None:
        self._board.settle(delivery)
        self._outcomes.delivered(delivery)

    def _failed(
        self,
        sent: Request,
        answer: Answer,
        outcome: str,
        outcome_class: OutcomeClass,
        asked_s: int | None,
        *,
        now: float,
    ) -> float | None:
        """Park a delivery by its schedule; return the seconds to its next attempt, or None."""
        delivery = sent.delivery
        lane, subscription = delivery.lane, delivery.form.subscription
        status = answer.status or None
        delay_s = self._next_delay_s(delivery, outcome_class, asked_s)
        if isinstance(lane, OrderedLane):
            return self._heads.failed(
                sent, lane, outcome_class, delay_s, outcome=outcome, status=status, now=now
            )
        self._board.settle(delivery)
        due = delivery.parked
        is_held = subscription.holds and due is not None and due.order_key is not None
        self._outcomes.failed(delivery, sent, outcome, status, delay_s, is_held=is_held)
        return delay_s

    def _next_delay_s(
        self, delivery: Delivery, outcome_class: OutcomeClass, asked_s: int | None = None
    ) -> float | None:
        """Count an attempt; return the seconds to the next by the schedule, or None."""
        lane, subscription = delivery.lane, delivery.form.subscription
        if not (isinstance(lane, SerialLane) and lane.is_on_trial):
            delivery.attempts += 1
        return next_delay_s(
            subscription.schedule_s,
            delivery.attempts,
            jitter=subscription.jitter,
            chance=self._random.random(),
            retry_after_s=asked_s,
            is_overloaded=outcome_class is OutcomeClass.OVERLOADED,
        )

    def _put_off(
        self,
        delivery: Delivery,
        now: float,
        outcome_class: OutcomeClass,
        asked_s: int | None,
        *,
        outcome: str,
    ) -> float:
        """Leave the endpoint alone for a while after an attempt that does not count.

        Returns how long, in seconds.
        """
        window = self._board.window(delivery.form.subscription)
        if outcome_class is OutcomeClass.THROTTLED:
            wait_s = window.throttled(
                now, None if asked_s is None else kept(asked_s, self._random.random())
            )
        else:
            wait_s = OURS_WAIT_S
            window.not_before = max(window.not_before, now + wait_s)
        if delivery.lane is not None:
            self._board.give_back(delivery, delivery.lane)
        else:
            self._outcomes.put_off(delivery, outcome, None, wait_s)
        return wait_s

    # Checkpoints.

    def _unflushed(self) -> int:
        waiting = self._outcomes.count
        return waiting + (len(self._committing.attempts) if self._committing is not None else 0)

    def _is_commit_due(self, now: float) -> bool:
        if self._committing is not None:
            return False
        is_full = self._outcomes.count * 2 >= self._limits.checkpoint_outcomes
        return (
            is_full or now - self._last_commit >= self._limits.checkpoint_s or bool(self._leaving)
        )

    def _commit(self, now: float) -> None:
        self._last_commit = now
        batch = self._outcomes.take(list(self._board.partitions.values()))
        if batch.is_empty:
            self._durable = batch.number
        else:
            self._committing = batch
            self._outside.commit(batch)

    def _committed(self, note: inbox.Committed, now: float) -> None:
        self._committing = None
        self._durable = note.number
        self._board.losses.committed(note.number, now)
        if note.fenced:
            self._board.lose(note.fenced)
            self._heads.reclaim()
            self._outside.drop(note.fenced)
        self._heads.committed(note)
        self.held = self._heads.held(self._durable)

    # Notes from other threads.

    def _act(self, note: inbox.Note, now: float) -> None:  # noqa: C901, PLR0912 - one arm a kind
        match note:
            case inbox.Fed():
                self._board.fed(note, now)
            case inbox.BacklogFed():
                self._board.backlog_fed(note)
            case inbox.Ends():
                self._lags.show(
                    self._board.partitions.values(),
                    note.ends,
                    kept_ms=self._cursors.standings.kept_ms,
                    now=now,
                    unix_ms=int(clock.now().timestamp() * 1000),
                )
            case inbox.Overtaken():
                self._board.overtaken(note)
            case inbox.Recreated():
                self._board.recreated(note)
            case inbox.Committed():
                self._committed(note, now)
            case inbox.ParkedClaimed():
                self._heads.claimed(note.rows)
            case inbox.ParkedForgotten():
                self._heads.forget()
            case inbox.Released():
                self._heads.released(note.orders)
            case inbox.SnapshotChanged():
                self._board.changed(note)
                self._heads.reclaim()
            case inbox.Assigned():
                self._board.assigned(note)
                now_us = self._outcomes.now_us(now)
                self._presume_down(
                    suspicion.inherited(self._board, note.lanes, now, now_us=now_us), now
                )
            case inbox.Revoked():
                self._leaving.append(Leaving(note))
                self._board.leave(note.places)
                self._heads.reclaim()
            case inbox.Lost():
                self._lose(note.places)
            case inbox.Drain():
                self._drain = note
            case inbox.Alibi():
                note.owing = self._board.owing(now)
                note.done.set()

    def _lose(self, places: Iterable[Place]) -> None:
        """Forget partitions that went too slowly: some may be ours again soon."""
        lost = set(places)
        self._board.lose(lost)
        self._heads.reclaim()
        self._leaving = [one for one in self._leaving if not lost.issuperset(one.note.places)]

    def _note_landed(self) -> None:
        """Note which batch holds the last outcomes of partitions that nothing is out of."""
        for leaving in self._leaving:
            is_busy = any(self._board.is_busy(place) for place in leaving.note.places)
            if leaving.last is None and not is_busy:
                leaving.last = self._outcomes.next_number

    def _finish_leaving(self) -> None:
        """Let partitions go whose last outcomes are durable."""
        for leaving in list(self._leaving):
            if leaving.last is not None and leaving.last <= self._durable:
                self._board.lose(leaving.note.places)
                self._leaving.remove(leaving)
                leaving.note.done.set()

    def _is_at_rest(self) -> bool:
        return self._in_flight == 0 and self._committing is None and self._outcomes.count == 0
