"""Ends an engine that owes records and gets nowhere: a fresh one goes on from what is durable."""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from uuid import UUID

import psycopg
import structlog

from delivery import metrics, positions
from delivery.database import Conn
from delivery.inbox import Alibi, Note, Place
from kafkahub.kafka.faults import KafkaUnavailable, UnknownTopic

EVERY_S = 5.0
"""Between two looks at the floors."""
ANSWER_S = 5.0
"""How long the dispatcher may take to say what it waits for; it answers within a tick."""
RUNNING, WAITING_POSTGRES, WAITING_KAFKA = STATES = (
    "running",
    "waiting_postgres",
    "waiting_kafka",
)

log = structlog.get_logger()


class Patience:
    """How long each floor has not moved; time is a parameter.

    limit_s  how long one may stand still
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: dict[Place, tuple[int, float]] = {}

    def late(self, floors: Mapping[Place, int], now: float) -> dict[Place, int]:
        """Return the floors that have stood still for too long; places not given are forgotten."""
        before, self._seen = self._seen, {}
        for place, floor in floors.items():
            known = before.get(place)
            self._seen[place] = known if known is not None and known[0] == floor else (floor, now)
        return {
            place: floor
            for place, (floor, since) in self._seen.items()
            if now - since >= self._limit_s
        }

    def excuse(self, places: Iterable[Place], now: float) -> None:
        """Begin anew with places that have a reason to stand still."""
        for place in places:
            floor, _ = self._seen[place]
            self._seen[place] = (floor, now)

    def rest(self) -> None:
        """Begin anew with all: what was waited for was not ours."""
        self._seen.clear()


class Watchdog:
    """Looks whether every partition that has lag moves its floor.

    Runs   one thread, started by the engine
    Owns   a PostgreSQL connection; it believes only what is committed
    Ends   ``stop``, or by ``bark``, after which the process shall end

    It rests while PostgreSQL or Kafka is away: a restart would help nobody.

    ends      gives the end of each partition of a topic, from Kafka
    post      asks the dispatcher for an ``inbox.Alibi``
    read_at   gives the monotonic time of the shared reader's last turn
    bark      is told the places that stand still
    """

    def __init__(
        self,
        owner: UUID,
        connect: Callable[[], Conn],
        *,
        ends: Callable[[str], Mapping[int, int]],
        post: Callable[[Note], None],
        read_at: Callable[[], float],
        bark: Callable[[str], None],
        limit_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._owner = owner
        self._connect = connect
        self._ends = ends
        self._post = post
        self._read_at = read_at
        self._bark = bark
        self._limit_s = limit_s
        self._monotonic = monotonic
        self._answer_s = answer_s
        self._patience = Patience(limit_s)
        self._stopping = threading.Event()
        self.state = RUNNING

    def stop(self) -> None:
        """End the thread; the caller joins it."""
        self._stopping.set()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopping.is_set():
            try:
                with self._connect() as conn:
                    while not self._stopping.wait(EVERY_S):
                        self.look(conn)
            except psycopg.Error:
                self._rest(WAITING_POSTGRES)
                self._stopping.wait(EVERY_S)

    def look(self, conn: Conn) -> None:
        """Look once, and bark when something stands still that should not.

        Raises psycopg.Error while PostgreSQL is away.
        """
        now = self._monotonic()
        late = self._patience.late(positions.held(conn, self._owner), now)
        try:
            lagging = self._lagging(late)
        except KafkaUnavailable:
            self._rest(WAITING_KAFKA)
            return
        self._enter(RUNNING)
        stalled = self._unexcused(lagging) if lagging else set()
        self._patience.excuse([place for place in late if place not in stalled], now)
        if stalled:
            self._tell([f"{topic}[{partition}]" for topic, partition in sorted(stalled)])
        elif now - self._read_at() >= self._limit_s:
            self._tell(["the shared reader"])

    def _lagging(self, late: Mapping[Place, int]) -> set[Place]:
        """Return those of these places, with their floors, whose partition goes on above it."""
        ends: dict[Place, int] = {}
        for topic in {topic for topic, _ in late}:
            try:
                found = self._ends(topic)
            except UnknownTopic:
                continue  # deleted: nothing can be read there
            ends |= {(topic, partition): end for partition, end in found.items()}
        return {place for place, floor in late.items() if ends.get(place, 0) > floor}

    def _unexcused(self, places: Collection[Place]) -> set[Place]:
        """Return the places that the dispatcher holds and does not wait with on purpose.

        One that does not answer holds all of them: it hangs itself.
        """
        alibi = Alibi()
        self._post(alibi)
        if not alibi.done.wait(self._answer_s):
            return set(places)
        return set(places) & alibi.owing

    def _tell(self, what: list[str]) -> None:
        metrics.engine_restarts.labels("stalled").inc()
        log.error("engine.stalled", what=what, limit_s=self._limit_s, stacks=_stacks())
        self._stopping.set()
        self._bark("watchdog")

    def _rest(self, state: str) -> None:
        self._patience.rest()
        self._enter(state)

    def _enter(self, state: str) -> None:
        if state != self.state:
            log.info("engine.state_changed", state=state)
        self.state = state
        for each in STATES:
            metrics.engine_state.labels(each).set(each == state)


def _stacks() -> dict[str, str]:
    """Return where every thread of this process is just now; code only, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, str(ident)): "".join(traceback.format_stack(frame))
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - documented for debuggers
    }
