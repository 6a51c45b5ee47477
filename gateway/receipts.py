"""Writing under an ``Idempotency-Key``: whatever dies when, a retry leaves each record once."""

import hashlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from gateway.hub.reads import Bounds, Haul
from gateway.produce import Given, Writer
from gateway.topology import Marks
from kafkahub.errors import Fault, IdempotencyInProgress, Invalid, OutcomeUnknown
from kafkahub.kafka.partitioner import partition_of
from kafkahub.kafka.record import Entry, Record, Refused, Result, Written
from subscriptions import receipts
from subscriptions.receipts import HEADER, INDEX_BYTES, SETTLE_S, Key, Plan, Unsettled

P = ParamSpec("P")
R = TypeVar("R")

MAX_KEY = 255
MAX_LOOKED = 200_000
"""Records that one retry looks at; progress is kept for the next one."""
LOOK_S = 10.0
"""Longest time that one retry looks."""
LOOK = Bounds(max_records=5_000, max_bytes=4 * 1024 * 1024)


class Reading(Protocol):
    """What is used of ``gateway.hub.reads``."""

    async def read(self, offsets: Mapping[tuple[str, int], int], bounds: Bounds) -> Haul: ...


class Asking(Protocol):
    """What is used of ``gateway.topology``."""

    async def partitions(self, topic: str) -> int: ...
    async def marks(self, topic: str, *, fresh: bool = False) -> Marks: ...


class Run(Protocol):
    """Runs work that may wait for PostgreSQL, in a thread."""

    async def __call__(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the records; ``is_replayed``: it was found out before."""

    results: Sequence[Result]
    is_replayed: bool


def checked_key(text: str) -> str:
    """Return a key without its outer quotes. Raises Invalid ``invalid_parameter``."""
    key = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not 1 <= len(key) <= MAX_KEY or not all("!" <= character <= "~" for character in key):
        said = f"Idempotency-Key: 1 to {MAX_KEY} visible ASCII characters are needed."
        raise Invalid([Fault("", "invalid_parameter", said, {"header": "Idempotency-Key"})])
    return key


def fingerprint(parts: Iterable[bytes]) -> bytes:
    """Return what tells requests apart; each part is what the client sent."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


class Once:
    """Writes records once a key.

    Lives on the event loop; SQL runs by ``run``, in threads.
    """

    def __init__(self, writer: Writer, reads: Reading, topology: Asking, run: Run) -> None:
        self._writer = writer
        self._reads = reads
        self._topology = topology
        self._run = run

    async def write(self, key: Key, topic: str, given: Sequence[Given], *, door: str) -> Outcome:
        """Write records; the caller has authorised the topic and checked the request.

        Raises IdempotencyKeyReused, IdempotencyInProgress, OutcomeUnknown, Unavailable.
        """
        plan = await self._plan(topic, given)
        begun = await self._run(receipts.begin, key, plan)
        match begun:
            case receipts.Done(results):
                return Outcome(results, is_replayed=True)
            case Unsettled():
                return await self._resolve(key, given, begun, door)
            case receipts.Fresh():
                missing = dict(enumerate(given))
                return await self._send(key, plan, missing, found={}, scanned={}, door=door)

    async def _plan(self, topic: str, given: Sequence[Given]) -> Plan:
        count = max(1, await self._topology.partitions(topic))
        chosen = [_chosen(one, count) for one in given]
        marks = await self._topology.marks(topic)
        floor = {number: marks[number][1] for number in set(chosen) if number in marks}
        return Plan(topic, chosen, floor)

    async def _send(
        self,
        key: Key,
        plan: Plan,
        missing: Mapping[int, Given],
        *,
        found: Mapping[int, Written],
        scanned: Mapping[int, int],
        door: str,
    ) -> Outcome:
        """Write what is missing, and store what is known then."""
        marked = [_marked(one, key, index, plan) for index, one in missing.items()]
        results = await self._writer.write(plan.topic, marked, door=door)
        known: dict[int, Result] = {**found, **dict(zip(missing, results, strict=True))}
        ordered = [known[index] for index in sorted(known)]
        written = {index: one for index, one in known.items() if isinstance(one, Written)}
        left = [one for one in ordered if isinstance(one, Refused) and one.is_retriable]
        if not left:
            await self._run(receipts.finish, key, ordered)
        elif not written and not any(one.is_unknown for one in left):
            await self._run(receipts.forget, key)
        else:
            is_unknown = any(one.is_unknown for one in left)
            await self._run(
                receipts.keep, key, scanned, _told(written), settle_s=SETTLE_S if is_unknown else 0
            )
        return Outcome(ordered, is_replayed=False)

    async def _resolve(
        self, key: Key, given: Sequence[Given], begun: Unsettled, door: str
    ) -> Outcome:
        """Look for what an earlier try wrote, then write the rest."""
        plan = begun.plan
        found = {index: Written(*place) for index, place in begun.found.items()}
        scanned = {number: begun.scanned.get(number, low) for number, low in plan.floor.items()}
        missing = set(range(len(given))) - found.keys()
        try:
            is_whole = not missing or await self._look(key, plan, scanned, found)
        except OutcomeUnknown:
            await self._run(receipts.keep, key, scanned, _told(found))
            raise
        if not is_whole:
            await self._run(receipts.keep, key, scanned, _told(found))
            text = "What the first request wrote is still being looked for."
            raise IdempotencyInProgress(text, retry_after_s=1)
        left = {index: one for index, one in enumerate(given) if index not in found}
        return await self._send(key, plan, left, found=found, scanned=scanned, door=door)

    async def _look(
        self, key: Key, plan: Plan, scanned: dict[int, int], found: dict[int, Written]
    ) -> bool:
        """Read on from ``scanned`` to the end; return whether the end was reached in time."""
        marks = await self._topology.marks(plan.topic, fresh=True)
        ends = {number: marks[number][1] for number in scanned if number in marks}
        deadline_s, looked = time.monotonic() + LOOK_S, 0
        while pending := {one: at for one, at in scanned.items() if at < ends.get(one, 0)}:
            if looked >= MAX_LOOKED or time.monotonic() > deadline_s:
                return False
            haul = await self._reads.read(
                {(plan.topic, number): at for number, at in pending.items()}, LOOK
            )
            if haul.out:
                raise OutcomeUnknown("Kafka no longer has what the first request may have written.")
            for record in haul.records:
                _note(record, key, found)
            looked += len(haul.records)
            scanned |= {number: haul.after[plan.topic, number] for number in pending}
        return True


def _chosen(given: Given, count: int) -> int:
    if not isinstance(given, Entry):
        return 0
    if given.partition is not None:
        return given.partition
    if given.key is None:
        return random.randrange(count)  # noqa: S311 - spreads records, guards nothing
    return partition_of(given.key, count)


def _marked(given: Given, key: Key, index: int, plan: Plan) -> Given:
    if not isinstance(given, Entry):
        return given
    headers = (*given.headers, (HEADER, receipts.mark(key, index)))
    return Entry(given.key, given.value, headers, plan.partitions[index], given.timestamp_ms)


def _note(record: Record, key: Key, found: dict[int, Written]) -> None:
    """Take a record for found when it carries this key's mark; the first of a copy counts."""
    for name, value in record.headers:
        if name == HEADER and value is not None and value[:-INDEX_BYTES] == key.tag:
            index = int.from_bytes(value[-INDEX_BYTES:], "big")
            written = Written(record.partition, record.offset, record.timestamp_ms)
            found.setdefault(index, written)


def _told(found: Mapping[int, Written]) -> dict[int, tuple[int, int, int | None]]:
    return {index: (one.partition, one.offset, one.timestamp_ms) for index, one in found.items()}
