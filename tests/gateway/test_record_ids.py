"""A partner knows a record by one id, whatever door it comes through."""

from gateway.record_ids import RecordIds
from kafkahub.kafka.record import Record
from subscriptions import identity

KEY = bytes(range(0x40, 0x60))
RECORD = Record("orders", 3, 42, 1_700_000_000_000, b"k", b"{}")


def test_the_id_is_the_one_that_webhooks_carry() -> None:
    ids = RecordIds(KEY, lambda: "cluster")

    carried = identity.records(KEY, "cluster", topic="orders", partition=3, partner="ptn_1")

    assert ids.of(RECORD, "ptn_1") == carried.of(42)
    assert ids.of(RECORD, "ptn_2") != carried.of(42)
