"""The use case IN: records of a partner to Kafka, the same at every door.

A door parses, calls ``authorize`` and ``write``, and renders; it decides nothing about a record.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from kafkahub.errors import Forbidden, NotFound, TopicNotFound
from kafkahub.failpoints import failpoint
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from kafkahub.kafka.producer import Batch
from kafkahub.kafka.record import Entry, Refused, Result, Written
from kafkahub.observability import metrics
from subscriptions.access import authorize, refuse_spent
from subscriptions.cursor import NO_EPOCH, Cursor, Prepared, TopicPosition, tag
from subscriptions.grants import ACTIONS, Grant, Principal
from subscriptions.live import LiveTopic, Snapshot

Given = Entry | Refused
"""A record to write, or why it alone will not be written."""

ENDS_S = 5.0
"""How long the ends of a topic's partitions are good enough for a cursor behind a record."""
ASK_S = 1.0
"""Longest wait for them: a report without cursors is worth more than a late one."""
ASK_AGAIN_S = 30.0
"""After no answer nobody waits for the topic's ends again for so long."""

log = structlog.get_logger()
produced_records = metrics.counter(
    "produced_records_total",
    "Records that partners sent, by what became of them.",
    ["door", "outcome"],
)


class Giver(Protocol):
    """What is used of the producer."""

    def produce_all(self, topic: str, entries: Sequence[Entry]) -> Batch: ...
    def close(self) -> None: ...


class Ends(Protocol):
    """What is asked about topics, see ``kafkahub.kafka.admin``; every call may block."""

    def cluster_id(self, deadline_s: float) -> str: ...
    def topic_id(self, topic: str, deadline_s: float) -> str: ...
    def watermarks(self, topic: str, deadline_s: float) -> dict[int, tuple[int, int]]: ...


HandOver = Callable[[Sequence[Batch]], None]


class Writer:
    """Writes records for all doors of a process.

    Runs   on the event loop of the first record; the producer hands over from its thread
    Owns   one producer, made at the first record, and one thread that asks where partitions end
    Takes  what fits the producer's queue; the rest is refused as ``unavailable``, not queued here
    Ends   ``close``, which waits for the answers that are out

    current        the newest snapshot
    make_producer  given what takes complete batches, returns a producer
    """

    def __init__(
        self,
        current: Callable[[], Snapshot],
        make_producer: Callable[[HandOver], Giver],
        ends: Ends,
    ) -> None:
        self._current = current
        self._make_producer = make_producer
        self._producer: Giver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[Batch, asyncio.Future[None]] = {}
        self._cursors = Cursors(ends)

    def authorize(self, principal: Principal, topic: str) -> LiveTopic:
        """Return the topic when the principal may write to it.

        Raises TopicNotFound, ActionNotGranted, and Forbidden where only the scope is missing.
        """
        snapshot = self._current()
        now_ms = time.time_ns() // 1_000_000
        try:
            grant = authorize(
                principal,
                topic,
                "write",
                grants=snapshot.grants,
                topics=snapshot.topics,
                now_ms=now_ms,
            )
        except NotFound:
            raise TopicNotFound from None
        if not principal.may(topic, "write"):
            raise Forbidden(f"The credential lacks the scope topic:{topic}:write.")
        refuse_spent(grant, now_ms)
        return snapshot.topics[topic]

    async def write(self, topic: str, given: Sequence[Given], *, door: str) -> list[Result]:
        """Write records in their order; return what became of each, in the same order.

        The caller has authorised the topic. A caller that is cancelled learns nothing; what was
        given to Kafka is written all the same.
        """
        entries = [one for one in given if isinstance(one, Entry)]
        answers = iter(await self._answers(topic, entries) if entries else ())
        results = [next(answers) if isinstance(one, Entry) else one for one in given]
        _count(results, door)
        return results

    async def cursors(self, topic: str, results: Sequence[Result]) -> list[str | None]:
        """Return for each written record the cursor that reads on after it; else None.

        None also while Kafka does not tell where the other partitions end.
        """
        if not any(isinstance(one, Written) for one in results):
            return [None] * len(results)
        return await self._cursors.after(topic, results)

    async def shown(
        self, principal: Principal, topic: str, results: Sequence[Result]
    ) -> tuple[Sequence[Result], Sequence[str | None]]:
        """Return what became of records as the principal may know it, and the cursors behind.

        Partition and offset are -1 where they would count what a grant hides.
        """
        cursors: Sequence[str | None] = [None] * len(results)
        if not self.seals(principal, topic):
            cursors = await self.cursors(topic, results)
        if self.hides(principal, topic):
            results = [_hidden(one) for one in results]
        return results, cursors

    def hides(self, principal: Principal, topic: str) -> bool:
        """Return whether partitions and offsets of what was written are kept from the partner."""
        return any(grant.is_filtered for grant in self._grants(principal, topic))

    def seals(self, principal: Principal, topic: str) -> bool:
        """Return whether cursors behind written records must not be in the open."""
        return any(grant.seals for grant in self._grants(principal, topic))

    def _grants(self, principal: Principal, topic: str) -> list[Grant]:
        grants = self._current().grants
        found = [grants.get((principal.partner, topic, action)) for action in ACTIONS]
        return [grant for grant in found if grant is not None]

    async def close(self) -> None:
        """Wait for the answers that are out, then end producer and threads."""
        self._cursors.close()
        if self._producer is not None:
            await asyncio.to_thread(self._producer.close)

    async def _answers(self, topic: str, entries: Sequence[Entry]) -> Sequence[Result]:
        if self._producer is None or self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._producer = self._make_producer(self._hand_over)
        batch = self._producer.produce_all(topic, entries)
        failpoint("produce.after_send")
        # Resolved in a later turn of this loop at the soonest, also when it is complete already.
        answered = self._waiting[batch] = self._loop.create_future()
        try:
            await answered
        finally:
            self._waiting.pop(batch, None)
        failpoint("produce.after_ack")
        return batch.results

    def _hand_over(self, batches: Sequence[Batch]) -> None:
        """Called by the producer's thread, or within ``produce_all``."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, batches)

    def _resolve(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            answered = self._waiting.get(batch)
            if answered is not None and not answered.done():
                answered.set_result(None)


def _hidden(result: Result) -> Result:
    return Written(-1, -1, result.timestamp_ms) if isinstance(result, Written) else result


_counted = functools.lru_cache(maxsize=100)(produced_records.labels)
"""The counter of some labels; looking one up costs more than counting."""


def _count(results: Sequence[Result], door: str) -> None:
    if len(results) == 1 and type(results[0]) is Written:  # by far the commonest
        _counted(door, "written").inc()
        return
    written = sum(isinstance(one, Written) for one in results)
    unknown = sum(isinstance(one, Refused) and one.is_unknown for one in results)
    for outcome, count in (
        ("written", written),
        ("unknown", unknown),
        ("not_written", len(results) - written - unknown),
    ):
        if count:
            _counted(door, outcome).inc(count)


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
