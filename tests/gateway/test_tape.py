import pytest

from gateway.frames import Gap, Sse
from gateway.hub.tape import Batch, Tape
from subscriptions.cursor import decode
from tests.gateway.stream_makers import (
    ENVELOPE,
    TOKENS,
    batch,
    place,
)

DOOR = Sse()


def tape(*batches: Batch) -> Tape:
    made = Tape(place(0), TOKENS)
    made.extend(batches, batches[-1].after if batches else place(0))
    return made


def offset_after(text: bytes) -> int:
    """Return the offset in the last id of some frames."""
    token = text.decode().rpartition("id: ")[2].splitlines()[0]
    return next(iter(decode(token).topics)).offsets[0]


def test_batches_are_joined_into_one_write() -> None:
    write = tape(batch(range(3)), batch(range(3, 5))).write(0, 0, DOOR)

    assert (write.end, write.skip, write.records) == (2, 0, 5)
    assert offset_after(write.payload) == 5


def test_whoever_stands_at_one_place_gets_the_same_bytes() -> None:
    row = tape(batch(range(3)))

    assert row.write(0, 0, DOOR).message is row.write(0, 0, Sse()).message


def test_what_comes_later_is_not_in_a_write_that_is_remembered() -> None:
    row = tape(batch(range(3)))
    row.write(0, 0, DOOR)

    row.extend([batch(range(3, 4))], place(4))

    assert row.write(0, 0, DOOR).records == 4


def test_a_write_has_a_bound() -> None:
    large = b"data: " + b"x" * 100_000 + b"\n\n"
    row = tape(*[batch(range(n, n + 1), frame=large) for n in range(5)])

    write = row.write(0, 0, DOOR)

    assert write.records == 2
    assert write.end == 2


@pytest.mark.parametrize("allowance", [1, 2, 3, 4])
def test_no_more_than_an_allowance_is_written_and_the_place_is_exact(allowance: int) -> None:
    row = tape(batch(range(3)), batch(range(3, 5)))
    seq = skip = read = 0
    places = []

    while seq < row.end:
        write = row.write(seq, skip, DOOR, allowance)
        assert 0 < write.records <= allowance
        seq, skip, read = write.end, write.skip, read + write.records
        places.append(write.place.offsets["orders", 0])

    assert read == 5
    assert places[-1] == 5
    assert places == sorted(set(places))


def test_a_gap_is_a_write_of_its_own() -> None:
    gap = Gap("orders", 0, 3, 7, 4, "retention", "2026-01-01T00:00:00.000Z")
    hole = Batch((), ENVELOPE, place(3), place(7), gap=gap)
    row = tape(batch(range(3)), hole, batch(range(7, 8)))

    first = row.write(0, 0, DOOR)
    second = row.write(first.end, 0, DOOR)

    assert first.gap is None
    assert second.gap is gap
    assert offset_after(second.payload) == 7


def test_trimmed_batches_keep_the_numbers_of_the_others() -> None:
    row = tape(batch(range(3), number=1), batch(range(3, 5), number=2))

    row.trim(1)

    assert (row.first, row.end) == (1, 2)
    assert row.write(1, 0, DOOR).records == 2
