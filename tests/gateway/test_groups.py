from itertools import pairwise

from gateway.frames import Gap
from gateway.hub.groups import batches_of
from gateway.hub.log import Entry
from tests.gateway.stream_makers import (
    entry,
    place,
    spec,
)

Items = list[Entry | Gap]


def test_batches_lead_from_one_place_to_the_other_without_a_hole() -> None:
    gap = Gap("orders", 0, 2, 6, 4, "retention", "2026-01-01T00:00:00.000Z")
    items: Items = [entry(0), entry(1), gap, entry(6)]

    batches = batches_of(items, spec(), place(0), place(9))

    assert [one.after.offsets["orders", 0] for one in batches] == [2, 6, 9]
    assert all(a.after is b.before for a, b in pairwise(batches))
