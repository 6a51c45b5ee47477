"""Where a stream begins: from a cursor, a time, or an end of the log, as offsets and gaps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.frames import Gap
from gateway.hub.commands import LATEST
from gateway.hub.log import Part
from gateway.hub.seats import Ends
from kafkahub import clock
from kafkahub.errors import Fault, Invalid, NotSupportedByCluster
from kafkahub.kafka.faults import NoAdminApi
from subscriptions import cursor as codec
from subscriptions.cursor import NO_EPOCH, Cursor, Spot, TopicPosition, tag

BEFORE_MS = 60_000
"""How much earlier than its time a position begins that is of another log: copies, no hole."""
MAX_PARTITIONS = 400


@dataclass(frozen=True, slots=True)
class Latest:
    """From now on."""


@dataclass(frozen=True, slots=True)
class Earliest:
    """From the first record that Kafka still has."""


@dataclass(frozen=True, slots=True)
class Last:
    """From so many offsets before the end of each partition."""

    count: int


@dataclass(frozen=True, slots=True)
class Since:
    """From the first record of that time, Unix ms, or later."""

    unix_ms: int


Start = Latest | Earliest | Last | Since
Spots = tuple[Spot, ...]

Marks = Mapping[int, tuple[int, int]]


class Asks(Protocol):
    """What is asked of Kafka; ``gateway.topology`` answers."""

    async def marks(self, topic: str, *, fresh: bool = False) -> Marks: ...
    async def cluster(self) -> str: ...
    async def epoch(self, topic: str) -> str: ...
    async def offsets_at(self, topic: str, unix_ms: int) -> Mapping[int, int]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Where a stream begins.

    offsets   next offset of each partition, ``LATEST`` for where the hub reads now
    time_ms   newest record timestamp handed out before
    gaps      to announce first
    ends      of all partitions, for topics that the hub does not read yet
    tags      name tag and epoch tag by topic
    """

    cluster: bytes
    offsets: Mapping[Part, int]
    time_ms: int
    gaps: Sequence[Gap]
    ends: Ends
    tags: Mapping[str, tuple[bytes, bytes]]


class _Topic(NamedTuple):
    """What is known of one topic."""

    name: str
    marks: Marks
    epoch: bytes

    def lows(self) -> Iterable[tuple[int, int]]:
        return ((number, low) for number, (low, _) in self.marks.items())

    def highs(self) -> Iterable[tuple[int, int]]:
        return ((number, high) for number, (_, high) in self.marks.items())


@dataclass(slots=True, kw_only=True)
class Finder:
    """Finds one start.

    reads      by topic, whether the hub reads it already
    given      a cursor, which decides for the topics that it names
    is_sealed  it came sealed, so that its offsets were seen by nobody
    hides      a grant hides records: of a plain cursor only its time counts
    """

    asks: Asks
    reads: Mapping[str, bool]
    start: Start
    given: Cursor | Spots | None
    is_sealed: bool
    hides: bool
    cluster: bytes = b""
    gaps: list[Gap] = field(default_factory=list)

    async def find(self) -> Found:
        """Return where a stream on the topics of ``reads`` begins.

        Raises Invalid ``too_many_partitions``, NotSupportedByCluster, and KafkaUnavailable.
        """
        self.cluster = tag(await self.asks.cluster())
        topics = [await self._look(name) for name in sorted(self.reads)]
        if sum(len(topic.marks) for topic in topics) > MAX_PARTITIONS:
            text = f"The topics have more than {MAX_PARTITIONS} partitions together."
            raise Invalid([Fault("", "too_many_partitions", text)])
        offsets: dict[Part, int] = {}
        for topic in topics:
            found = await self._offsets(topic)
            offsets |= {(topic.name, number): offset for number, offset in found.items()}
        return Found(
            cluster=self.cluster,
            offsets=offsets,
            time_ms=self._time_ms(),
            gaps=tuple(self.gaps),
            ends=Ends(
                {(topic.name, number): low for topic in topics for number, low in topic.lows()},
                {(topic.name, number): high for topic in topics for number, high in topic.highs()},
            ),
            tags={topic.name: (tag(topic.name), topic.epoch) for topic in topics},
        )

    def _time_ms(self) -> int:
        """Return up to when records were handed out before: 0 is the safe answer."""
        if isinstance(self.given, Cursor):
            return self.given.time_ms
        match self.start:
            case Latest() if self.given is None:
                return int(clock.now().timestamp() * 1000)
            case Since(unix_ms) if self.given is None:
                return unix_ms
            case _:
                return 0

    async def _look(self, name: str) -> _Topic:
        """Ask for the ends; freshly where they decide, from memory where a cursor does.

        A cursor beyond the ends that are remembered is looked at again.
        """
        is_named = _is_named(name, self.given)
        is_fresh = not self.reads[name] or not (is_named or isinstance(self.start, Latest))
        marks = await self.asks.marks(name, fresh=is_fresh)
        if not is_fresh and is_named and _is_beyond(name, self.given, marks):
            marks = await self.asks.marks(name, fresh=True)
        epoch = await self.asks.epoch(name)
        return _Topic(name, marks, tag(epoch) if epoch else NO_EPOCH)

    async def _offsets(self, topic: _Topic) -> Mapping[int, int]:
        if isinstance(self.given, Cursor):
            for named in self.given.topics:
                if named.name_tag == tag(topic.name):
                    return await self._of_cursor(topic, self.given, named)
        elif self.given is not None and _is_named(topic.name, self.given):
            return await self._of_spots(topic, self.given)
        return await self._of_start(topic)

    async def _of_start(self, topic: _Topic) -> Mapping[int, int]:
        match self.start:
            case Latest():
                is_read = self.reads[topic.name]
                return dict.fromkeys(topic.marks, LATEST) if is_read else dict(topic.highs())
            case Earliest():
                return dict(topic.lows())
            case Last(count):
                return {
                    number: max(low, high - count) for number, (low, high) in topic.marks.items()
                }
            case Since(unix_ms):
                return await self._since(topic, unix_ms)

    async def _since(self, topic: _Topic, unix_ms: int) -> Mapping[int, int]:
        try:
            found = await self.asks.offsets_at(topic.name, unix_ms)
        except NoAdminApi:
            text = "This cluster cannot find records by time; use from."
            raise NotSupportedByCluster(text) from None
        for number, offset in found.items():
            low = topic.marks.get(number, (0, 0))[0]
            if 0 < low == offset:  # whether something of that time was there, nobody can tell
                self._miss("retention", topic.name, number, (None, low))
        return found

    async def _of_cursor(
        self, topic: _Topic, given: Cursor, named: TopicPosition
    ) -> Mapping[int, int]:
        if reason := self._strange(topic, given, named):
            self._miss(reason, topic.name)
            return await self._near(topic, given.time_ms)
        offsets = {}
        for number, (low, high) in topic.marks.items():
            # A partition that the cursor lacks is newer: from its first record, and no gap.
            asked = named.offsets.get(number, low)
            offsets[number] = min(max(asked, low), high)
            if asked < low:
                self._miss("retention", topic.name, number, (asked, low))
            elif asked > high:
                self._miss("truncated", topic.name, number, (asked, high))
        return offsets

    def _strange(self, topic: _Topic, given: Cursor, named: TopicPosition) -> str:
        """Return why a cursor's offsets mean nothing here, or ``""``."""
        if given.cluster_tag != self.cluster:
            return "foreign_cluster"
        if named.epoch_tag != topic.epoch and NO_EPOCH not in {named.epoch_tag, topic.epoch}:
            return "recreated"
        return "grant_changed" if self.hides and not self.is_sealed else ""

    async def _near(self, topic: _Topic, time_ms: int) -> Mapping[int, int]:
        try:
            return await self.asks.offsets_at(topic.name, max(0, time_ms - BEFORE_MS))
        except NoAdminApi:
            return dict(topic.lows())

    async def _of_spots(self, topic: _Topic, spots: Spots) -> Mapping[int, int]:
        """Return the position of KafkaSSE's form; under a filter only its times count."""
        offsets = dict(topic.lows())
        for spot in spots:
            if spot.topic != topic.name or spot.partition not in topic.marks:
                continue
            low, high = topic.marks[spot.partition]
            named = {codec.LATEST: high, codec.EARLIEST: low, None: None}
            if spot.offset is not None and not (self.hides and spot.offset >= 0):
                offset = named.get(spot.offset, spot.offset)
                offsets[spot.partition] = min(max(offset or 0, low), high)
            elif spot.timestamp is not None:
                found = await self._since(topic, spot.timestamp)
                offsets[spot.partition] = found.get(spot.partition, high)
        return offsets

    def _miss(
        self,
        reason: str,
        topic: str,
        partition: int | None = None,
        hole: tuple[int | None, int | None] = (None, None),
    ) -> None:
        start, end = hole
        lost = None if start is None or end is None or end < start else end - start
        resumed_at = clock.rfc3339(clock.now())
        self.gaps.append(Gap(topic, partition, start, end, lost, reason, resumed_at))


def _is_named(name: str, given: Cursor | Spots | None) -> bool:
    if given is None:
        return False
    if isinstance(given, Cursor):
        return any(named.name_tag == tag(name) for named in given.topics)
    return any(spot.topic == name for spot in given)


def _is_beyond(name: str, given: Cursor | Spots | None, marks: Marks) -> bool:
    if not isinstance(given, Cursor):
        return True
    offsets = next(named.offsets for named in given.topics if named.name_tag == tag(name))
    return any(
        number not in marks or not marks[number][0] <= offset <= marks[number][1]
        for number, offset in offsets.items()
    )
