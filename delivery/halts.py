"""Partitions whose log is not the one that their offsets are of: they stand still."""

import queue
import time
from collections.abc import Callable, Iterable

import structlog

from delivery import positions
from delivery.database import Conn
from delivery.inbox import Note, Place, Recreated
from delivery.lanes import RECREATED
from delivery.positions import Claim
from delivery.topic_ids import TopicIds
from kafkahub.kafka.faults import KafkaUnavailable, UnknownTopic

LOOK_S = 2.0
"""Between two looks whether a topic is another one, and whether a person agreed to that."""

log = structlog.get_logger()


class Halts:
    """Finds such partitions, and tells when a person has let one go on.

    Runs   in the consumer's thread; ``suspect`` may be called from any
    Owns   the claims of this engine's partitions
    """

    def __init__(self, topics: TopicIds, post: Callable[[Note], None]) -> None:
        self._topics = topics
        self._post = post
        self._claims: dict[Place, Claim] = {}
        self._suspects: queue.SimpleQueue[Place] = queue.SimpleQueue()
        self._looked_at = 0.0
        self.places: set[Place] = set()
        """What stands still now."""

    def suspect(self, place: Place) -> None:
        """Find out, at the next ``judge``, why the log of a partition is shorter than it was."""
        self._suspects.put(place)

    def claimed(self, claim: Claim, topic_id: str, *, is_short: bool) -> bool:
        """Note a partition as it was claimed; return whether it stands still.

        topic_id  of now; "" where the cluster gives none
        is_short  whether the log ends below the floor, or the lanes stand still for that already
        """
        place = (claim.topic, claim.partition)
        self._claims[place] = claim
        if is_short or _is_other(claim, topic_id):
            self._halt(place, topic_id)
        return place in self.places

    def claim(self, place: Place) -> Claim:
        """Return how a partition of ours was claimed."""
        return self._claims[place]

    def forget(self, places: Iterable[Place]) -> None:
        """Forget partitions that are not ours any more."""
        for place in places:
            self._claims.pop(place, None)
            self.places.discard(place)

    def judge(self) -> None:
        """Halt what was suspected; what Kafka does not tell now is asked again."""
        again = []
        while not self._suspects.empty():
            place = self._suspects.get()
            if place not in self._claims or place in self.places:
                continue
            try:
                self._halt(place, self._topics.ask(place[0]))
            except (KafkaUnavailable, UnknownTopic) as error:
                log.warning("claim.waiting", error=str(error))
                again.append(place)
        for place in again:
            self._suspects.put(place)

    def is_look_due(self) -> bool:
        """Return whether it is time for ``look`` and ``accepted``; starts the time anew."""
        now = time.monotonic()
        is_due = now - self._looked_at >= LOOK_S
        if is_due:
            self._looked_at = now
        return is_due

    def look(self) -> None:
        """Halt partitions whose topic was made again while their offsets went on."""
        for place, claim in self._claims.items():
            known = self._topics.known(place[0])
            if place not in self.places and _is_other(claim, known):
                self._halt(place, known)

    def accepted(self, conn: Conn) -> list[Place]:
        """Return what stands still and may go on: a person's consent raises the epoch."""
        epochs = positions.epochs(conn, self.places)
        return [place for place in self.places if epochs.get(place) != self._claims[place].epoch]

    def _halt(self, place: Place, topic_id: str) -> None:
        is_same = bool(topic_id) and topic_id == self._claims[place].topic_id
        reason = "truncated" if is_same else RECREATED
        self.places.add(place)
        self._post(Recreated(place, reason))
        log.error("partition.recreated", topic=place[0], partition=place[1], reason=reason)


def _is_other(claim: Claim, topic_id: str) -> bool:
    return bool(topic_id and claim.topic_id) and topic_id != claim.topic_id
