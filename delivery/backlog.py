"""The backlog reader: reads again, for lanes that are behind, at the pace of their endpoints."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from delivery import metrics
from delivery.inbox import Ask, BacklogFed, Hit, Note, Place
from delivery.matcher import hit
from delivery.missing import Missing, Wanted
from kafkahub.kafka.faults import OutOfRange
from kafkahub.kafka.reader import Reader
from kafkahub.kafka.record import Position, Record
from subscriptions.live import Snapshot

BATCH_RECORDS = 500
WAIT_S = 0.05
"""How long a read waits for a first record; then the end of the partition answers."""


class Backlog:
    """Answers every ``Ask`` with one ``BacklogFed``.

    Runs   one thread, started by the engine
    Owns   one assigned reader for all lanes that are behind
    Takes  asks; there is one open a lane at most
    Ends   ``stop``

    Lanes of one partition share what is read: reading goes on from the lowest place asked for,
    and every lane is given what lies at or above its own. So a hundred lanes that start at the
    beginning cost one read.

    missing  tells what was delivered already, for replays of what is missing
    shorter  told of a partition whose log ends below a place that a lane stands at
    """

    def __init__(
        self,
        *,
        options: Mapping[str, object],
        snapshot: Callable[[], Snapshot],
        post: Callable[[Note], None],
        shorter: Callable[[Place], None],
        missing: Missing,
    ) -> None:
        self._options = options
        self._snapshot = snapshot
        self._post = post
        self._shorter = shorter
        self._missing = missing
        self._asks: queue.SimpleQueue[Ask | None] = queue.SimpleQueue()
        self._open: dict[Place, list[Ask]] = {}
        self._stopping = threading.Event()
        self._reader: Reader | None = None

    def ask(self, ask: Ask) -> None:
        """Take an ask; never waits."""
        self._asks.put(ask)

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()
        self._asks.put(None)

    def run(self) -> None:
        """Read while anybody asks."""
        try:
            while not self._stopping.is_set():
                self._gather()
                if self._open:
                    self._turn()
        finally:
            if self._reader is not None:
                self._reader.close()
            self._missing.close()

    def _gather(self) -> None:
        """Take the asks that have come; wait for one while none is open."""
        while not (self._asks.empty() and (self._open or self._stopping.is_set())):
            ask = self._asks.get()
            if ask is None:
                return
            self._open.setdefault(ask.place, []).append(ask)

    def _turn(self) -> None:
        reader = self._aimed()
        room = min(ask.room for asks in self._open.values() for ask in asks)
        # No more than every lane can take: what is read in vain must be sought and read again.
        records = reader.read(min(room, BATCH_RECORDS), WAIT_S)
        of_place: dict[Place, list[Record]] = {place: [] for place in self._open}
        for record in records:
            of_place.setdefault((record.topic, record.partition), []).append(record)
        metrics.records_read_again.inc(len(records))
        for place, found in of_place.items():
            if place in self._open and (found or reader.is_at_end(*place)):
                self._answer(place, found, reader.position(*place))

    def _aimed(self) -> Reader:
        """Return the reader, standing in each partition at the lowest place asked for."""
        if self._reader is None:
            self._reader = Reader(self._options, on_out_of_range=self._on_out_of_range)
        self._reader.assign(
            [
                Position(*place, min(ask.offset for ask in asks))
                for place, asks in self._open.items()
            ]
        )
        return self._reader

    def _answer(self, place: Place, records: Sequence[Record], position: int) -> None:
        """Answer the asks that what was read reaches; the others stay open."""
        waiting = []
        for ask in self._open.pop(place):
            fed = None if ask.offset > position else self._fed(ask, records, position)
            if fed is not None and ask.only_missing:
                fed = self._narrowed(fed)
            if fed is None:
                waiting.append(ask)
            else:
                self._post(fed)
        if waiting:
            self._open[place] = waiting

    def _fed(self, ask: Ask, records: Iterable[Record], position: int) -> BacklogFed:
        snapshot = self._snapshot()
        topic = snapshot.topics.get(ask.place[0])
        hits: list[tuple[int, Hit]] = []
        if topic is None:
            return BacklogFed(ask, hits, ask.offset)
        now_ms = time.time_ns() // 1_000_000
        for record in records:
            if record.offset < ask.offset:
                continue
            if len(hits) >= ask.room:
                return BacklogFed(ask, hits, record.offset)
            found = hit(record, ask.subscription, topic, now_ms)
            if found is not None:
                hits.append((record.offset, found))
        return BacklogFed(ask, hits, position)

    def _narrowed(self, fed: BacklogFed) -> BacklogFed | None:
        """Leave out what was delivered already; None while PostgreSQL cannot tell."""
        ask = fed.ask
        offsets = [offset for offset, _ in fed.hits]
        delivered = self._missing.delivered(Wanted(ask.subscription.id, *ask.place, offsets))
        if delivered is None:
            return None
        hits = [one for one in fed.hits if one[0] not in delivered]
        return BacklogFed(ask, hits, fed.next_offset)

    def _on_out_of_range(self, found: OutOfRange) -> None:
        """Let lanes go on where the log begins, or stand still where it is shorter than before."""
        place = (found.topic, found.partition)
        asks = self._open.pop(place, [])
        if found.offset > found.high:
            self._shorter(place)
            return
        for ask in asks:
            is_gap = ask.offset < found.low
            self._post(BacklogFed(ask, (), max(ask.offset, found.low), is_gap=is_gap))
