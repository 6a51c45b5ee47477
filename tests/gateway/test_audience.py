from itertools import pairwise

import pytest

from gateway.frames import Gap, Sse
from gateway.hub import audience
from gateway.hub.audience import Batch, Place, Tape, cut, shown
from gateway.hub.groups import batches_of
from gateway.hub.log import Entry
from subscriptions.cursor import decode
from tests.gateway.stream_makers import (
    ENVELOPE,
    TOKENS,
    batch,
    entry,
    place,
    record,
    spec,
)

DOOR = Sse()
Items = list[Entry | Gap]


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


def test_a_place_is_behind_by_its_offsets() -> None:
    here = Place({("orders", 0): 3, ("orders", 1): 9}, 0)

    assert here.behind({("orders", 0): 5, ("orders", 1): 9, ("orders", 2): 7}) == 2


def test_a_place_moves_on_behind_entries_in_any_partition() -> None:
    here = Place({("orders", 0): 3, ("orders", 1): 9}, 5)

    after = here.after([entry(3), entry(11, partition=1)])

    assert after.offsets == {("orders", 0): 4, ("orders", 1): 12}
    assert after.time_ms == record(11).timestamp_ms


@pytest.mark.parametrize(
    ("value", "is_shown"),
    [(b'{"a":1}', True), (b'{"a":2}', False), (b"{}", False), (b"{", True)],
)
def test_a_filter_hides_what_does_not_match_and_nothing_it_cannot_read(
    value: bytes, is_shown: bool
) -> None:
    seen = shown(record(0, value), spec(wanted={"value": {"a": 1}}), None, 0)

    assert (seen is not None) is is_shown


def test_a_run_of_entries_is_cut_where_a_write_is_full() -> None:
    large = b"x" * (audience.WRITE_BYTES // 2 + 1)
    entries = [entry(n, large) for n in range(3)]

    assert [len(run) for run in cut(entries, ENVELOPE, every=False)] == [1, 1, 1]
    assert [len(run) for run in cut(entries[:0], ENVELOPE, every=False)] == []
    assert [len(run) for run in cut([entry(n) for n in range(3)], ENVELOPE, every=True)] == [1] * 3


def test_batches_lead_from_one_place_to_the_other_without_a_hole() -> None:
    gap = Gap("orders", 0, 2, 6, 4, "retention", "2026-01-01T00:00:00.000Z")
    items: Items = [entry(0), entry(1), gap, entry(6)]

    batches = batches_of(items, spec(), place(0), place(9))

    assert [one.after.offsets["orders", 0] for one in batches] == [2, 6, 9]
    assert all(a.after is b.before for a, b in pairwise(batches))
