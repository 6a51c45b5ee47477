"""The tape of frames that an audience reads together (pure).

A tape is a row of batches with the place after each. A listener is a number on a tape, so that a
thousand of them cost no queue and no copy: whoever stands at the same number gets the same bytes.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from gateway.frames import Door, Gap, Message, Style
from gateway.hub.log import Entry
from gateway.hub.place import Place, Tokens

WRITE_BYTES = 256 * 1024
"""Bytes joined into one write at most; with the kernel's buffer a connection stays below 1 MiB."""
MAX_RECORDS = 1_000
"""Records joined into one write at most."""
MAX_EVENTS: Mapping[str, int] = {"protobuf": 500}
"""The same for texts that are promised fewer."""
MAX_WRITES = 8
"""Joined writes a tape remembers: those at its end are shared by nearly all listeners."""


class Batch:
    """Entries that were read together, or one gap, and the places before and after them.

    number  of the read that brought them
    read_s  monotonic time of that read
    """

    __slots__ = ("after", "before", "entries", "frames", "gap", "number", "read_s", "size", "style")

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
        # Looked up once: a style is hashed each time, 0.05 µs, and a write would do so again.
        self.frames = [entry.frames[style] for entry in entries]
        self.size = sum(map(len, self.frames))

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
            frames = batch.frames[skip : skip + left]
            taken = skip + len(frames)
            runs.append(Run(frames, batch.place_after(taken), self.tokens))
            size += batch.size
            left -= len(frames)
            seq, skip = (seq + 1, 0) if taken == len(batch.entries) else (seq, taken)
        return runs, seq, skip
