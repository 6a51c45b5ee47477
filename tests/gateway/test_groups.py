from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.frames import Gap, Style
from gateway.hub.audience import FRAME_BYTES, Spec
from gateway.hub.groups import Frames, Group, batches_of
from gateway.hub.log import Entry, SharedLog
from gateway.hub.tape import Tape
from subscriptions.grant_rules import Rules
from subscriptions.projection import Projection, TopicForm
from tests.gateway.stream_makers import (
    TOKENS,
    entry,
    grant,
    place,
    record,
    spec,
)

Items = list[Entry | Gap]


def test_batches_lead_from_one_place_to_the_other_without_a_hole() -> None:
    gap = Gap("orders", 0, 2, 6, 4, "retention", "2026-01-01T00:00:00.000Z")
    items: Items = [entry(0), entry(1), gap, entry(6)]

    batches = batches_of(items, spec(), place(0), place(9))

    assert [one.after.offsets["orders", 0] for one in batches] == [2, 6, 9]
    assert all(a.after is b.before for a, b in pairwise(batches))


NOW_MS = 1_767_225_600_000
FORM = TopicForm("orders", "json", "constant", "")
KEYLESS = Projection(Rules(key_visible=False), FORM, b"", "without its key")
WHOLE = spec("protobuf")
HIDING = replace(WHOLE, style=Style("protobuf", "envelope", hides_place=True))


@pytest.mark.parametrize(
    ("seen_by", "count"),
    [
        (WHOLE, 3),
        (HIDING, 3),
        (spec("sse"), 3),
        (spec("protobuf", {"value": {"a": 1}}), 1),
        (replace(WHOLE, grants=(replace(grant(), projection=KEYLESS),)), 3),
        (replace(WHOLE, grants=(replace(grant(), valid_until_ms=NOW_MS),)), 0),
        (replace(WHOLE, grants=(replace(grant(), action="write"),)), 0),
        (replace(WHOLE, grants=(replace(grant(), topic="others"),)), 0),
    ],
)
def test_records_are_shown_alike_one_by_one_and_all_at_once(seen_by: Spec, count: int) -> None:
    large = b'"%b"' % bytes(b"x" * FRAME_BYTES["protobuf"])
    records = [record(0, b'{"a":1}'), record(1, b'{"a":2}'), record(2, large)]
    alone, together = group(seen_by), group(seen_by)

    for one in records:
        alone.take(Entry(one, 0), None, NOW_MS)
    together.take_all(records, NOW_MS)

    assert [told(one) for one in together.waiting()] == [told(one) for one in alone.waiting()]
    assert len(together.waiting()) == count


def group(seen_by: Spec) -> Group:
    tape = Tape(place(0), TOKENS)
    return Group(seen_by, tape, Frames("https://hub.example", lambda *_: "rec_1"), SharedLog(0))


def told(item: Entry | Gap) -> object:
    """Return what a listener gets of an item; a gap's time is that of its making."""
    return replace(item, resumed_at="") if isinstance(item, Gap) else item.frames
