"""Cursors that read on behind records that were just written."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from kafkahub.kafka.record import Result, Written
from subscriptions.cursor import NO_EPOCH, Cursor, Prepared, TopicPosition, tag

ENDS_S = 5.0
"""How long the ends of a topic's partitions are good enough for a cursor behind a record."""
ASK_S = 1.0
"""Longest wait for them: a report without cursors is worth more than a late one."""
ASK_AGAIN_S = 30.0
"""After no answer nobody waits for the topic's ends again for so long."""

log = structlog.get_logger()


class Ends(Protocol):
    """What is asked about topics, see ``kafkahub.kafka.admin``; every call may block."""

    def cluster_id(self, deadline_s: float) -> str: ...
    def topic_id(self, topic: str, deadline_s: float) -> str: ...
    def watermarks(self, topic: str, deadline_s: float) -> dict[int, tuple[int, int]]: ...


@dataclass(slots=True)
class _Topic:
    """Where the partitions of a topic ended a moment ago; ``position`` is None when unknown."""

    position: Cursor | None
    stale_s: float
    prepared: dict[int, Prepared] = field(default_factory=dict)

    def token(self, topic: str, written: Written) -> str | None:
        if self.position is None:
            return None
        prepared = self.prepared.get(written.partition)
        if prepared is None:
            try:
                prepared = Prepared(self.position, tag(topic), written.partition)
            except ValueError:
                return None  # a partition newer than what was asked
            self.prepared[written.partition] = prepared
        return prepared.token(written.timestamp_ms or 0, written.offset + 1)


class Cursors:
    """Cursors behind written records.

    A cursor names the next offset of every partition, so the ends of the others are asked for,
    once in ``ENDS_S`` and topic, in a thread. Used on the event loop only.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="produce-ends")
        self._topics: dict[str, _Topic] = {}
        self._asked: dict[str, asyncio.Future[_Topic]] = {}

    async def after(self, topic: str, results: Sequence[Result]) -> list[str | None]:
        """Return a cursor for each result that is a written record."""
        known = self._topics.get(topic)
        if known is None or time.monotonic() >= known.stale_s:
            known = await self._ask(topic)
        return [known.token(topic, one) if isinstance(one, Written) else None for one in results]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, topic: str) -> _Topic:
        asked = self._asked.get(topic)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = self._asked[topic] = loop.run_in_executor(self._pool, self._look, topic)
            asked.add_done_callback(lambda _: self._asked.pop(topic))
        # Shielded: other callers wait for the same answer.
        known = self._topics[topic] = await asyncio.shield(asked)
        return known

    def _look(self, topic: str) -> _Topic:
        """Run in the thread."""
        try:
            cluster = self._ends.cluster_id(ASK_S)
            marks = self._ends.watermarks(topic, ASK_S)
            epoch = self._epoch(topic)
        except (KafkaUnavailable, UnknownTopic) as error:
            log.warning("produce.ends_unknown", topic=topic, reason=str(error))
            return _Topic(None, time.monotonic() + ASK_AGAIN_S)
        offsets = {partition: high for partition, (_, high) in marks.items()}
        position = TopicPosition(tag(topic), epoch, offsets)
        return _Topic(Cursor(tag(cluster), 0, (position,)), time.monotonic() + ENDS_S)

    def _epoch(self, topic: str) -> bytes:
        try:
            return tag(self._ends.topic_id(topic, ASK_S))
        except NoAdminApi:
            return NO_EPOCH
