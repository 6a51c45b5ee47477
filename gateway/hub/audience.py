"""Listeners with equal grant and filter, and the tape of frames they read together (pure).

A tape is a row of batches with the place after each. A listener is a number on a tape, so that a
thousand of them cost no queue and no copy: whoever stands at the same number gets the same bytes.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from gateway.frames import Door, Gap, Message, Style
from gateway.hub.log import Entry, Part
from kafkahub.kafka.envelope import Undecodable, event_type
from kafkahub.kafka.record import Record
from subscriptions.access import authorize_and_project
from subscriptions.cursor import Cursor, TopicPosition, encode
from subscriptions.filters.closures import Test
from subscriptions.filters.view import View
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic

WRITE_BYTES = 256 * 1024
"""Bytes joined into one write at most; with the kernel's buffer a connection stays below 1 MiB."""
FRAME_BYTES: Mapping[str, int] = {
    "sse": 1_572_864,
    "ndjson": 1_572_864,
    "object": 655_360,
    "protobuf": 1_572_864,
}
"""Largest frame by text; a record above is announced as a gap. A WebSocket cannot slice."""
MAX_RECORDS = 1_000
"""Records joined into one write at most."""
MAX_EVENTS: Mapping[str, int] = {"protobuf": 500}
"""The same for texts that are promised fewer."""
MAX_WRITES = 8
"""Joined writes a tape remembers: those at its end are shared by nearly all listeners."""

Offsets = Mapping[Part, int]


class Tokens:
    """Writes places as cursors, plain or sealed; equal ``key`` means equal tokens.

    cluster  tag of the cluster's id
    topics   name tag and epoch tag by topic
    seal     makes the token of a filtered grant; None for plain ones
    """

    __slots__ = ("_cluster", "_seal", "_topics", "key")

    def __init__(
        self,
        cluster: bytes,
        topics: Mapping[str, tuple[bytes, bytes]],
        seal: Callable[[Cursor], str | None] | None = None,
        key: str = "",
    ) -> None:
        self.key = key
        self._cluster = cluster
        self._topics = topics
        self._seal = seal or encode

    @property
    def topics(self) -> Collection[str]:
        return self._topics

    def write(self, place: "Place") -> str:
        """Return the token of a place; ``""`` where it would be too long to be taken back."""
        offsets: dict[str, dict[int, int]] = {topic: {} for topic in self._topics}
        for (topic, partition), offset in place.offsets.items():
            offsets[topic][partition] = offset
        topics = [
            TopicPosition(*tags, offsets[topic]) for topic, tags in sorted(self._topics.items())
        ]
        return self._seal(Cursor(self._cluster, place.time_ms, tuple(topics))) or ""


class Place:
    """A position in a topic set: the next offset of every partition.

    time_ms  newest record timestamp handed out up to here, Unix ms

    Never changed after it is made, so that audiences share it; tokens are written once.
    """

    __slots__ = ("_tokens", "offsets", "time_ms")

    def __init__(self, offsets: Offsets, time_ms: int) -> None:
        self.offsets = offsets
        self.time_ms = time_ms
        self._tokens: dict[str, str] = {}

    def token(self, tokens: Tokens) -> str:
        """Return the cursor at this place."""
        found = self._tokens.get(tokens.key)
        if found is None:
            found = self._tokens[tokens.key] = tokens.write(self)
        return found

    def after(self, entries: Sequence[Entry]) -> "Place":
        """Return the place behind some entries that stand in the order they were read in."""
        offsets = dict(self.offsets)
        time_ms = self.time_ms
        for entry in entries:
            record = entry.record
            offsets[record.topic, record.partition] = record.offset + 1
            time_ms = max(time_ms, record.timestamp_ms or 0)
        return Place(offsets, time_ms)

    def behind(self, end: Offsets) -> int:
        """Return how many offsets lie between here and ``end``."""
        return sum(max(0, offset - self.offsets.get(part, offset)) for part, offset in end.items())


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


class Batch:
    """Entries that were read together, or one gap, and the places before and after them.

    number  of the read that brought them
    read_s  monotonic time of that read
    """

    __slots__ = ("after", "before", "entries", "gap", "number", "read_s", "size", "style")

    def __init__(
        self,
        entries: Sequence[Entry],
        style: Style,
        before: Place,
        after: Place,
        *,
        number: int = 0,
        read_s: float = 0.0,
        gap: Gap | None = None,
    ) -> None:
        self.entries = entries
        self.style = style
        self.before = before
        self.after = after
        self.number = number
        self.read_s = read_s
        self.gap = gap
        self.size = sum(len(entry.frames[style]) for entry in entries)

    def place_after(self, count: int) -> Place:
        """Return the place behind the first ``count`` entries."""
        whole = count == len(self.entries)
        return self.after if whole else self.before.after(self.entries[:count])


class Run(NamedTuple):
    """Some entries of one batch as a door joins them."""

    frames: Sequence[bytes]
    place: Place
    tokens: Tokens

    @property
    def token(self) -> str:
        return self.place.token(self.tokens)


Share = tuple[int, int]
"""Records and bytes of one topic in a write."""


class Write(NamedTuple):
    """One message for whoever stands at its beginning, and where that listener stands after it.

    end, skip  the batch, and entries of it that the listener has had
    read_s     monotonic time at which the oldest record in it was read
    gap        the gap it announces, else None
    shares     of each topic, by name in order; none where there is only one topic
    """

    message: Message
    payload: bytes
    end: int
    skip: int
    place: Place
    records: int
    read_s: float
    gap: Gap | None
    shares: Sequence[Share] = ()


class Tape:
    """A row of batches, numbered on without end; the oldest ones are trimmed.

    Owned by the event loop: the reading thread hands batches over and touches nothing here.

    first      number of the oldest batch held; ``end`` is that of the next one to come
    place      after the last batch, moved on also by records that this audience does not see
    then       where whoever has read all of it goes on; None for a live tape, and where somebody
               must look anew
    """

    __slots__ = (
        "__weakref__",
        "_batches",
        "_writes",
        "first",
        "is_live",
        "place",
        "then",
        "tokens",
    )

    def __init__(
        self,
        place: Place,
        tokens: Tokens,
        *,
        first: int = 0,
        is_live: bool = True,
        then: "tuple[Tape, int] | None" = None,
    ) -> None:
        self.first = first
        self.place = place
        self.tokens = tokens
        self.is_live = is_live
        self.then = then
        self._batches: deque[Batch] = deque()
        self._writes: dict[tuple[int, int, Door], Write] = {}

    @property
    def end(self) -> int:
        return self.first + len(self._batches)

    def extend(self, batches: Sequence[Batch], place: Place) -> None:
        """Add what was read, and move the place on."""
        self._batches.extend(batches)
        self.place = place
        if batches:
            self._writes.clear()

    def trim(self, number: int) -> None:
        """Give up batches of reads up to this number: the log holds their frames no more."""
        batches = self._batches
        while batches and batches[0].number <= number:
            batches.popleft()
            self.first += 1

    def write(self, seq: int, skip: int, door: Door, max_records: int | None = None) -> Write:
        """Return the next message for a listener at ``seq`` that has had ``skip`` entries of it.

        max_records  the most it may get, 1 or more; None for as many as fit one write
        The caller has checked that ``first <= seq < end``.
        """
        found = self._writes.get((seq, skip, door))
        if found is None:
            found = self._joined(seq, skip, door, None)
            if len(self._writes) >= MAX_WRITES:
                self._writes.clear()
            self._writes[seq, skip, door] = found
        if max_records is not None and found.records > max_records:
            return self._joined(seq, skip, door, max_records)
        return found

    def sizes(self, seq: int, skip: int) -> Iterator[int]:
        """Yield the bytes of key and value of each record from a place on, up to a gap."""
        for entry in self._entries(seq, skip):
            yield len(entry.record.key or b"") + len(entry.record.value or b"")

    def _entries(self, seq: int, skip: int) -> Iterator[Entry]:
        for batch in islice(self._batches, seq - self.first, None):
            if batch.gap is not None:
                return
            yield from islice(batch.entries, skip, None)
            skip = 0

    def _joined(self, seq: int, skip: int, door: Door, max_records: int | None) -> Write:
        head = self._batches[seq - self.first]
        if head.gap is not None:
            token = head.after.token(self.tokens)
            payload = door.gap(head.gap, token, hides_place=head.style.hides_place)
            message = door.message(payload)
            return Write(message, payload, seq + 1, 0, head.after, 0, head.read_s, head.gap)
        runs, end, had = self._runs(seq, skip, max_records)
        payload = door.records(runs)
        count = sum(len(run.frames) for run in runs)
        return Write(
            door.message(payload),
            payload,
            end,
            had,
            runs[-1].place,
            count,
            head.read_s,
            None,
            self._shares(islice(self._entries(seq, skip), count), head.style, len(payload)),
        )

    def _shares(self, entries: Iterable[Entry], style: Style, size: int) -> Sequence[Share]:
        """Return what each topic has in a write; what joins the frames counts for the first."""
        topics = sorted(self.tokens.topics)
        if len(topics) <= 1:
            return ()
        counts, sizes = dict.fromkeys(topics, 0), dict.fromkeys(topics, 0)
        for entry in entries:
            topic = entry.record.topic
            counts[topic] += 1
            sizes[topic] += len(entry.frames[style])
        sizes[topics[0]] += max(0, size - sum(sizes.values()))
        return [(counts[topic], sizes[topic]) for topic in topics]

    def _runs(self, seq: int, skip: int, max_records: int | None) -> tuple[list[Run], int, int]:
        """Return what goes into one write, and where it ends."""
        runs: list[Run] = []
        size = 0
        left = MAX_EVENTS.get(self._batches[seq - self.first].style.text, MAX_RECORDS)
        left = left if max_records is None else min(max_records, left)
        for batch in islice(self._batches, seq - self.first, None):
            if batch.gap is not None or not left or (runs and size + batch.size > WRITE_BYTES):
                break
            entries = batch.entries[skip : skip + left]
            taken = skip + len(entries)
            frames = [entry.frames[batch.style] for entry in entries]
            runs.append(Run(frames, batch.place_after(taken), self.tokens))
            size += batch.size
            left -= len(entries)
            seq, skip = (seq + 1, 0) if taken == len(batch.entries) else (seq, taken)
        return runs, seq, skip


def shown(record: Record, spec: Spec, view: View | None, now_ms: int) -> Record | None:
    """Return what the audience sees of a record, None for nothing.

    view  of the whole record where one is made already; it decodes the value once for everybody

    The filter sees only what the grant shows. A value that cannot be decoded might match, so it
    is shown rather than lost.
    """
    index = spec.topics.index(record.topic)
    seen = authorize_and_project(record, spec.grants[index], now_ms)
    if seen is None or spec.test is None:
        return seen
    if view is None or seen is not record:
        view = view_of(seen, spec.catalogue[index])
    try:
        return seen if spec.test.run(view) is True else None
    except Undecodable:
        return seen


def view_of(record: Record, topic: LiveTopic) -> View:
    """Return a record as filters look at it."""
    kind = event_type(record, topic.type_source, topic.type_value, topic.name)
    return View(record, topic.format, kind)


def cut(entries: Sequence[Entry], style: Style, *, every: bool) -> list[Sequence[Entry]]:
    """Return the entries of one read in runs that fit a write; one each where each has an id."""
    if every:
        return [entries[index : index + 1] for index in range(len(entries))]
    runs: list[Sequence[Entry]] = []
    start, size = 0, 0
    for index, entry in enumerate(entries):
        size += len(entry.frames[style])
        if size > WRITE_BYTES and index > start:
            runs.append(entries[start:index])
            start, size = index, len(entry.frames[style])
    if start < len(entries):
        runs.append(entries[start:])
    return runs
