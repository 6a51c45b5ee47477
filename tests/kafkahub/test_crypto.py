"""Key rings and sealing: what opens, what does not, and that no text shows a key."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub import crypto
from kafkahub.crypto import KeyRing, KeyRingError, SealBroken

RING = KeyRing("k2", {"k2": bytes(range(32)), "k1": bytes(range(100, 132))})
PLACE = "endpoint.headers:ep_1"


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


@given(plain=st.binary(max_size=200), place=st.text(max_size=50))
def test_what_is_sealed_opens_at_its_place(plain: bytes, place: str) -> None:
    assert crypto.unseal(RING, crypto.seal(RING, plain, place), place) == plain


def test_the_first_key_writes_and_every_key_reads() -> None:
    old = crypto.seal(KeyRing("k1", RING.keys), b"secret", PLACE)

    assert crypto.kid_of(crypto.seal(RING, b"secret", PLACE)) == "k2"
    assert crypto.unseal(RING, old, PLACE) == b"secret"


def test_two_seals_of_one_value_differ() -> None:
    assert crypto.seal(RING, b"secret", PLACE) != crypto.seal(RING, b"secret", PLACE)


def test_a_value_moved_to_another_row_does_not_open() -> None:
    with pytest.raises(SealBroken, match="ep_2"):
        crypto.unseal(RING, crypto.seal(RING, b"secret", PLACE), "endpoint.headers:ep_2")


def test_a_value_whose_key_left_the_ring_does_not_open() -> None:
    sealed = crypto.seal(RING, b"secret", PLACE)

    with pytest.raises(SealBroken, match="not in the ring"):
        crypto.unseal(KeyRing("k1", {"k1": RING.keys["k1"]}), sealed, PLACE)


@given(position=st.integers(0, 40), flip=st.integers(1, 255))
def test_a_value_with_one_changed_byte_does_not_open(position: int, flip: int) -> None:
    version, kid, body = crypto.seal(RING, b"some secret!", PLACE).split(":")
    raw = bytearray(base64.urlsafe_b64decode(body))
    raw[position % len(raw)] ^= flip
    damaged = f"{version}:{kid}:{base64.urlsafe_b64encode(raw).decode()}"

    with pytest.raises(SealBroken):
        crypto.unseal(RING, damaged, PLACE)


@pytest.mark.parametrize("junk", ["", "v1", "v1:k2", "v1:k2:", "v1:k2:%%", "v2:k2:AAAA", "plain"])
def test_junk_never_opens(junk: str) -> None:
    with pytest.raises(SealBroken):
        crypto.unseal(RING, junk, PLACE)


def test_a_ring_is_read_in_its_order() -> None:
    first, second = os.urandom(32), os.urandom(32)

    ring = crypto.parse_ring(f"new:{encoded(first)}, old:{encoded(second)}")

    assert ring == KeyRing("new", {"new": first, "old": second})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        (f":{encoded(bytes(range(32)))}", "kid"),
        (f"a b:{encoded(bytes(range(32)))}", "kid"),
        (f"k:{encoded(bytes(range(32)))},k:{encoded(bytes(range(1, 33)))}", "twice"),
        (f"a:{encoded(bytes(range(32)))},b:{encoded(bytes(range(32)))}", "same key"),
        ("k:not base64!", "not base64"),
        (f"k:{encoded(bytes(range(31)))}", "31 bytes"),
        (f"k:{encoded(b'x' * 32)}", "not random"),
    ],
)
def test_a_ring_that_must_not_be_used_is_refused(text: str, fault: str) -> None:
    with pytest.raises(KeyRingError, match=fault):
        crypto.parse_ring(text)


def test_neither_a_ring_nor_its_refusal_shows_a_key() -> None:
    secret = encoded(os.urandom(31))
    with pytest.raises(KeyRingError) as caught:
        crypto.parse_ring(f"k:{secret}")

    assert secret not in str(caught.value)
    assert repr(RING) == "KeyRing(writer='k2', kids=['k1', 'k2'])"
