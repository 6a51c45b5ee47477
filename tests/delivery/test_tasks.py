"""Jobs on delivery's tables: idempotent, one at a time, and missed by nobody while they rest."""

from datetime import timedelta

import pytest

from delivery import parking, tasks
from delivery.models import ParkedDelivery, PartitionPosition
from kafkahub import clock
from kafkahub.jobs import TRY_LOCK
from subscriptions.models import AuditEvent, LanePosition, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def subscription() -> Subscription:
    return factories.subscription(factories.partner())


def states() -> list[str]:
    return list(ParkedDelivery.objects.order_by("offset").values_list("state", flat=True))


def test_partition_upkeep_twice_is_as_good_as_once() -> None:
    with factories.connect() as conn:
        count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'delivery_attempt'::regclass"
        before = conn.execute(count).fetchone()

        tasks.keep_partitions()
        tasks.keep_partitions()

        assert conn.execute(count).fetchone() == before


def test_partition_upkeep_gives_way_to_a_reader_and_comes_again() -> None:
    with factories.connect() as conn:
        conn.execute("DROP TABLE delivery_attempt_default")
        conn.execute("CREATE TABLE delivery_attempt_default PARTITION OF delivery_attempt DEFAULT")
        tomorrow = next_day_name(conn)
        conn.execute(f"DROP TABLE {tomorrow}")
        with conn.transaction():
            conn.execute("SELECT count(*) FROM delivery_attempt")
            tasks.keep_partitions()
            assert not exists(conn, tomorrow)

        tasks.keep_partitions()

        assert exists(conn, tomorrow)


def test_dead_letters_go_when_their_time_is_over_and_leave_their_number(
    subscription: Subscription,
) -> None:
    past, future = (clock.now() + timedelta(hours=hours) for hours in (-1, 1))
    for offset in range(3):
        factories.parked(subscription, offset, state="dead", reason="exhausted", expires_at=past)
    factories.parked(subscription, 7, state="dead", reason="exhausted", expires_at=future)

    tasks.expire_dead_letters()
    tasks.expire_dead_letters()

    assert states() == ["dead"]
    [row] = AuditEvent.objects.filter(verb="parked.purged")
    assert (row.partner, row.object_id) == (subscription.partner_id, subscription.id)
    assert row.changes == {"dead_letters": [3, 0], "reason": ["exhausted", None]}


def test_rows_are_purged_in_slices(subscription: Subscription) -> None:
    past = clock.now() - timedelta(hours=1)
    for offset in range(5):
        factories.parked(subscription, offset, state="dead", reason="exhausted", expires_at=past)

    tasks.expire_dead_letters(rows_per_slice=2)

    assert states() == []


def test_a_row_whose_engine_died_is_due_again(subscription: Subscription) -> None:
    factories.parked(subscription, 1, state="sending", lease_s=-1)
    factories.parked(subscription, 2, state="sending", lease_s=60)

    tasks.sweep_parked()

    assert states() == ["scheduled", "sending"]


@pytest.mark.parametrize(
    ("lane_state", "lane_offset", "floor", "goes"),
    [
        ("live", 0, 42, False),
        ("live", 0, 43, True),
        ("live", 43, 0, True),
        ("behind", 42, 99, False),
        ("behind", 43, 99, True),
        ("paused", 0, 99, False),
        (None, 0, 42, False),
        (None, 0, 43, True),
        (None, 0, None, False),
    ],
)
def test_a_mark_goes_once_its_lane_has_passed(
    subscription: Subscription,
    lane_state: str | None,
    lane_offset: int,
    floor: int | None,
    goes: bool,
) -> None:
    factories.parked(subscription, 42, state="discarded", body=None)
    if floor is not None:
        PartitionPosition.objects.create(topic="orders", partition=0, next_offset=floor)
    if lane_state is not None:
        LanePosition.objects.create(
            subscription=subscription,
            topic="orders",
            partition=0,
            state=lane_state,
            next_offset=lane_offset,
        )

    tasks.sweep_parked()

    assert states() == ([] if goes else ["discarded"])


def test_a_job_that_runs_elsewhere_is_left_to_it(subscription: Subscription) -> None:
    factories.parked(subscription, state="sending", lease_s=-1)
    with factories.connect() as conn, conn.transaction():
        conn.execute(TRY_LOCK, ["delivery.sweep"])

        tasks.sweep_parked()

        assert states() == ["sending"]
    tasks.sweep_parked()
    assert states() == ["scheduled"]


def test_sweeping_nothing_changes_nothing(subscription: Subscription) -> None:
    row = factories.parked(subscription)

    tasks.sweep_parked()
    tasks.expire_dead_letters()

    assert parking.sweep_marks(10) == parking.sweep_leases(10) == 0
    assert ParkedDelivery.objects.get() == row
    assert not AuditEvent.objects.exists()


def next_day_name(conn: factories.Conn) -> str:
    name = "SELECT to_char((now() AT TIME ZONE 'UTC')::date + 1, '\"delivery_attempt_\"YYYYMMDD')"
    [[table]] = conn.execute(name).fetchall()
    return str(table)


def exists(conn: factories.Conn, table: str) -> bool:
    [[found]] = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [table]).fetchall()
    return bool(found)
