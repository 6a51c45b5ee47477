"""The thread that reads Kafka for all listeners of a process."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from gateway import metrics
from gateway.hub.audience import Spec, view_of
from gateway.hub.commands import LATEST, Ask, Command, Grow, Leave, Lose, Refused
from gateway.hub.groups import Frames, Group, News, gap_of
from gateway.hub.log import Entry, Part, SharedLog
from gateway.hub.place import Place
from gateway.hub.seating import Seating
from gateway.hub.tape import Tape
from kafkahub import clock
from kafkahub.failpoints import failpoint
from kafkahub.kafka.faults import ConsumerBroken, KafkaUnavailable, Kind, OutOfRange, UnknownTopic
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record

POLL_S = 0.02
"""Longest wait for a record: also the longest time that a listener to be seated waits."""
IDLE_S = 1.0
"""Wait for work while nothing is read."""
READ_RECORDS = 500
WARM_RECORDS = 10_000
"""A topic joins at the asking cursor when it is at most so far back."""
COLD_RECORDS = 1_000
"""Otherwise so far before its end: clients that return after a restart find a warm log."""
MAX_AUDIENCES = 2_000
PROBE_EVERY_S = 2.0
PROBE_S = 1.0

log = structlog.get_logger()


class Reading:
    """Reads every topic that has listeners, once, and turns records into frames.

    Runs   one thread between ``start`` and ``stop``
    Owns   the Kafka reader, the shared log, and the groups; nobody else touches them
    Takes  commands, which wait for the read under way
    Gives  ``on_news``, once a read that brought something; ``on_lost`` when a topic's offsets mean
           other records, so that its listeners must begin anew. Both are called in the thread
    Ends   ``stop``
    """

    def __init__(
        self,
        make_reader: Callable[..., Reader],
        frames: Frames,
        *,
        log_bytes: int,
        on_news: Callable[[list[News]], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._make_reader = make_reader
        self._frames = frames
        self._on_news = on_news
        self._on_lost = on_lost
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)
        self._stopping = threading.Event()
        self._log = SharedLog(log_bytes)
        self._seating = Seating(frames, self._log)
        self._groups: dict[Spec, Group] = {}
        self._by_topic: dict[str, list[Group]] = {}
        self._newest: dict[str, int] = {}
        self._out: list[OutOfRange] = []
        self._number = 0
        self._reader: Reader | None = None
        self._probe_s = 0.0
        self.is_stalled = False

    def start(self) -> None:
        self._thread.start()

    def stop(self, deadline_s: float = 5.0) -> None:
        self._stopping.set()
        self._commands.put(None)
        if self._thread.ident is not None:
            self._thread.join(deadline_s)

    def command(self, command: Command) -> None:
        """Ask for something; answered between two reads."""
        self._commands.put(command)

    # What follows runs in the thread.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._round()
            except ConsumerBroken:
                log.exception("hub.reader_broken")
                self._renew()
            except Exception:  # outermost loop of the thread: listeners wait behind it
                log.exception("hub.read_failed")
                self._stopping.wait(IDLE_S)
        if self._reader is not None:
            self._reader.close()

    def _round(self) -> None:
        self._obey()
        if self._reader is None or not self._log.parts:
            return
        records = self._reader.read(READ_RECORDS, POLL_S)
        read_s = time.monotonic()
        self._number += 1
        if records:
            self._take(records)
            self.is_stalled = False
        elif self.is_stalled:
            self._probe(read_s)
        while self._out:
            self._skip(self._out.pop())
        self._tell(read_s)
        if records:
            self._log.shorten()
            metrics.log_bytes.set(self._log.bytes())
        for ask in self._seating.waiting(read_s):
            self._seat(ask)

    def _obey(self) -> None:
        is_idle = not self._log.parts
        while True:
            try:
                command = self._commands.get(block=is_idle, timeout=IDLE_S)
            except queue.Empty:
                return
            is_idle = False
            match command:
                case None:
                    return
                case Ask():
                    self._seat(command)
                case Leave(spec):
                    self._drop([spec])
                case Grow(topic, partitions):
                    self._grow(topic, partitions)
                case Lose(topic):
                    self._lose(topic)

    def _take(self, records: Sequence[Record]) -> None:
        """Put records into the log and before every audience of their topic: the hot loop."""
        failpoint("hub.before_append")
        now_ms = int(clock.now().timestamp() * 1000)
        parts, number = self._log.parts, self._number
        for record in records:
            groups = self._by_topic.get(record.topic)
            if groups is None:
                continue
            entry = Entry(record, number)
            parts[record.topic, record.partition].append(entry)
            stamp = record.timestamp_ms
            if stamp is not None and stamp > self._newest[record.topic]:
                self._newest[record.topic] = stamp
            view = None
            for group in groups:
                if view is None and group.spec.test is not None:
                    index = group.spec.topics.index(record.topic)
                    view = view_of(record, group.spec.catalogue[index])
                group.take(entry, view, now_ms)
        metrics.records_read.inc(len(records))

    def _tell(self, read_s: float) -> None:
        """Close the batches of this read and hand them over, all at once."""
        places: dict[tuple[str, ...], Place] = {}
        news = []
        for group in self._groups.values():
            topics = group.spec.topics
            place = places.get(topics)
            if place is None:
                place = places[topics] = self._place(topics, group.place)
            told = group.close(place, self._number, read_s)
            if told is not None:
                news.append(told)
        if news:
            self._on_news(news)

    def _place(self, topics: Iterable[str], old: Place) -> Place:
        """Return where the reader stands; the old place while that is the same."""
        offsets = {part: self._position(part) for part in old.offsets}
        if offsets == old.offsets:
            return old
        time_ms = max(old.time_ms, *(self._newest[topic] for topic in topics))
        return Place(offsets, time_ms)

    def _position(self, part: Part) -> int:
        reader = self._reader
        if reader is None:
            raise RuntimeError("there is no reader yet")  # a bug: parts are opened with one
        return reader.position(*part)

    def _seat(self, ask: Ask) -> None:
        if ask.spec not in self._groups and len(self._groups) >= MAX_AUDIENCES:
            ask.reply(Refused("overloaded"))
            return
        group = self._groups.get(ask.spec) or self._form(ask)
        wanted = {
            part: group.place.offsets[part] if ask.offsets.get(part, 0) == LATEST else offset
            for part, offset in ask.offsets.items()
            if part in group.place.offsets
        }
        # A partition that came meanwhile is newer than the listener: from its first record.
        for part in group.place.offsets.keys() - wanted.keys():
            wanted[part] = self._log.parts[part].begin
        self._seating.answer(ask, group, wanted)

    def _form(self, ask: Ask) -> Group:
        """Make the audience of a listener, and read its topics from here on."""
        spec = ask.spec
        self._open([topic for topic in spec.topics if topic not in self._by_topic], ask)
        parts = [part for part in self._log.parts if part[0] in spec.topics]
        time_ms = max(ask.time_ms, *(self._newest[topic] for topic in spec.topics))
        place = Place({part: self._position(part) for part in parts}, time_ms)
        group = Group(spec, Tape(place, ask.tokens), self._frames, self._log)
        self._groups[spec] = group
        for topic in spec.topics:
            self._by_topic[topic].append(group)
        metrics.audiences.set(len(self._groups))
        return group

    def _open(self, topics: Iterable[str], ask: Ask) -> None:
        starts = []
        for topic in topics:
            self._by_topic[topic] = []
            self._newest[topic] = 0
            for part, end in ask.ends.items():
                if part[0] == topic:
                    starts.append(Position(*part, _start(ask, part, end)))
        if starts:
            for position in starts:
                self._log.open((position.topic, position.partition), position.offset)
            self._assign(starts)

    def _assign(self, fresh: Sequence[Position] = ()) -> None:
        if self._reader is None:
            self._reader = self._make_reader(
                on_out_of_range=self._out.append, on_error=self._note_error
            )
        new = {(position.topic, position.partition): position for position in fresh}
        wanted = [
            new.get(part) or Position(*part, self._position(part)) for part in self._log.parts
        ]
        self._reader.assign(wanted)

    def _drop(self, specs: Iterable[Spec]) -> None:
        for spec in specs:
            group = self._groups.pop(spec, None)
            if group is not None:
                for topic in spec.topics:
                    self._by_topic[topic].remove(group)
        empty = {topic for topic, groups in self._by_topic.items() if not groups}
        for topic in empty:
            del self._by_topic[topic], self._newest[topic]
        self._log.close([part for part in self._log.parts if part[0] in empty])
        if empty and self._reader is not None:
            self._assign()
        metrics.audiences.set(len(self._groups))

    def _grow(self, topic: str, partitions: int) -> None:
        if topic not in self._by_topic:
            return
        known = {part[1] for part in self._log.parts if part[0] == topic}
        fresh = [Position(topic, number, 0) for number in range(partitions) if number not in known]
        for position in fresh:
            self._log.open((topic, position.partition), 0)
        if fresh:
            self._assign(fresh)
        for group in self._by_topic[topic]:
            offsets = {**group.place.offsets, **{(topic, one.partition): 0 for one in fresh}}
            group.place = Place(offsets, group.place.time_ms)

    def _skip(self, found: OutOfRange) -> None:
        """Go on where Kafka still has something, and say what is missing.

        Comes after the records of the same read: some of them may be from before the hole.
        """
        part = (found.topic, found.partition)
        if part not in self._log.parts or self._reader is None:
            return
        if found.offset > found.high:
            self._lose(found.topic)
            return
        gap = gap_of(*part, found.offset, found.low - found.offset, "retention")
        self._log.parts[part].restart(found.low)
        self._reader.seek(Position(*part, found.low))
        for group in self._by_topic[found.topic]:
            group.miss(gap)

    def _lose(self, topic: str) -> None:
        """Give up a topic whose offsets mean other records now; its listeners begin anew."""
        self._drop([group.spec for group in self._by_topic.get(topic, ())])
        self._on_lost(topic)

    def _note_error(self, kind: Kind, topic: str | None, partition: int | None, text: str) -> None:
        log.warning("hub.troubled", kind=kind, topic=topic, partition=partition, reason=text)
        if kind is not Kind.HEADER_NAME:
            self.is_stalled = True

    def _probe(self, now_s: float) -> None:
        """See whether Kafka answers again: a quiet topic would not tell."""
        if self._reader is None or now_s - self._probe_s < PROBE_EVERY_S:
            return
        self._probe_s = now_s
        try:
            self._reader.watermarks(*next(iter(self._log.parts)), PROBE_S)
        except (KafkaUnavailable, UnknownTopic):
            return
        self.is_stalled = False

    def _renew(self) -> None:
        """Make another reader that goes on where the broken one stood."""
        places = [Position(*part, self._position(part)) for part in self._log.parts]
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._assign(places)


def _start(ask: Ask, part: Part, end: int) -> int:
    asked = ask.offsets.get(part, end)
    if asked == LATEST:
        asked = end
    if end - asked <= WARM_RECORDS:
        return min(asked, end)
    return max(ask.lows.get(part, 0), end - COLD_RECORDS)
