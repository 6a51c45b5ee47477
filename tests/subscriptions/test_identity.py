"""Ids are the contract's, and differ where they must."""

import pytest

from subscriptions.identity import base62, deliveries, records

KEY = bytes(range(0x40, 0x60))
CLUSTER = "Qx2rD9aBTnWmK3vJ7yL1eg"
OWNER = "sub_01jd0000000000000000000000"


def webhook_id(
    *, topic: str = "orders", generation: int = 1, partition: int = 0, owner: str = OWNER
) -> str:
    return deliveries(
        KEY,
        CLUSTER,
        topic=topic,
        generation=generation,
        partition=partition,
        subscription=owner,
    ).of(42)


def test_the_published_vector() -> None:
    assert webhook_id() == "msg_5VSfZ5qhZj7575Js21URzT"


def test_any_part_makes_another_id() -> None:
    ids = {
        webhook_id(),
        webhook_id(topic="orders2"),
        webhook_id(generation=2),
        webhook_id(partition=1),
        webhook_id(owner="sub_01jd0000000000000000000001"),
    }

    assert len(ids) == 5


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (bytes(16), "0" * 22),
        (bytes(15) + b"\x3d", "0" * 21 + "z"),
        (b"\xff" * 16, "7n42DGM5Tflk9n8mt7Fhc7"),
    ],
)
def test_base62_is_padded_to_22_digits(raw: bytes, text: str) -> None:
    assert base62(raw) == text


def test_a_partner_knows_a_record_by_one_id_and_another_partner_by_another() -> None:
    ours = records(KEY, CLUSTER, topic="orders", partition=0, partner="ptn_1")
    theirs = records(KEY, CLUSTER, topic="orders", partition=0, partner="ptn_2")

    assert ours.of(42) == ours.of(42)
    assert ours.of(42).startswith("evt_")
    assert len({ours.of(42), ours.of(43), theirs.of(42)}) == 3
