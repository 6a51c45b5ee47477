from gateway.hub.place import Place
from tests.gateway.stream_makers import (
    entry,
    record,
)


def test_a_place_is_behind_by_its_offsets() -> None:
    here = Place({("orders", 0): 3, ("orders", 1): 9}, 0)

    assert here.behind({("orders", 0): 5, ("orders", 1): 9, ("orders", 2): 7}) == 2


def test_a_place_moves_on_behind_entries_in_any_partition() -> None:
    here = Place({("orders", 0): 3, ("orders", 1): 9}, 5)

    after = here.after([entry(3), entry(11, partition=1)])

    assert after.offsets == {("orders", 0): 4, ("orders", 1): 12}
    assert after.time_ms == record(11).timestamp_ms
