"""Listeners with equal grant and filter, and what they see of a record (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.frames import Style
from gateway.hub.log import Entry
from gateway.hub.tape import MAX_EVENTS, MAX_RECORDS, WRITE_BYTES
from kafkahub.kafka.envelope import Undecodable, event_type
from kafkahub.kafka.record import Record
from subscriptions.access import authorize_and_project, shows_whole
from subscriptions.filters.closures import Test
from subscriptions.filters.view import View
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic

FRAME_BYTES: Mapping[str, int] = {
    "sse": 1_572_864,
    "ndjson": 1_572_864,
    "object": 655_360,
    "protobuf": 1_572_864,
}
"""Largest frame by text; a record above is announced as a gap. A WebSocket cannot slice."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What listeners must have in common to be one audience; equal ones share a tape.

    grants       one a topic, in the same order; a change of one changes its version
    catalogue    what the topics hold, in the same order
    filter_text  the listener's own filter in one spelling; ``test`` is made of it
    every        an id for each record
    """

    topics: tuple[str, ...]
    grants: tuple[Grant, ...]
    catalogue: tuple[LiveTopic, ...]
    filter_text: str
    style: Style
    every: bool
    test: Test | None = field(default=None, compare=False, repr=False)

    @property
    def seals(self) -> bool:
        """Whether cursors are sealed: a grant hides records or parts of them."""
        return any(grant.seals for grant in self.grants)


def shown(record: Record, spec: Spec, view: View | None, now_ms: int) -> Record | None:
    """Return what the audience sees of a record, None for nothing.

    view  of the whole record where one is made already; it decodes the value once for everybody

    The filter sees only what the grant shows. A value that cannot be decoded might match, so it
    is shown rather than lost.
    """
    index = spec.topics.index(record.topic)
    seen = authorize_and_project(record, spec.grants[index], now_ms, view)
    if seen is None or spec.test is None:
        return seen
    if view is None or seen is not record:
        view = view_of(seen, spec.catalogue[index])
    try:
        return seen if spec.test.run(view) is True else None
    except Undecodable:
        return seen


def is_whole(spec: Spec, now_ms: int) -> bool:
    """Return whether the audience sees every record of its topics as it is, as ``shown`` does."""
    return spec.test is None and all(
        grant.topic == topic and shows_whole(grant, now_ms)
        for topic, grant in zip(spec.topics, spec.grants, strict=True)
    )


def view_of(record: Record, topic: LiveTopic) -> View:
    """Return a record as filters look at it."""
    kind = event_type(record, topic.type_source, topic.type_value, topic.name)
    return View(record, topic.format, kind)


def cut(entries: Sequence[Entry], style: Style, *, every: bool) -> list[Sequence[Entry]]:
    """Return the entries of one read in runs that fit a write; one each where each has an id."""
    if every:
        return [entries[index : index + 1] for index in range(len(entries))]
    runs: list[Sequence[Entry]] = []
    start, size, most = 0, 0, MAX_EVENTS.get(style.text, MAX_RECORDS)
    for index, entry in enumerate(entries):
        frame_bytes = len(entry.frames[style])
        size += frame_bytes
        if index > start and (size > WRITE_BYTES or index - start == most):
            runs.append(entries[start:index])
            start, size = index, frame_bytes
    if start < len(entries):
        runs.append(entries[start:])
    return runs
