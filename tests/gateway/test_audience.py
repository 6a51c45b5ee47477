import pytest

from gateway.hub.audience import cut, shown
from gateway.hub.tape import MAX_RECORDS, WRITE_BYTES
from tests.gateway.stream_makers import (
    ENVELOPE,
    entry,
    record,
    spec,
)


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
    large = b"x" * (WRITE_BYTES // 2 + 1)
    entries = [entry(n, large) for n in range(3)]

    assert [len(run) for run in cut(entries, ENVELOPE, every=False)] == [1, 1, 1]
    assert [len(run) for run in cut(entries[:0], ENVELOPE, every=False)] == []
    assert [len(run) for run in cut([entry(n) for n in range(3)], ENVELOPE, every=True)] == [1] * 3


def test_a_run_has_no_more_entries_than_a_write() -> None:
    entries = [entry(n) for n in range(MAX_RECORDS + 1)]

    assert [len(run) for run in cut(entries, ENVELOPE, every=False)] == [MAX_RECORDS, 1]
