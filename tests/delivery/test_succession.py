"""Rows that keep an order: one head at a time, claimed by its partition's owner only."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from delivery import ledger, succession
from delivery.ledger import Conn, Dead, Later, NewlyParked
from delivery.models import ParkedDelivery, PartitionPosition
from delivery.succession import Order
from subscriptions.models import Grant, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

MINE, THEIRS = uuid4(), uuid4()
TAG = b"0123456789abcdef"


@pytest.fixture
def conn() -> Iterator[Conn]:
    with factories.connect() as conn:
        yield conn


@pytest.fixture
def subscription() -> Subscription:
    PartitionPosition.objects.create(topic="orders", partition=0, next_offset=0, owner=MINE)
    return factories.subscription(factories.partner())


def order_of(subscription: Subscription, tag: bytes = TAG) -> Order:
    return Order(subscription.id, "orders", 0, tag)


def row(
    subscription: Subscription, offset: int, state: str = "blocked", **more: Any
) -> NewlyParked:
    return NewlyParked(
        id=f"msg_{offset}",
        subscription=subscription.id,
        topic="orders",
        partition=0,
        offset=offset,
        generation=1,
        key=b"k",
        record_time_ms=None,
        body=b"{}",
        is_sensitive=False,
        headers={},
        grant_version=1,
        state=state,
        reason="failed",
        attempts=1,
        sends=1,
        delay_s=0 if state == "scheduled" else None,
        last_outcome="",
        last_status=None,
        order_key=TAG,
    )._replace(**more)


def park(conn: Conn, subscription: Subscription, *rows: NewlyParked) -> set[Order]:
    """Park rows as a checkpoint does; return the orders that have none."""
    with conn.transaction(), conn.cursor() as cur:
        succession.hold(cur, {("orders", 0)})
        ledger.park(cur, rows, kept_days=30)
        return succession.promote(cur, {order_of(subscription)})


def finish(conn: Conn, subscription: Subscription, **ended: Any) -> set[Order]:
    with conn.transaction(), conn.cursor() as cur:
        ledger.finish(cur, MINE, kept_days=30, **ended)
        return succession.promote(cur, {order_of(subscription)})


def claim(
    conn: Conn,
    subscription: Subscription,
    owner: UUID = MINE,
    *,
    behind: int = 9,
    lease_s: float = 5,
    is_early: bool = False,
) -> list[str]:
    rows = succession.claim_heads(
        conn,
        owner,
        subscriptions=[subscription.id],
        limit=10,
        each=10,
        behind=behind,
        lease_s=lease_s,
        is_early=is_early,
    )
    return [one.id for one in rows]


def states() -> dict[str, str]:
    return dict(ParkedDelivery.objects.order_by("offset").values_list("id", "state"))


def three(conn: Conn, subscription: Subscription) -> None:
    park(conn, subscription, row(subscription, 1, "scheduled"))
    park(conn, subscription, row(subscription, 2), row(subscription, 3))


def test_only_the_owner_of_a_partition_claims_its_heads(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)

    assert claim(conn, subscription, THEIRS) == []
    assert (
        ledger.claim_due(conn, MINE, subscriptions=[subscription.id], limit=9, each=9, lease_s=5)
        == []
    )
    assert claim(conn, subscription) == ["msg_1", "msg_2", "msg_3"]
    assert claim(conn, subscription) == [], "those behind a head that is being sent wait for it"
    assert states() == {"msg_1": "sending", "msg_2": "blocked", "msg_3": "blocked"}


def test_a_head_is_claimed_with_so_many_behind_it_and_no_more(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)

    assert claim(conn, subscription, behind=1) == ["msg_1", "msg_2"]


def test_a_delivered_head_makes_the_next_one_due(conn: Conn, subscription: Subscription) -> None:
    three(conn, subscription)
    claim(conn, subscription, behind=0)

    emptied = finish(conn, subscription, delivered=["msg_1"])

    assert (emptied, states()) == (set(), {"msg_2": "scheduled", "msg_3": "blocked"})
    assert claim(conn, subscription) == ["msg_2", "msg_3"]


def test_the_next_one_stays_its_claimers_where_it_was_claimed_with_its_head(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)
    claim(conn, subscription)

    finish(conn, subscription, delivered=["msg_1"])

    assert states() == {"msg_2": "sending", "msg_3": "blocked"}
    assert claim(conn, subscription) == []


def test_all_of_an_order_delivered_at_once_leaves_it_empty(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)
    claim(conn, subscription)

    emptied = finish(conn, subscription, delivered=["msg_1", "msg_2", "msg_3"])

    assert emptied == {order_of(subscription)}


def test_what_is_parked_behind_nobody_is_due(conn: Conn, subscription: Subscription) -> None:
    park(conn, subscription, row(subscription, 5))

    assert states() == {"msg_5": "scheduled"}


def test_a_head_whose_claimer_died_is_claimed_again_with_those_behind_it(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)
    claim(conn, subscription, lease_s=-1)

    assert claim(conn, subscription) == ["msg_1", "msg_2", "msg_3"]


def test_a_follower_that_fails_is_the_head_from_then_on(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)
    claim(conn, subscription)
    later = Later("msg_2", 60, "http_5xx", 500, 1, 2)

    finish(conn, subscription, delivered=["msg_1"], rescheduled=[later])
    with conn.cursor() as cur:
        succession.unclaim(cur, MINE, ["msg_3"])

    assert states() == {"msg_2": "scheduled", "msg_3": "blocked"}
    assert claim(conn, subscription) == []


def test_a_dead_head_lets_the_next_go_and_keeps_no_order(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)
    claim(conn, subscription, behind=0)

    finish(conn, subscription, dead=[Dead("msg_1", "exhausted", "http_5xx", 500, 3, 3)])

    assert states() == {"msg_1": "dead", "msg_2": "scheduled", "msg_3": "blocked"}
    assert ParkedDelivery.objects.get(pk="msg_1").order_key is None


def test_a_held_head_keeps_the_others_waiting(conn: Conn, subscription: Subscription) -> None:
    three(conn, subscription)
    claim(conn, subscription, behind=0)

    finish(conn, subscription, dead=[Dead("msg_1", "exhausted", "", 500, 3, 3, "held")])

    assert states() == {"msg_1": "held", "msg_2": "blocked", "msg_3": "blocked"}
    assert claim(conn, subscription) == []
    assert succession.waiting(conn, "orders", 0) == {(subscription.id, TAG): None}
    assert succession.still_open(conn, [order_of(subscription)]) == {order_of(subscription)}


def test_rows_of_a_lane_that_keeps_another_order_go_out_on_their_own(
    conn: Conn, subscription: Subscription
) -> None:
    three(conn, subscription)
    park(conn, subscription, row(subscription, 9, "held", order_key=b"another key of it"[:16]))

    with conn.cursor() as cur:
        succession.dissolve(cur, (subscription.id, "orders", 0), kept_days=30)

    assert states() == {
        "msg_1": "scheduled",
        "msg_2": "scheduled",
        "msg_3": "scheduled",
        "msg_9": "dead",
    }
    assert succession.waiting(conn, "orders", 0) == {}


def test_a_head_that_failed_with_its_endpoint_tells_since_when_and_is_a_probe_before_it_is_due(
    conn: Conn, subscription: Subscription
) -> None:
    head = row(subscription, 1, "scheduled", last_outcome="http_5xx", last_status=503)
    park(conn, subscription, head._replace(delay_s=3_600), row(subscription, 2))
    failed_at = ParkedDelivery.objects.get(pk="msg_1").first_failed_at

    [since_us] = succession.waiting(conn, "orders", 0).values()
    before = claim(conn, subscription)
    early = claim(conn, subscription, behind=0, is_early=True)

    assert since_us == round(failed_at.timestamp() * 1e6)
    assert (before, early) == ([], ["msg_1"])


def test_a_refused_head_is_no_probe_and_tells_nothing_of_its_endpoint(
    conn: Conn, subscription: Subscription
) -> None:
    head = row(subscription, 1, "scheduled", last_outcome="http_4xx", last_status=400)
    park(conn, subscription, head._replace(delay_s=3_600))

    assert list(succession.waiting(conn, "orders", 0).values()) == [None]
    assert claim(conn, subscription, is_early=True) == []


def test_a_head_of_another_grant_is_left_to_whoever_projects_it_anew(
    conn: Conn, subscription: Subscription
) -> None:
    Grant.objects.filter(pk=factories.grant(subscription.partner).pk).update(version=2)
    park(conn, subscription, row(subscription, 1, "scheduled"))
    before = claim(conn, subscription)

    ParkedDelivery.objects.update(grant_version=2)

    assert before == []
    assert claim(conn, subscription) == ["msg_1"]


VALUES = {
    "subscriptions": ["sub_1"],
    "topics": ["orders"],
    "partitions": [1],
    "order_keys": [TAG],
}
FILL = """
INSERT INTO parked_delivery (id, subscription_id, topic, partition, "offset", generation, state,
       reason, attempts, sends, headers, grant_version, last_outcome, order_key)
SELECT 'msg_' || n, s.id, 'orders', n %% 7, n, 1, 'blocked', 'blocked', 0, 0, '{}', 1, '',
       int8send(n %% 100)
  FROM subscriptions_subscription s, generate_series(1, 20000) n;
ANALYZE parked_delivery;
"""


@pytest.mark.parametrize("statement", [succession.PROMOTE, succession.STILL])
def test_each_query_uses_the_index_of_open_orders(
    conn: Conn, subscription: Subscription, statement: str
) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute(FILL.replace("%%", "%"))
        rows = conn.execute("EXPLAIN " + statement, VALUES).fetchall()

    plan = "\n".join(line for (line,) in rows)
    assert re.search("(using|on) parked_order", plan), plan
