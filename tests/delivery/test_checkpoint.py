"""A checkpoint is durable as a whole, once, and only by who holds the partition."""

import queue
import threading
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection

from delivery import ledger, positions
from delivery.batch import Batch
from delivery.checkpoint import Checkpoint
from delivery.database import Conn, connect
from delivery.inbox import Committed
from delivery.ledger import AttemptRow, Later, NewlyParked
from delivery.models import DeliveryAttempt, ParkedDelivery, PartitionPosition
from delivery.positions import Claim, Floor, LaneRow
from subscriptions.models import LanePosition, Subscription
from tests import factories
from tests.delivery.links import url
from tests.fakes.severed import SeveredLine

pytestmark = pytest.mark.django_db(transaction=True)
PLACE = ("orders", 0)
DEADLINE_S = 30.0
NAME = "checkpoint under test"


class Writer:
    """A checkpoint on its thread; ``write`` returns what it answers."""

    def __init__(self, owner: UUID, open_: Callable[[], Conn]) -> None:
        self.answers: queue.Queue[Committed] = queue.Queue()
        self.checkpoint = Checkpoint(
            owner,
            open_,
            kept_days=30,
            on_committed=lambda committed, _: self.answers.put(committed),
        )
        self.thread = threading.Thread(target=self.checkpoint.run)
        self.thread.start()

    def write(self, batch: Batch) -> Committed:
        self.checkpoint.submit(batch)
        return self.answers.get(timeout=DEADLINE_S)

    def stop(self) -> None:
        self.checkpoint.stop()
        self.thread.join(DEADLINE_S)


@pytest.fixture
def conn() -> Iterator[Conn]:
    # Django empties its own tables only, so other tests' attempts may still be there.
    with factories.connect() as conn:
        conn.execute("DELETE FROM delivery_attempt")
        yield conn
        conn.execute("DELETE FROM delivery_attempt")


@pytest.fixture
def claim(conn: Conn) -> Claim:
    return positions.start(conn, *PLACE, uuid4(), next_offset=0)


@pytest.fixture
def subscription() -> Subscription:
    return factories.subscription(factories.partner())


@pytest.fixture
def writer(claim: Claim) -> Iterator[Writer]:
    made = Writer(claim.owner, lambda: connect(url(), NAME))
    yield made
    made.stop()
    assert not made.thread.is_alive()


def floor(claim: Claim, next_offset: int, checkpoint: int = 1) -> Floor:
    return Floor(claim.topic, claim.partition, claim.epoch, claim.owner, next_offset, checkpoint)


def parked(subscription: Subscription, offset: int, partition: int = 0) -> NewlyParked:
    return NewlyParked(
        id=f"msg_{partition}_{offset}",
        subscription=subscription.id,
        topic="orders",
        partition=partition,
        offset=offset,
        generation=1,
        key=b"k",
        record_time_ms=1_795_407_540_123,
        body=b"{}",
        is_sensitive=False,
        headers={"content-type": "application/json"},
        grant_version=1,
        state="scheduled",
        reason="failed",
        attempts=1,
        sends=1,
        delay_s=5.0,
        last_outcome="http_5xx",
        last_status=500,
    )


def attempt(conn: Conn, subscription: Subscription, offset: int) -> AttemptRow:
    return AttemptRow(
        at_us=ledger.clock_us(conn),
        partner=subscription.partner_id,
        subscription=subscription.id,
        endpoint=subscription.endpoint_id or "",
        delivery=f"msg_0_{offset}",
        topic="orders",
        partition=0,
        offset=offset,
        record_time_ms=1_795_407_540_123,
        key=b"k",
        number=1,
        kind="first",
        outcome="delivered",
        outcome_class="delivered",
        http_status=200,
        duration_us=1_000,
        timings_us=(0, 1, 2, 3, 4, 5),
        reused=True,
        request_bytes=2,
        response_excerpt="ok",
        response_note=None,
        retry_after_s=None,
        next_attempt_us=None,
        secret_ids=("sec_1",),
    )


def full(conn: Conn, claim: Claim, subscription: Subscription, number: int = 1) -> Batch:
    """Return a batch with something of everything."""
    return Batch(
        number,
        attempts=[attempt(conn, subscription, number)],
        parked=[parked(subscription, number)],
        lanes=[LaneRow(subscription.id, *PLACE, "behind", "overflow", number)],
        floors=[floor(claim, number + 1, checkpoint=number)],
    )


def stored() -> tuple[int, int, int, int]:
    """Return the number of attempts, parked rows and lanes, and the floor."""
    at = PartitionPosition.objects.get(topic="orders", partition=0).next_offset
    return (
        DeliveryAttempt.objects.count(),
        ParkedDelivery.objects.count(),
        LanePosition.objects.count(),
        at,
    )


def backends(conn: Conn) -> list[int]:
    """Return the process ids of the connections under test."""
    rows = conn.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [NAME])
    return [pid for (pid,) in rows.fetchall()]


def test_everything_of_a_batch_is_durable_when_it_is_answered(
    conn: Conn, claim: Claim, subscription: Subscription, writer: Writer
) -> None:
    answer = writer.write(full(conn, claim, subscription))

    assert answer == Committed(1, frozenset())
    assert stored() == (1, 1, 1, 2)


def test_nothing_of_a_lost_partition_is_parked_or_moved(
    conn: Conn, claim: Claim, subscription: Subscription, writer: Writer
) -> None:
    positions.claim(conn, *PLACE, uuid4())

    answer = writer.write(full(conn, claim, subscription))

    assert answer == Committed(1, frozenset({PLACE}))
    assert stored() == (1, 0, 0, 0), "only the log keeps what was sent"


def test_a_lost_partition_takes_nothing_of_the_others_with_it(
    conn: Conn, claim: Claim, subscription: Subscription, writer: Writer
) -> None:
    second = positions.start(conn, "orders", 1, claim.owner, next_offset=0)
    positions.claim(conn, "orders", 1, uuid4())
    batch = full(conn, claim, subscription)
    batch.parked.append(parked(subscription, 7, partition=1))
    batch.floors.append(floor(second, 8))

    answer = writer.write(batch)

    assert answer.fenced == {("orders", 1)}
    assert stored() == (1, 1, 1, 2)
    assert ParkedDelivery.objects.get().partition == 0


def test_a_claimed_row_is_finished_in_the_same_transaction(
    claim: Claim, subscription: Subscription, writer: Writer
) -> None:
    sending = factories.parked(subscription, 1, state="sending")
    later = factories.parked(subscription, 2, state="sending")
    ParkedDelivery.objects.update(claimed_by=claim.owner)

    writer.write(
        Batch(
            1,
            delivered=[sending.id],
            rescheduled=[Later(later.id, 60.0, "http_5xx", 500, 2, 2)],
            floors=[floor(claim, 0)],
        )
    )

    row = ParkedDelivery.objects.get()
    assert (row.id, row.state, row.attempts, row.last_status) == (later.id, "scheduled", 2, 500)


def test_a_commit_whose_answer_was_lost_is_not_written_twice(
    conn: Conn, claim: Claim, subscription: Subscription
) -> None:
    at = connection.settings_dict
    with SeveredLine(at["HOST"], int(at["PORT"])) as line:
        writer = Writer(claim.owner, lambda: connect(url("127.0.0.1", line.port), NAME))
        writer.write(full(conn, claim, subscription, 1))
        line.cut_next_commit()

        answer = writer.write(full(conn, claim, subscription, 2))
        writer.stop()

    assert line.cuts == 1
    assert answer == Committed(2, frozenset())
    assert stored() == (2, 2, 1, 3)


def test_what_was_fenced_is_told_though_the_answer_was_lost(
    conn: Conn, claim: Claim, subscription: Subscription
) -> None:
    second = positions.start(conn, "orders", 1, claim.owner, next_offset=0)
    positions.claim(conn, "orders", 1, uuid4())
    batch = full(conn, claim, subscription)
    batch.floors.append(floor(second, 8))
    at = connection.settings_dict
    with SeveredLine(at["HOST"], int(at["PORT"])) as line:
        writer = Writer(claim.owner, lambda: connect(url("127.0.0.1", line.port), NAME))
        line.cut_next_commit()

        answer = writer.write(batch)
        writer.stop()

    assert line.cuts == 1
    assert answer.fenced == {("orders", 1)}
    assert stored() == (1, 1, 1, 2)


def test_a_connection_that_was_ended_is_made_anew(
    conn: Conn, claim: Claim, subscription: Subscription, writer: Writer
) -> None:
    writer.write(full(conn, claim, subscription, 1))
    [backend] = backends(conn)
    conn.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])

    answer = writer.write(full(conn, claim, subscription, 2))

    assert answer == Committed(2, frozenset())
    assert stored() == (2, 2, 1, 3)
    assert backends(conn) not in ([], [backend])


def test_a_batch_waits_for_a_database_that_is_away(
    conn: Conn, claim: Claim, subscription: Subscription
) -> None:
    refusals = iter(range(2))

    def open_() -> Conn:
        if next(refusals, None) is not None:
            raise psycopg.OperationalError("away")
        return connect(url(), NAME)

    writer = Writer(claim.owner, open_)

    answer = writer.write(full(conn, claim, subscription))
    writer.stop()

    assert next(refusals, None) is None
    assert answer == Committed(1, frozenset())
    assert stored() == (1, 1, 1, 2)


def test_a_checkpoint_ends_though_the_database_stays_away(
    conn: Conn, claim: Claim, subscription: Subscription
) -> None:
    asked = threading.Event()

    def open_() -> Conn:
        asked.set()
        raise psycopg.OperationalError("away")

    writer = Writer(claim.owner, open_)
    writer.checkpoint.submit(full(conn, claim, subscription))
    assert asked.wait(DEADLINE_S)

    writer.stop()

    assert not writer.thread.is_alive()
    assert writer.answers.empty()
    assert stored() == (0, 0, 0, 0)


def test_a_deleted_subscription_spoils_nothing(
    conn: Conn, claim: Claim, subscription: Subscription, writer: Writer
) -> None:
    batch = full(conn, claim, subscription)
    Subscription.objects.all().delete()

    answer = writer.write(batch)

    assert answer == Committed(1, frozenset())
    assert stored() == (1, 0, 0, 2)
