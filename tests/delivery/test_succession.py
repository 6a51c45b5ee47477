"""Heads of keys are claimed by the holder of their partition, with those that wait behind them."""

from uuid import uuid4

import pytest

from delivery import positions, succession
from delivery.leases import LEASE_S
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
KEY = b"tag of a key"


def test_a_due_head_is_claimed_whole_and_what_waits_behind_it_too() -> None:
    owner = uuid4()
    subscription = factories.subscription(factories.partner())
    head = factories.parked(subscription, 1, order_key=KEY)
    behind = factories.parked(subscription, 2, order_key=KEY, state="blocked", next_attempt_at=None)
    with factories.connect() as conn:
        positions.start(conn, "orders", 0, owner, next_offset=3)
        rows = succession.claim_heads(
            conn, owner, subscriptions=[subscription.id], limit=8, each=8, behind=8, lease_s=LEASE_S
        )

    assert [(row.id, row.offset, row.order_key, row.replay) for row in rows] == [
        (head.id, 1, KEY, ""),
        (behind.id, 2, KEY, ""),
    ]
    assert [row.body for row in rows] == [bytes(head.body or b""), bytes(behind.body or b"")]


def test_a_head_in_a_partition_of_another_engine_is_left_alone() -> None:
    subscription = factories.subscription(factories.partner())
    factories.parked(subscription, 1, order_key=KEY)
    with factories.connect() as conn:
        positions.start(conn, "orders", 0, uuid4(), next_offset=3)
        rows = succession.claim_heads(
            conn,
            uuid4(),
            subscriptions=[subscription.id],
            limit=8,
            each=8,
            behind=8,
            lease_s=LEASE_S,
        )

    assert rows == []
