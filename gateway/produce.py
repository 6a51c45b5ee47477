"""The use case IN: records of a partner to Kafka, the same at every door.

A door parses, calls ``authorize`` and ``write``, and renders; it decides nothing about a record.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.written_cursors import Cursors, Ends
from kafkahub.errors import ActionNotGranted, Forbidden, NotFound, TopicNotFound
from kafkahub.failpoints import failpoint
from kafkahub.kafka.producer import UNANSWERED, Batch
from kafkahub.kafka.record import Entry, Refused, Result, Written
from kafkahub.observability import metrics
from subscriptions.access import authorize, refuse_spent
from subscriptions.grants import ACTIONS, Grant, Principal
from subscriptions.live import LiveTopic, Snapshot
from subscriptions.usage import Used

Given = Entry | Refused
"""A record to write, or why it alone will not be written."""

produced_records = metrics.counter(
    "produced_records_total",
    "Records that partners sent, by what became of them.",
    ["door", "outcome"],
)


class Giver(Protocol):
    """What is used of the producer."""

    def produce_all(self, topic: str, entries: Sequence[Entry]) -> Batch: ...
    def close(self) -> None: ...


HandOver = Callable[[Sequence[Batch]], None]
Settled = Callable[[Sequence[Result]], None]


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

    def allow_unconfirmed(self, principal: Principal, topic: str) -> None:
        """Let a principal write without Kafka's word. Raises ActionNotGranted."""
        grant = self._current().grants.get((principal.partner, topic, "write"))
        if grant is None or not grant.allow_unconfirmed:
            text = f"The grant on {topic} allows no answer before Kafka has the records."
            raise ActionNotGranted(text)

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

    def enqueue(
        self, topic: str, given: Sequence[Given], *, door: str, settled: Settled
    ) -> list[Refused | None]:
        """Give records to Kafka and wait for nothing; return why each was not taken, or None.

        settled  called later on the event loop, with what became of all that were taken
        """
        entries = [one for one in given if isinstance(one, Entry)]
        refused = [one for one in given if isinstance(one, Refused)]
        _count(refused, door)
        if not entries:
            return list(refused)
        batch, answered = self._give(topic, entries)
        early = [_early(one) for one in batch.results]
        _count([one for one in early if one is not None], door)

        def tell(_: asyncio.Future[None]) -> None:
            self._waiting.pop(batch, None)
            pairs = zip(batch.results, early, strict=True)
            if results := [one for one, refused in pairs if refused is None]:
                _count(results, door, is_answered=True)
                settled(results)

        answered.add_done_callback(tell)
        rest = iter(early)
        return [next(rest) if isinstance(one, Entry) else one for one in given]

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
        return any(grant.hides_offsets for grant in self._grants(principal, topic))

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
        # Nobody will answer for the rest: whoever waits learns that it is unknown, and what was
        # answered before is counted as lost.
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_result(None)
        await asyncio.sleep(0)  # the turn in which it is counted

    async def _answers(self, topic: str, entries: Sequence[Entry]) -> Sequence[Result]:
        batch, answered = self._give(topic, entries)
        try:
            await answered
        finally:
            self._waiting.pop(batch, None)
        failpoint("produce.after_ack")
        return batch.results

    def _give(self, topic: str, entries: Sequence[Entry]) -> tuple[Batch, "asyncio.Future[None]"]:
        """Give records to the producer; return them with what is set once all are answered."""
        if self._producer is None or self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._producer = self._make_producer(self._hand_over)
        batch = self._producer.produce_all(topic, entries)
        failpoint("produce.after_send")
        # Resolved in a later turn of this loop at the soonest, also when it is complete already.
        answered = self._waiting[batch] = self._loop.create_future()
        return batch, answered

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


def _count(results: Sequence[Result], door: str, *, is_answered: bool = False) -> None:
    if len(results) == 1 and type(results[0]) is Written:  # by far the commonest
        _counted(door, "written").inc()
        return
    used = used_of(results, is_answered=is_answered)
    for outcome, count in (
        ("written", used.records_in),
        ("lost", used.records_lost),
        ("unknown", 0 if is_answered else used.records_unknown),
        ("not_written", 0 if is_answered else used.records_failed),
    ):
        if count:
            _counted(door, outcome).inc(count)


def used_of(results: Sequence[Result], *, is_answered: bool = False) -> Used:
    """Return what became of records, as it is counted for their partner.

    is_answered  they were answered before, so that those that failed are lost
    """
    if len(results) == 1 and type(results[0]) is Written:  # by far the commonest
        return Used(records_in=1)
    written = sum(isinstance(one, Written) for one in results)
    unknown = sum(isinstance(one, Refused) and one.is_unknown for one in results)
    failed = len(results) - written - unknown
    return Used(
        records_in=written,
        records_failed=failed,
        records_unknown=unknown,
        records_lost=failed + unknown if is_answered else 0,
    )


def _early(result: Result) -> Refused | None:
    """Return why a record that was just given is not taken; None while nobody knows more."""
    return result if isinstance(result, Refused) and result is not UNANSWERED else None
