"""Parked rows come back when they are due, to one engine at a time."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db.models.functions import Now

from delivery import parking
from delivery.database import Conn, connect
from delivery.inbox import Note, ParkedClaimed, ParkedForgotten
from delivery.leases import FORGET_S, LEASE_S, RENEW_S
from delivery.models import ParkedDelivery
from delivery.redelivery import CLAIMS_MAX, EACH_MAX, RESERVE, Redelivery
from kafkahub import clock
from subscriptions.live import Snapshot
from subscriptions.models import Subscription
from tests import factories
from tests.delivery import makers
from tests.delivery.links import url

pytestmark = pytest.mark.django_db(transaction=True)
DEADLINE_S = 30.0
POLL_S = 0.02
NEVER_S = 3_600.0
NAME = "redelivery under test"


class Clock:
    """A monotonic clock that a test may put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Running:
    """Redelivery on its thread, with what it posted and a line that a test may cut."""

    def __init__(self, *known: Subscription, sweep_s: float = 0.05) -> None:
        self.owner: UUID = uuid4()
        self.clock = Clock()
        self.notes: list[Note] = []
        self.is_cut = False
        self.refusals = 0
        self._posted = threading.Condition()
        self.snapshot: Snapshot = snapshot(*known)
        self.down: frozenset[str] = frozenset()
        self.redelivery = Redelivery(
            self.owner,
            self._connect,
            snapshot=lambda: self.snapshot,
            down=lambda: self.down,
            held=frozenset,
            post=self._post,
            sweep_s=sweep_s,
            monotonic=self.clock,
        )
        leases = self.redelivery.leases
        runs = (self.redelivery.run, leases.renew, leases.guard)
        self.threads = [threading.Thread(target=run) for run in runs]
        for thread in self.threads:
            thread.start()

    def _connect(self) -> Conn:
        if self.is_cut:
            self.refusals += 1
            raise psycopg.OperationalError("away")
        return connect(url(), NAME)

    def _post(self, note: Note) -> None:
        with self._posted:
            self.notes.append(note)
            self._posted.notify_all()

    @property
    def claimed(self) -> list[int]:
        """Return the offsets of the rows posted, in order."""
        found = [note for note in self.notes if isinstance(note, ParkedClaimed)]
        return [row.offset for note in found for row in note.rows]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self._posted:
            if not self._posted.wait_for(holds, DEADLINE_S):
                raise AssertionError(f"posted so far: {self.notes}")

    def stop(self) -> None:
        self.redelivery.stop()
        for thread in self.threads:
            thread.join(DEADLINE_S)

    @property
    def is_alive(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def subscription() -> Subscription:
    return factories.subscription(factories.partner())


@pytest.fixture
def running(subscription: Subscription) -> Iterator[Running]:
    made = Running(subscription)
    yield made
    made.stop()
    assert not made.is_alive


def snapshot(*known: Subscription, sending: bool = True) -> Snapshot:
    return makers.snapshot(*[makers.subscription(one.id, sending=sending) for one in known])


def soon(holds: Callable[[], bool]) -> None:
    """Wait for something that another thread writes to the database."""
    until = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(list(ParkedDelivery.objects.values()))
        threading.Event().wait(POLL_S)


def row(offset: int) -> ParkedDelivery:
    return ParkedDelivery.objects.get(offset=offset)


def cut(running: Running) -> None:
    """End the connection; no other comes about."""
    running.is_cut = True
    with factories.connect() as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            [NAME],
        )


def test_what_is_due_is_claimed_and_what_is_not_due_waits(
    subscription: Subscription, running: Running
) -> None:
    factories.parked(subscription, 2, next_attempt_at=clock.now() + timedelta(hours=1))
    factories.parked(subscription, 3, state="dead")
    factories.parked(subscription, 1)

    running.wait_for(lambda: bool(running.claimed))

    assert running.claimed == [1]
    assert (row(1).state, row(1).claimed_by) == ("sending", running.owner)
    assert (row(2).state, row(3).state) == ("scheduled", "dead")


def test_a_row_is_claimed_once(subscription: Subscription, running: Running) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))
    factories.parked(subscription, 2)

    running.wait_for(lambda: len(running.claimed) == 2)

    assert running.claimed == [1, 2]


def test_rows_of_a_subscription_that_holds_are_left_alone(running: Running) -> None:
    partner = factories.partner()
    held, going = factories.subscription(partner), factories.subscription(partner)
    running.snapshot = makers.snapshot(
        makers.subscription(held.id, sending=False), makers.subscription(going.id)
    )
    factories.parked(held, 1)
    factories.parked(going, 2)

    running.wait_for(lambda: bool(running.claimed))

    assert running.claimed == [2]
    assert row(1).state == "scheduled"


def test_a_doorbell_is_heard_long_before_the_next_sweep(subscription: Subscription) -> None:
    running = Running(subscription, sweep_s=NEVER_S)
    factories.parked(subscription, 0)
    running.redelivery.finished([])
    parking.due_now(row(0).id, "resend", ["scheduled"])
    running.wait_for(lambda: running.claimed == [0])

    dead = factories.parked(subscription, 1, state="dead")
    parking.due_now(dead.id, "resend", ["dead"])

    running.wait_for(lambda: running.claimed == [0, 1])
    running.redelivery.stop()
    with factories.connect() as conn:
        conn.execute(parking.RING)
    running.stop()
    assert not running.is_alive


def test_a_claim_is_held_as_long_as_the_row_is_being_sent(
    subscription: Subscription, running: Running
) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))
    first = row(1).lease_until
    assert first is not None

    running.clock.ahead_s += RENEW_S

    soon(lambda: (row(1).lease_until or first) > first)
    assert running.claimed == [1]


def test_a_claim_that_another_engine_took_is_given_up(
    subscription: Subscription, running: Running
) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))
    other = uuid4()
    ParkedDelivery.objects.update(claimed_by=other, lease_until=Now() + timedelta(hours=1))

    running.clock.ahead_s += RENEW_S
    soon(lambda: not running.redelivery.leases.count())

    assert row(1).claimed_by == other


def test_a_row_whose_claimer_died_is_claimed_when_its_lease_is_over(
    subscription: Subscription, running: Running
) -> None:
    factories.parked(subscription, 1, state="sending", lease_s=-1)
    factories.parked(subscription, 2, state="sending", lease_s=60)

    running.wait_for(lambda: bool(running.claimed))

    assert running.claimed == [1]


def test_claims_are_forgotten_when_they_could_not_be_renewed_in_time(
    subscription: Subscription, running: Running
) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))

    cut(running)
    running.clock.ahead_s += FORGET_S

    running.wait_for(lambda: any(isinstance(note, ParkedForgotten) for note in running.notes))
    assert FORGET_S < LEASE_S, "before another engine may have them"


def test_a_short_interruption_costs_no_claim(subscription: Subscription, running: Running) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))

    cut(running)
    soon(lambda: running.refusals > 0)
    running.is_cut = False
    factories.parked(subscription, 2)
    running.wait_for(lambda: len(running.claimed) == 2)

    assert running.claimed == [1, 2]
    assert not any(isinstance(note, ParkedForgotten) for note in running.notes)


def test_stopping_gives_claims_back_at_once(subscription: Subscription, running: Running) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))

    running.stop()

    assert (row(1).state, row(1).claimed_by) == ("scheduled", None)


def test_two_engines_share_what_is_due(subscription: Subscription) -> None:
    for offset in range(100):
        factories.parked(subscription, offset)
    engines = [Running(subscription), Running(subscription)]

    soon(lambda: not ParkedDelivery.objects.filter(state="scheduled").exists())
    soon(lambda: sum(len(one.claimed) for one in engines) >= 100)

    assert sorted(engines[0].claimed + engines[1].claimed) == list(range(100))
    for engine in engines:
        engine.stop()


def test_one_subscription_cannot_hold_all_claims() -> None:
    partner = factories.partner()
    hanging, other = factories.subscription(partner), factories.subscription(partner)
    for offset in range(CLAIMS_MAX + EACH_MAX):
        factories.parked(hanging, offset)
    running = Running(hanging, other)
    running.wait_for(lambda: len(running.claimed) >= EACH_MAX)

    factories.parked(other, 9_999)

    running.wait_for(lambda: 9_999 in running.claimed)
    running.stop()
    assert len(running.claimed) < CLAIMS_MAX


def test_a_few_that_hang_leave_claims_to_those_that_hold_none() -> None:
    partner = factories.partner()
    hanging = [factories.subscription(partner) for _ in range(4)]
    other = factories.subscription(partner)
    for number in range(len(hanging) * EACH_MAX * 2):
        factories.parked(hanging[number % len(hanging)], number)
    running = Running(*hanging, other)
    running.wait_for(lambda: len(running.claimed) >= CLAIMS_MAX - RESERVE)

    factories.parked(other, 9_999)

    running.wait_for(lambda: 9_999 in running.claimed)
    running.stop()
    assert len(running.claimed) < CLAIMS_MAX


def test_claims_are_forgotten_although_their_renewal_hangs(
    subscription: Subscription, running: Running
) -> None:
    factories.parked(subscription, 1)
    running.wait_for(lambda: bool(running.claimed))

    with factories.connect() as conn, conn.transaction():
        conn.execute("LOCK TABLE parked_delivery IN ACCESS EXCLUSIVE MODE")
        running.clock.ahead_s += FORGET_S

        running.wait_for(lambda: any(isinstance(note, ParkedForgotten) for note in running.notes))


def test_what_is_finished_makes_room_for_the_next(
    subscription: Subscription, running: Running
) -> None:
    rows = [factories.parked(subscription, offset) for offset in range(EACH_MAX * 3)]
    running.wait_for(lambda: len(running.claimed) >= EACH_MAX)
    done = [one.id for one in rows if one.offset in running.claimed]

    ParkedDelivery.objects.filter(id__in=done).delete()
    running.redelivery.finished(done)

    running.wait_for(lambda: len(running.claimed) > len(done))
