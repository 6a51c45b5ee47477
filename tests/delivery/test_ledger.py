"""Attempts and parked rows: written once, claimed by one, and changed by nobody else."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from delivery import ledger
from delivery.attempts import MAX_KEY_BYTES
from delivery.ledger import AttemptRow, Conn, Dead, Later, NewlyParked, ParkedRow
from delivery.models import DeliveryAttempt, ParkedDelivery
from delivery.outcome import UNWELL_PATTERN
from subscriptions.models import LanePosition, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

MINE, THEIRS = uuid4(), uuid4()
NOW_US = 1_795_407_540_123_456


@pytest.fixture
def conn() -> Iterator[Conn]:
    # Django empties its own tables only, so other tests' attempts may still be there.
    with factories.connect() as conn:
        conn.execute("DELETE FROM delivery_attempt")
        yield conn
        conn.execute("DELETE FROM delivery_attempt")


@pytest.fixture
def other() -> Iterator[Conn]:
    with factories.connect() as conn:
        yield conn


@pytest.fixture
def subscription() -> Subscription:
    return factories.subscription(factories.partner())


def attempt(**members: Any) -> AttemptRow:
    return AttemptRow(
        at_us=NOW_US,
        partner="ptn_1",
        subscription="sub_1",
        endpoint="ep_1",
        delivery="msg_1",
        topic="orders",
        partition=0,
        offset=42,
        record_time_ms=1_795_407_540_001,
        key=b"k\x00\\",
        number=1,
        kind="first",
        outcome="http_5xx",
        outcome_class="failed",
        http_status=500,
        duration_us=1_234,
        timings_us=(1, 2, 3, 4, 5, 6),
        reused=True,
        request_bytes=93,
        response_excerpt=None,
        response_note=None,
        retry_after_s=None,
        next_attempt_us=NOW_US + 5_000_000,
        secret_ids=("sec_1", "sec_2"),
    )._replace(**members)


def parked(subscription: Subscription, offset: int = 42, **members: Any) -> NewlyParked:
    return NewlyParked(
        id=f"msg_{offset}",
        subscription=subscription.id,
        topic="orders",
        partition=0,
        offset=offset,
        generation=1,
        key=b"\x00key",
        record_time_ms=1_795_407_540_001,
        body=b'{"a":"\\\n"}',
        is_sensitive=False,
        headers={"content-type": "application/json"},
        grant_version=1,
        state="scheduled",
        reason="failed",
        attempts=1,
        sends=2,
        delay_s=0,
        last_outcome="http_5xx",
        last_status=500,
    )._replace(**members)


def park(conn: Conn, *rows: NewlyParked) -> set[str]:
    return ledger.park(conn.cursor(), rows, kept_days=30)


def claim(
    conn: Conn, *subscriptions: Subscription, owner: UUID = MINE, lease_s: float = 5
) -> list[ParkedRow]:
    return ledger.claim_due(
        conn,
        owner,
        subscriptions=[subscription.id for subscription in subscriptions],
        limit=10,
        each=10,
        lease_s=lease_s,
    )


def test_an_attempt_reads_back_as_it_was_written(conn: Conn) -> None:
    ledger.copy_attempts(conn.cursor(), [attempt()])

    [row] = DeliveryAttempt.objects.all()
    assert int(row.at.timestamp()) == NOW_US // 1_000_000
    assert (row.at.microsecond, bytes(row.key or b"")) == (123_456, b"k\x00\\")
    assert row.record_time is not None
    assert row.record_time.microsecond == 1_000
    assert (row.timings_us, row.secret_ids) == ([1, 2, 3, 4, 5, 6], ["sec_1", "sec_2"])
    assert (row.http_status, row.reused, row.response_excerpt) == (500, True, None)


@pytest.mark.parametrize(
    ("excerpt", "kept"),
    [
        ("", ""),
        ("\\N", "\\N"),
        ("a\tb\r\nc\\", "a\tb\r\nc\\"),
        ("nul\0", "nul\N{REPLACEMENT CHARACTER}"),
        ("half \ud83d of a pair", "half ? of a pair"),
        ("\\.", "\\."),
        ("\N{GRINNING FACE}", "\N{GRINNING FACE}"),
    ],
)
def test_no_answer_of_an_endpoint_can_break_the_log(conn: Conn, excerpt: str, kept: str) -> None:
    ledger.copy_attempts(conn.cursor(), [attempt(response_excerpt=excerpt), attempt()])

    excerpts = DeliveryAttempt.objects.order_by("id").values_list("response_excerpt", flat=True)
    assert list(excerpts) == [kept, None]


@pytest.mark.parametrize("record_time_ms", [None, -1, 2**62])
def test_no_time_of_a_producer_can_break_the_log_or_the_parking(
    conn: Conn, subscription: Subscription, record_time_ms: int | None
) -> None:
    ledger.copy_attempts(conn.cursor(), [attempt(record_time_ms=record_time_ms)])
    park(conn, parked(subscription, record_time_ms=record_time_ms))

    assert DeliveryAttempt.objects.get().record_time is None
    assert ParkedDelivery.objects.get().record_time is None


def test_a_long_key_is_cut_in_the_log_only(conn: Conn, subscription: Subscription) -> None:
    ledger.copy_attempts(conn.cursor(), [attempt(key=b"x" * 5_000)])
    park(conn, parked(subscription, key=b"x" * 5_000))

    assert len(DeliveryAttempt.objects.get().key or b"") == MAX_KEY_BYTES
    assert len(ParkedDelivery.objects.get().key or b"") == 5_000


def test_the_public_id_finds_its_attempt(conn: Conn) -> None:
    ledger.copy_attempts(conn.cursor(), [attempt()])

    [row] = DeliveryAttempt.objects.all()
    assert row.public_id.startswith("att_")
    assert len(row.public_id) == 30


def test_a_record_is_parked_once(conn: Conn, subscription: Subscription) -> None:
    first = park(conn, parked(subscription))
    again = park(conn, parked(subscription, attempts=9))

    assert (first, again) == ({"msg_42"}, set())
    assert ParkedDelivery.objects.get().attempts == 1


def test_a_deleted_subscription_parks_nothing_and_spoils_nothing(
    conn: Conn, subscription: Subscription
) -> None:
    gone = factories.subscription(subscription.partner)
    rows = [parked(gone, 1), parked(subscription, 2)]
    gone.delete()

    assert park(conn, *rows) == {"msg_2"}


def test_a_row_that_can_never_be_sent_is_born_dead_and_kept_for_its_time(
    conn: Conn, subscription: Subscription
) -> None:
    park(
        conn,
        parked(subscription, state="dead", reason="undecodable", body=None, delay_s=None),
    )

    row = ParkedDelivery.objects.get()
    assert (row.next_attempt_at, row.body, row.state) == (None, None, "dead")
    assert row.expires_at is not None
    assert (row.expires_at - row.first_failed_at).days == 30


def test_a_claimed_row_carries_what_its_sender_needs(
    conn: Conn, subscription: Subscription
) -> None:
    row = parked(subscription)
    park(conn, row)

    [due] = claim(conn, subscription)

    assert due == ParkedRow(**{name: getattr(row, name) for name in ParkedRow._fields})


def test_two_claimers_never_get_the_same_row(
    conn: Conn, other: Conn, subscription: Subscription
) -> None:
    park(conn, *[parked(subscription, offset) for offset in range(15)])
    with conn.transaction():
        mine = claim(conn, subscription)
        theirs = claim(other, subscription, owner=THEIRS)

    assert len(mine) == 10
    assert len(theirs) == 5
    assert not {row.id for row in mine} & {row.id for row in theirs}


def test_the_oldest_are_claimed_first_and_none_before_it_is_due(
    conn: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription, 3, delay_s=-1), parked(subscription, 2, delay_s=-9))
    park(conn, parked(subscription, 1, delay_s=60))

    assert [row.offset for row in claim(conn, subscription)] == [2, 3]


def test_of_an_endpoint_that_is_down_a_row_is_a_probe_before_it_is_due(
    conn: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription, 1, delay_s=30, last_outcome="http_4xx", last_status=400))
    park(conn, parked(subscription, 2, delay_s=50, last_outcome="rate_limited", last_status=None))
    park(conn, parked(subscription, 3, delay_s=90, last_outcome="http_5xx", last_status=503))
    park(conn, parked(subscription, 4, delay_s=60, last_outcome="tcp_refused", last_status=None))

    before = claim(conn, subscription)
    early = ledger.claim_due(
        conn, MINE, subscriptions=[subscription.id], limit=9, each=1, lease_s=5, is_early=True
    )

    assert before == []
    assert [row.offset for row in early] == [4]


def test_rows_of_a_subscription_that_may_not_be_sent_to_stand_in_nobodys_way(
    conn: Conn, subscription: Subscription
) -> None:
    held = factories.subscription(subscription.partner)
    park(conn, *[parked(held, offset, delay_s=-99) for offset in range(20)])
    park(conn, parked(subscription, 42))

    assert [row.offset for row in claim(conn, subscription)] == [42]


def test_no_subscription_takes_all_the_room_of_a_claim(
    conn: Conn, subscription: Subscription
) -> None:
    loud = factories.subscription(subscription.partner)
    park(conn, *[parked(loud, offset, delay_s=-99) for offset in range(20)])
    park(conn, parked(subscription, 42))

    claimed = ledger.claim_due(
        conn, MINE, subscriptions=[loud.id, subscription.id], limit=10, each=3, lease_s=5
    )

    assert len(claimed) == 4


def test_a_lease_that_is_over_lets_another_claim_and_fences_the_first(
    conn: Conn, other: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription))
    claim(conn, subscription, lease_s=-1)

    [taken] = claim(other, subscription, owner=THEIRS)

    assert ledger.renew(conn, MINE, [taken.id], lease_s=5) == set()
    assert ledger.finish(conn.cursor(), MINE, delivered=[taken.id], kept_days=30) == set()
    assert ledger.finish(other.cursor(), THEIRS, delivered=[taken.id], kept_days=30) == {taken.id}
    assert not ParkedDelivery.objects.exists()


def test_a_renewal_waits_for_no_row_that_is_being_written(
    conn: Conn, subscription: Subscription
) -> None:
    for offset in (1, 2):
        factories.parked(subscription, offset, id=f"msg_{offset}", state="sending", lease_s=1)
    ParkedDelivery.objects.update(claimed_by=MINE)

    with factories.connect() as other, other.transaction():
        other.execute("SELECT FROM parked_delivery WHERE id = 'msg_1' FOR UPDATE")

        assert ledger.renew(conn, MINE, ["msg_1", "msg_2"], lease_s=60) == {"msg_1", "msg_2"}

    first, second = ParkedDelivery.objects.order_by("id")
    assert first.lease_until is not None
    assert second.lease_until is not None
    assert second.lease_until > first.lease_until


def test_a_renewed_lease_keeps_others_away(
    conn: Conn, other: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription))
    claim(conn, subscription, lease_s=-1)

    assert ledger.renew(conn, MINE, ["msg_42", "msg_unknown"], lease_s=60) == {"msg_42"}
    assert claim(other, subscription, owner=THEIRS) == []


def test_a_failed_row_is_scheduled_again_on_the_clock_of_postgresql(
    conn: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription))
    claim(conn, subscription)

    later = Later("msg_42", 300, "timeout_headers", None, 2, 3)
    assert ledger.finish(conn.cursor(), MINE, rescheduled=[later], kept_days=30) == {"msg_42"}

    row = ParkedDelivery.objects.get()
    assert (row.state, row.attempts, row.sends, row.claimed_by) == ("scheduled", 2, 3, None)
    assert (row.last_outcome, row.last_status) == ("timeout_headers", None)
    assert row.next_attempt_at is not None
    assert claim(conn, subscription) == []


def test_a_row_without_a_try_left_is_dead_and_never_due(
    conn: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription))
    claim(conn, subscription)

    dead = Dead("msg_42", "exhausted", "http_5xx", 500, 10, 11)
    ledger.finish(conn.cursor(), MINE, dead=[dead], kept_days=7)

    row = ParkedDelivery.objects.get()
    assert (row.state, row.reason, row.attempts) == ("dead", "exhausted", 10)
    assert row.expires_at is not None
    assert 6 <= (row.expires_at - timezone.now()).days <= 7
    assert claim(conn, subscription) == []


def test_a_resend_is_manual_once(conn: Conn, subscription: Subscription) -> None:
    park(conn, parked(subscription, reason="resend"))
    [first] = claim(conn, subscription)
    later = Later("msg_42", -1, "http_5xx", 500, 1, 1)
    ledger.finish(conn.cursor(), MINE, rescheduled=[later], kept_days=30)

    [second] = claim(conn, subscription)

    assert (first.reason, second.reason) == ("resend", "failed")


@pytest.mark.parametrize(
    "came",
    [
        {"delivered": ["tst_1"]},
        {"rescheduled": [Later("tst_1", 5, "http_5xx", 500, 1, 1)]},
        {"dead": [Dead("tst_1", "exhausted", "http_5xx", 500, 1, 1)]},
    ],
)
def test_a_test_is_over_after_one_attempt(
    conn: Conn, subscription: Subscription, came: dict[str, Any]
) -> None:
    park(conn, parked(subscription, id="tst_1", reason="test"))
    claim(conn, subscription)

    assert ledger.finish(conn.cursor(), MINE, **came, kept_days=30) == {"tst_1"}
    assert not ParkedDelivery.objects.exists()


def test_an_engine_that_stops_gives_its_rows_back_at_once(
    conn: Conn, other: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription))
    claim(conn, subscription, lease_s=60)

    assert ledger.release(conn, MINE) == {"msg_42"}
    assert [row.id for row in claim(other, subscription, owner=THEIRS)] == ["msg_42"]


def test_a_checkpoint_that_rolls_back_leaves_no_trace(
    conn: Conn, subscription: Subscription
) -> None:
    with conn.transaction(force_rollback=True), conn.cursor() as cur:
        ledger.copy_attempts(cur, [attempt()])
        ledger.park(cur, [parked(subscription)], kept_days=30)

    assert not DeliveryAttempt.objects.exists()
    assert not ParkedDelivery.objects.exists()


def lane(subscription: Subscription, next_offset: int, **members: object) -> None:
    LanePosition.objects.create(
        subscription=subscription, topic="orders", partition=0, next_offset=next_offset, **members
    )


def settled(conn: Conn, floor: int = 0) -> set[int]:
    found = ledger.settled_above(conn, "orders", 0, generation=1, floor=floor)
    return {offset for _, offset in found}


def log(conn: Conn, subscription: Subscription, *offsets: int, outcome: str = "delivered") -> None:
    rows = [
        attempt(
            subscription=subscription.id,
            offset=offset,
            outcome_class=outcome,
            at_us=ledger.clock_us(conn),
        )
        for offset in offsets
    ]
    ledger.copy_attempts(conn.cursor(), rows)


def test_after_a_restart_nothing_delivered_or_parked_is_sent_again(
    conn: Conn, subscription: Subscription
) -> None:
    lane(subscription, 0, state="live")
    log(conn, subscription, 3, 9, 11)
    log(conn, subscription, 10, outcome="failed")
    park(conn, parked(subscription, 4), parked(subscription, 12))

    assert settled(conn, floor=8) == {9, 11, 12}


def test_a_lane_that_is_behind_is_looked_at_from_where_it_stands(
    conn: Conn, subscription: Subscription
) -> None:
    lane(subscription, 2, state="behind")
    log(conn, subscription, 1, 3)

    assert settled(conn, floor=8) == {3}


def test_what_an_older_pass_delivered_is_owed_again(conn: Conn, subscription: Subscription) -> None:
    log(conn, subscription, 3)
    lane(subscription, 0)
    log(conn, subscription, 4)

    assert settled(conn) == {4}


def test_lanes_of_other_partitions_and_generations_do_not_count(
    conn: Conn, subscription: Subscription
) -> None:
    lane(subscription, 0)
    park(conn, parked(subscription, 4, partition=1), parked(subscription, 5, generation=2))

    assert settled(conn) == set()


def test_nothing_to_write_asks_nothing_of_the_database(conn: Conn) -> None:
    cursor = conn.cursor()

    ledger.copy_attempts(cursor, [])
    assert ledger.park(cursor, [], kept_days=30) == set()
    assert ledger.finish(cursor, MINE, kept_days=30) == set()
    assert cursor.statusmessage is None


FILL = """
INSERT INTO subscriptions_subscription
    (id, partner_id, endpoint_id, name, status, status_reason, topics, types, filter, format,
     include, ordering, retry_schedule_s, retry_jitter, trace, start, version, created_at,
     updated_at, mode)
SELECT 'sub_' || n, partner_id, endpoint_id, name, status, status_reason, topics, types, filter,
       format, include, ordering, retry_schedule_s, retry_jitter, trace, start, version,
       created_at, updated_at, mode
  FROM subscriptions_subscription, generate_series(0, 99) n;
INSERT INTO lane_position (subscription_id, topic, partition, state, reason, next_offset, ahead)
SELECT 'sub_' || s, 'orders', p, 'live', '', 0, '{}'
  FROM generate_series(0, 99) s, generate_series(0, 19) p;
INSERT INTO parked_delivery
    (id, subscription_id, topic, partition, "offset", generation, headers, grant_version, state,
     reason, attempts, sends, next_attempt_at, last_outcome, claimed_by, lease_until)
SELECT 'msg_' || n, 'sub_' || n % 100, 'orders', n % 20, n, 1, '{}', 1,
       CASE n % 50 WHEN 0 THEN 'sending' ELSE 'scheduled' END, 'failed', 1, 1,
       now() + n * interval '1 s', '', gen_random_uuid(), now()
  FROM generate_series(1, 10000) n;
INSERT INTO delivery_attempt
    (at, partner, subscription, endpoint, delivery, topic, partition, "offset", number, kind,
     outcome, outcome_class, duration_us, timings_us, reused, request_bytes, secret_ids)
SELECT now(), 'ptn', 'sub_' || n % 100, 'ep', 'msg_' || n, 'orders', n % 20, n, 1, 'first', 'ok',
       'delivered', 1, '{1,1,1,1,1,1}', true, 1, '{}'
  FROM generate_series(1, 20000) n;
ANALYZE lane_position; ANALYZE parked_delivery; ANALYZE delivery_attempt;
"""
PLACE = {"topic": "orders", "partition": 0, "generation": 1, "floor": 0}
CLAIMED = {"owner": MINE, "subscriptions": ["sub_1"], "limit": 9, "each": 9, "lease_s": 5}
CLAIMED |= {"is_early": True, "unwell": UNWELL_PATTERN}
ONE = {"ids": ["msg_1"], "owner": MINE, "lease_s": 5}
DEAD = {name: [value] for name, value in Dead("msg_1", "x", "x", 500, 1, 1)._asdict().items()}
LATER = {name: [value] for name, value in Later("msg_1", 1, "x", 500, 1, 1)._asdict().items()}


PRIMARY_KEY = r"parked_delivery_(pkey|id_\w+_like)"  # Django makes a twin for LIKE


@pytest.mark.parametrize(
    ("statement", "values", "indexes"),
    [
        (ledger.CLAIM_DUE, CLAIMED, ["parked_due", "parked_leases", PRIMARY_KEY]),
        (ledger.RENEW, ONE, [PRIMARY_KEY]),
        (ledger.DELIVERED, ONE, [PRIMARY_KEY]),
        (ledger.RESCHEDULE, LATER | {"owner": MINE}, [PRIMARY_KEY]),
        (ledger.BURY, DEAD | {"owner": MINE, "kept_days": 1}, [PRIMARY_KEY]),
        (ledger.RELEASE, {"owner": MINE}, ["parked_leases"]),
        (
            ledger.SETTLED,
            PLACE,
            [
                "lane_position_partition",
                r"delivery_attempt_\d+_subscription_topic_partition",
                "parked_(position|once)",
            ],
        ),
    ],
)
def test_each_query_uses_the_index_it_names(
    conn: Conn,
    subscription: Subscription,
    statement: str,
    values: dict[str, object],
    indexes: list[str],
) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(FILL)
        rows = conn.execute("EXPLAIN " + statement, values).fetchall()

    plan = "\n".join(line for (line,) in rows)
    assert all(re.search(f"(using|on) {index}", plan) for index in indexes), plan


SECRET = b'{"card":"4111"}'


def test_a_body_of_a_sensitive_topic_is_sealed_and_comes_back_as_it_was(
    conn: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription, body=SECRET, is_sensitive=True, key=None))

    row = ParkedDelivery.objects.get()
    [claimed] = claim(conn, subscription)

    assert row.sealed_body is not None
    assert b"4111" not in bytes(row.body or b"") + row.sealed_body.sealed.encode()
    assert row.content == claimed.body == SECRET


def test_a_body_that_does_not_open_is_not_sent_and_keeps_its_row(
    conn: Conn, subscription: Subscription
) -> None:
    park(conn, parked(subscription, body=SECRET, is_sensitive=True, key=None))
    conn.execute("UPDATE parked_delivery SET sealed_body = 'v1:k1:AAAA'")

    assert claim(conn, subscription) == []
    assert ParkedDelivery.objects.get().state == "sending"
