"""The floor never passes what is owed."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from delivery.floor import Floor, Owed


def test_an_empty_floor_stands_where_reading_starts() -> None:
    assert Floor(42).position() == 42


def test_the_floor_waits_for_the_oldest_owed_record() -> None:
    floor = Floor(10)
    first, second = Owed(10, 1), Owed(11, 1)
    floor.read(first)
    floor.read(second)

    second.pending = 0

    assert floor.position() == 10
    first.pending = 0
    assert floor.position() == 12
    assert floor.is_settled


def test_a_record_owed_to_two_holds_until_both_have_it() -> None:
    floor = Floor(0)
    owed = Owed(0, 2)
    floor.read(owed)

    owed.pending -= 1
    assert floor.position() == 0
    owed.pending -= 1
    assert floor.position() == 1


def test_holes_in_the_log_are_passed() -> None:
    floor = Floor(5)

    floor.skip_to(100)
    floor.skip_to(50)

    assert floor.position() == 100


@given(
    steps=st.lists(st.integers(min_value=1, max_value=4), max_size=50),
    order=st.randoms(use_true_random=False),
)
def test_the_floor_is_the_oldest_unsettled_offset_in_any_order(
    steps: list[int], order: Random
) -> None:
    floor = Floor(0)
    entries = []
    offset = -1
    for step in steps:
        offset += step
        entries.append(Owed(offset, 1))
        floor.read(entries[-1])

    left = list(entries)
    order.shuffle(left)
    while left:
        assert floor.position() == min(entry.offset for entry in left)
        left.pop().pending = 0
    assert floor.position() == offset + 1
