"""Ids are the contract's, and differ where they must."""

import pytest

from delivery.identity import LaneIdentity, base62

KEY = bytes(range(0x40, 0x60))
CLUSTER = "Qx2rD9aBTnWmK3vJ7yL1eg"
OWNER = "sub_01jd0000000000000000000000"


def webhook_id(
    *, topic: str = "orders", generation: int = 1, partition: int = 0, owner: str = OWNER
) -> str:
    identity = LaneIdentity(
        KEY,
        CLUSTER,
        topic=topic,
        generation=generation,
        partition=partition,
        subscription=owner,
    )
    return identity.webhook_id(42)


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
