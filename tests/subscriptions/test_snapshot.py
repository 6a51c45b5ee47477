"""The snapshot of subscriptions, and how it stays fresh."""

import queue
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection, transaction
from django.db.migrations import RunSQL
from psycopg.conninfo import make_conninfo

from kafkahub import clock, signing
from kafkahub.errors import Unavailable
from subscriptions.models import (
    ApiKey,
    Endpoint,
    Grant,
    Partner,
    SigningSecret,
    Subscription,
    Topic,
)
from subscriptions.snapshot import Snapshot, SnapshotKeeper, load

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)
DEADLINE_S = 20.0


@dataclass
class Setting:
    """Alice, her grant on ``orders``, and a subscription that takes it to her endpoint."""

    partner: Partner
    topic: Topic
    grant: Grant
    endpoint: Endpoint
    secret: SigningSecret
    subscription: Subscription

    @property
    def live(self) -> str:
        return self.subscription.id


@pytest.fixture
def alice() -> Setting:
    partner = Partner.objects.create(name="alice")
    topic = Topic.objects.create(name="orders")
    endpoint = Endpoint.objects.create(
        partner=partner, name="in", url="https://alice.example/in", headers='{"x-a":"1"}'
    )
    return Setting(
        partner=partner,
        topic=topic,
        grant=Grant.objects.create(partner=partner, topic=topic),
        endpoint=endpoint,
        secret=SigningSecret.objects.create(endpoint=endpoint, secret=signing.new_secret()),
        subscription=Subscription.objects.create(
            partner=partner, endpoint=endpoint, name="all", topics=["orders"], filter={"type": "a"}
        ),
    )


def version() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version FROM access_version")
        return int(cursor.fetchone()[0])


class Changes:
    """Collects every snapshot a keeper makes, so that a test can wait for the one it needs."""

    def __init__(self) -> None:
        self.seen: queue.Queue[Snapshot] = queue.Queue()

    def wait_for(self, holds: Callable[[Snapshot], bool]) -> Snapshot:
        """Return the first snapshot for which ``holds``; fail when none comes in time."""
        last: Snapshot | None = None
        try:
            while last is None or not holds(last):
                last = self.seen.get(timeout=DEADLINE_S)
        except queue.Empty:
            pytest.fail(f"the last snapshot was {last}")
        return last


@dataclass
class Kept:
    keeper: SnapshotKeeper
    changes: Changes


def dsn_of_tests() -> str:
    settings = connection.settings_dict
    return make_conninfo(
        "",
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        dbname=settings["NAME"],
    )


@pytest.fixture
def kept(alice: Setting) -> Iterator[Kept]:
    changes = Changes()
    keeper = SnapshotKeeper(load, dsn_of_tests(), changes.seen.put)
    keeper.start(DEADLINE_S)
    yield Kept(keeper, changes)
    keeper.stop()


def test_a_subscription_is_ready_to_send(alice: Setting) -> None:
    snapshot = load()

    live = snapshot.subscriptions[alice.live]
    assert live.sending
    assert snapshot.by_topic == {"orders": (live,)}
    assert live.test is not None
    assert live.grants["orders"] is snapshot.grants[alice.partner.id, "orders", "read"]
    assert live.endpoint.headers == (("x-a", "1"),)
    assert not live.endpoint.is_unreadable


def test_its_keys_sign_newest_first(alice: Setting) -> None:
    retiring = clock.now() + timedelta(hours=1)
    SigningSecret.objects.filter(pk=alice.secret.pk).update(expires_at=retiring)
    newest = signing.new_secret()
    SigningSecret.objects.create(endpoint=alice.endpoint, secret=newest)
    retired = clock.now() - timedelta(seconds=1)
    SigningSecret.objects.create(
        endpoint=alice.endpoint, secret=signing.new_secret(), expires_at=retired
    )

    keys = load().endpoints[alice.endpoint.id].keys

    header = signing.signature_header([keys[0].signer], "msg_1", 1, b"{}")
    assert [key.id for key in keys][1:] == [alice.secret.id]
    assert signing.verify(newest, "msg_1", 1, b"{}", header=header)


def test_nothing_is_made_again_while_nothing_changes(alice: Setting) -> None:
    first = load()

    second = load(first)

    assert second.subscriptions[alice.live] is first.subscriptions[alice.live]
    assert second.endpoints[alice.endpoint.id] is first.endpoints[alice.endpoint.id]
    assert second.topics["orders"] is first.topics["orders"]


def test_a_change_makes_anew_only_what_rests_on_it(alice: Setting) -> None:
    other = Endpoint.objects.create(partner=alice.partner, name="2", url="https://alice.example/2")
    first = load()

    Endpoint.objects.filter(pk=alice.endpoint.pk).update(timeout_ms=1_000)
    second = load(first)

    assert second.endpoints[alice.endpoint.id].timeout_ms == 1_000
    assert second.subscriptions[alice.live].endpoint is second.endpoints[alice.endpoint.id]
    assert second.subscriptions[alice.live].test is first.subscriptions[alice.live].test
    assert second.endpoints[other.id] is first.endpoints[other.id]


CAUSES: dict[str, Callable[[], object]] = {
    "grant revoked": lambda: Grant.objects.all().delete(),
    "grant ended": lambda: Grant.objects.update(valid_until=clock.now()),
    "grant for writing only": lambda: Grant.objects.update(action="write"),
    "partner suspended": lambda: Partner.objects.update(status="suspended"),
    "endpoint disabled": lambda: Endpoint.objects.update(status="disabled"),
    "topic switched off": lambda: Topic.objects.update(is_enabled=False),
    "subscription paused": lambda: Subscription.objects.update(status="paused"),
    "second topic ungranted": lambda: Subscription.objects.update(topics=["orders", "b"]),
    "filter over today's limits": lambda: Subscription.objects.update(filter={"no": 1}),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_whatever_forbids_sending_keeps_the_subscription_there(alice: Setting, cause: str) -> None:
    before = load()

    CAUSES[cause]()
    after = load(before)

    assert before.subscriptions[alice.live].sending
    assert not after.subscriptions[alice.live].sending
    assert after.by_topic["orders"] == (after.subscriptions[alice.live],)


def test_a_secret_that_does_not_open_stops_its_endpoint_only(alice: Setting) -> None:
    other = Endpoint.objects.create(partner=alice.partner, name="2", url="https://alice.example/2")
    SigningSecret.objects.create(endpoint=other, secret=signing.new_secret())
    with connection.cursor() as cursor:  # as if the row had been copied from elsewhere
        cursor.execute(
            "UPDATE subscriptions_signingsecret SET secret = (SELECT secret"
            " FROM subscriptions_signingsecret WHERE endpoint_id = %s) WHERE endpoint_id = %s",
            [alice.endpoint.id, other.id],
        )

    snapshot = load()

    assert snapshot.endpoints[other.id].is_unreadable
    assert not snapshot.endpoints[other.id].keys
    assert not snapshot.endpoints[alice.endpoint.id].is_unreadable


def test_an_endpoint_without_a_secret_sends_nothing_unsigned(alice: Setting) -> None:
    alice.secret.delete()

    assert load().endpoints[alice.endpoint.id].is_unreadable


TOUCHES: dict[str, Callable[[], object]] = {
    "partner": lambda: Partner.objects.update(status="suspended"),
    "key": lambda: ApiKey.objects.update(revoked_at=clock.now()),
    "topic": lambda: Topic.objects.update(is_enabled=False),
    "grant": lambda: Grant.objects.all().delete(),
    "endpoint": lambda: Endpoint.objects.update(url="https://alice.example/new"),
    "secret": lambda: SigningSecret.objects.update(expires_at=clock.now()),
    "subscription": lambda: Subscription.objects.update(status="paused"),
}


def make_key(alice: Setting) -> None:
    ApiKey.objects.create(
        partner=alice.partner,
        public_id="AbCdEfGhIjKl",
        digest=b"d",
        pepper_id="p1",
        name="backend",
        created_by="operator",
        expires_at=clock.now() + timedelta(days=1),
    )


@committed
@pytest.mark.parametrize("touch", TOUCHES)
def test_every_table_that_decides_moves_the_version(alice: Setting, touch: str) -> None:
    make_key(alice)
    before = version()

    TOUCHES[touch]()

    assert version() == before + 1


@committed
def test_a_transaction_moves_the_version_once(alice: Setting) -> None:
    before = version()

    with transaction.atomic():
        Partner.objects.bulk_create([Partner(name=f"p{number}") for number in range(50)])
        Endpoint.objects.update(timeout_ms=2_000)
        Endpoint.objects.update(timeout_ms=3_000)

    assert version() == before + 1


@committed
def test_the_next_transaction_of_a_connection_moves_it_again(alice: Setting) -> None:
    before = version()

    Endpoint.objects.update(timeout_ms=2_000)
    Endpoint.objects.update(timeout_ms=3_000)

    assert version() == before + 2


@committed
def test_what_is_rolled_back_moves_nothing(alice: Setting) -> None:
    before = version()

    with ExitStack() as outer:
        outer.enter_context(transaction.atomic())
        Endpoint.objects.update(timeout_ms=2_000)
        transaction.set_rollback(True)

    assert version() == before


@committed
def test_a_rolled_back_savepoint_does_not_swallow_a_later_change(alice: Setting) -> None:
    before = version()

    with transaction.atomic():
        with transaction.atomic(), connection.cursor() as cursor:
            Endpoint.objects.update(timeout_ms=2_000)
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            transaction.set_rollback(True)
        Endpoint.objects.update(timeout_ms=3_000)

    assert version() == before + 1


@committed
def test_the_use_of_a_key_and_an_equal_write_move_nothing(alice: Setting) -> None:
    make_key(alice)
    before = version()

    ApiKey.objects.update(last_used_at=clock.now(), last_used_ip="192.0.2.1", last_used_agent="a")
    alice.endpoint.save()

    assert version() == before


def test_the_migration_can_be_undone_and_done_again() -> None:
    operations = [
        operation
        for name in (
            "0002_access_version",
            "0005_plans_and_usage",
            "0010_oauth_clients",
            "0011_access_tokens",
            "0021_replays",
        )
        for operation in import_module(f"subscriptions.migrations.{name}").Migration.operations
        if isinstance(operation, RunSQL)
    ]

    with connection.cursor() as cursor:
        for operation in reversed(operations):
            cursor.execute(str(operation.reverse_sql))
        cursor.execute("SELECT to_regclass('access_version'), to_regproc('access_changed')")
        assert cursor.fetchone() == (None, None)
        for operation in operations:
            cursor.execute(str(operation.sql))

    assert version() == 1


@committed
def test_a_change_reaches_the_keeper_by_notification(alice: Setting, kept: Kept) -> None:
    alice.grant.delete()

    snapshot = kept.changes.wait_for(lambda new: not new.subscriptions[alice.live].sending)

    assert kept.keeper.current is snapshot
    assert snapshot.version == version()


@committed
def test_a_lost_notification_is_made_up_for_by_the_poll(alice: Setting, kept: Kept) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE access_version SET version = version + 1 RETURNING version")
        (moved,) = cursor.fetchone()

    assert kept.keeper.wait_until(moved, DEADLINE_S)


@committed
def test_a_lost_connection_is_made_again(alice: Setting, kept: Kept) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchall()

    alice.grant.delete()

    assert kept.changes.wait_for(lambda new: not new.subscriptions[alice.live].sending)


@committed
def test_a_grant_that_ends_by_time_ends_without_a_change(alice: Setting, kept: Kept) -> None:
    Grant.objects.update(valid_until=clock.now() + timedelta(seconds=1))

    snapshot = kept.changes.wait_for(lambda new: not new.subscriptions[alice.live].sending)

    assert snapshot.version == version()
    assert not snapshot.grants


@committed
def test_a_failing_listener_of_changes_does_not_end_the_thread(alice: Setting) -> None:
    seen: queue.Queue[int] = queue.Queue()

    def fail(snapshot: Snapshot) -> None:
        seen.put(snapshot.version)
        raise RuntimeError("on purpose")

    keeper = SnapshotKeeper(load, dsn_of_tests(), fail)
    keeper.start(DEADLINE_S)
    alice.grant.delete()

    assert keeper.wait_until(version(), DEADLINE_S)
    keeper.stop()


@committed
def test_no_snapshot_is_not_an_empty_one() -> None:
    keeper = SnapshotKeeper(load, make_conninfo("", host="127.0.0.1", port=1))

    with pytest.raises(Unavailable):
        keeper.start(deadline_s=0.1)
    with pytest.raises(Unavailable):
        _ = keeper.current
    keeper.stop()


def test_the_origins_of_active_partners_are_in_the_snapshot(alice: Setting) -> None:
    Partner.objects.filter(pk=alice.partner.pk).update(allowed_origins=["https://a.example"])
    stopped = Partner.objects.create(
        name="stopped", status="suspended", allowed_origins=["https://b.example"]
    )

    origins = load().origins

    assert origins[alice.partner.pk] == {"https://a.example"}
    assert stopped.pk not in origins
