"""Ids sort by time, tell their kind, and give back what they were made of."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafkahub import ids


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**80 - 1))
def test_an_id_gives_back_its_time_and_random_bits(unix_ms: int, bits: int) -> None:
    assert ids.decode(f"att_{ids.encode(unix_ms, bits)}") == (unix_ms, bits)


@given(st.integers(0, 2**48 - 2))
def test_later_ids_sort_after_earlier_ones(unix_ms: int) -> None:
    assert ids.encode(unix_ms, 2**80 - 1) < ids.encode(unix_ms + 1, 0)


def test_a_new_id_tells_its_kind() -> None:
    made = ids.new("ep")

    assert ids.is_id(made, "ep")
    assert not ids.is_id(made, "sub")


@pytest.mark.parametrize("text", ["", "att_", "att_" + "u" * 26, "att_" + "0" * 25, "0" * 26])
def test_what_is_no_id_is_not_decoded(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        ids.decode(text)


def test_a_new_id_holds_the_time_it_was_made_at_and_is_never_the_same() -> None:
    before_ms = time.time_ns() // 1_000_000
    made = [ids.new("ep") for _ in range(1_000)]

    assert len(set(made)) == len(made)
    assert before_ms <= ids.decode(made[0])[0] <= time.time_ns() // 1_000_000
    assert {ids.decode(one)[1] >> 75 for one in made} == set(range(32))
