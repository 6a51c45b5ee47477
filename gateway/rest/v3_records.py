"""Confluent REST Proxy v3: writing. One report a record, in order, as soon as it is known."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway import confluent, typed
from gateway.confluent import Refusal
from gateway.rest.call import Call, Gone, Reply
from gateway.rest.parts import DOOR, Parts, charge
from gateway.rest.v2 import (
    authorized,
    count_usage,
    hides_offset,
    idempotency_key,
    is_strict,
    replayed,
)
from gateway.rest.v2_records import SENT
from gateway.rest.v3 import check_cluster
from gateway.typed import Read, Splitter, failure, read_record, report
from kafkahub.errors import HubError, Invalid, RateLimited
from kafkahub.kafka.record import Entry, Refused, Result
from kafkahub.limits import policies

QUIET_S: Final = 60.0
"""Longest time without a byte of a streamed body."""
LONGEST_S: Final = 24 * 3_600.0
MULTI_STATUS: Final = 207
END: Final = b"\r\n"
DRAINING = Refusal(503, 50302, "This process is about to end; send the rest again.")
LATE = Refusal(408, 408, f"No byte came for {QUIET_S:g} s.")

_encode = msgspec.json.encode


async def batch(parts: Parts, call: Call, cluster: str, topic: str) -> Reply:
    """Write 1 to 10 records that have names of their own; always 207."""
    await _entered(parts, call, cluster, topic)
    body = await call.body()
    reads = typed.read_batch(body)
    headers = []
    if b"idempotency-key" in call.headers:
        try:
            key = idempotency_key(call.who, call, body)
        except Invalid as error:
            raise confluent.malformed(error.detail) from None
        _charge(parts, call, topic, len(reads))
        given = [one.given for one in reads if not isinstance(one.given, Refusal)]
        done = await parts.once.write(key, topic, given, door=DOOR)
        _count(call, topic, given, () if done.is_replayed else done.results)
        results: Sequence[Result | Refusal] = _whole(reads, done.results)
        headers = [*replayed(done)]
    else:
        _charge(parts, call, topic, len(reads))
        results = await _write(parts, call, topic, reads)
    hides = hides_offset(parts, call.who, topic)
    reports = [
        report(read, result, cluster=cluster, topic=topic, hides=hides)
        for read, result in zip(reads, results, strict=True)
    ]
    told = {
        "successes": [one for one in reports if one["error_code"] == OK],
        "failures": [one for one in reports if one["error_code"] != OK],
    }
    return Reply(MULTI_STATUS, _encode(told), b"application/json", headers)


OK: Final = 200


async def _entered(parts: Parts, call: Call, cluster: str, topic: str) -> None:
    """Check, in this order, cluster, content type, topic and action, then what it costs."""
    check_cluster(parts, cluster)
    kind = call.header(b"content-type")
    if kind and confluent.media_type(kind) != confluent.JSON:
        raise confluent.unsupported(confluent.JSON)
    authorized(parts, call.who, topic)
    cost = policies.cost(requests=1, bytes_in=call.length, topic=topic)
    charge(parts, call.who, call, cost)
    if not await parts.topology.partitions(topic):
        raise confluent.topic_not_found()


def _charge(parts: Parts, call: Call, topic: str, count: int) -> None:
    charge(parts, call.who, call, policies.cost(records_in=count, topic=topic))


async def _write(
    parts: Parts, call: Call, topic: str, reads: Sequence[Read]
) -> Sequence[Result | Refusal]:
    given: list[Entry | Refused] = [
        one.given for one in reads if not isinstance(one.given, Refusal)
    ]
    written = await parts.writer.write(topic, given, door=DOOR) if given else []
    _count(call, topic, given, written)
    return _whole(reads, written)


def _count(
    call: Call, topic: str, given: Sequence[Entry | Refused], written: Sequence[Result]
) -> None:
    size = sum(len(one.value or b"") for one in given if isinstance(one, Entry))
    count_usage(call.who, topic, written, size)


def _whole(reads: Sequence[Read], written: Sequence[Result]) -> list[Result | Refusal]:
    """Return the results of all records, those that could not be read among them."""
    answers = iter(written)
    return [one.given if isinstance(one.given, Refusal) else next(answers) for one in reads]


async def records(parts: Parts, call: Call, cluster: str, topic: str) -> Reply:
    """Write objects that stand one after another; the answer grows with them."""
    await _entered(parts, call, cluster, topic)
    if b"idempotency-key" in call.headers:
        raise confluent.unprocessable("Idempotency-Key: use records:batch.")
    if b"content-length" in call.headers:
        return await _at_once(parts, call, topic)
    await _Exchange(parts, call, topic).run()
    return SENT


async def _at_once(parts: Parts, call: Call, topic: str) -> Reply:
    """Answer a body whose length is known as a whole."""
    is_told = is_strict(call)
    splitter = Splitter()
    texts = splitter.feed(await call.body())
    end = splitter.fault
    if end is None and not splitter.is_between:
        end = confluent.malformed("the last object is cut")
    if not texts:
        raise end or typed.empty_body()
    reports = await reports_of(parts, call, topic, texts)
    reports += [] if end is None else [failure(end)]
    status = _status(reports) if is_told else OK
    body = END.join(_encode(one) for one in reports)
    return Reply(status, body, b"application/json")


def _status(reports: Sequence[dict[str, object]]) -> int:
    """Return the class of the first report that is no success, as an HTTP status."""
    for one in reports:
        number = int(str(one["error_code"]))
        if number != OK:
            return number if number < LEAST_NUMBER else number // 100
    return OK


LEAST_NUMBER: Final = 1_000


async def reports_of(
    parts: Parts, call: Call, topic: str, texts: Sequence[bytes]
) -> list[dict[str, object]]:
    """Write records and return their reports; over the rate each gets a 429."""
    reads = [read_record(text) for text in texts]
    if not reads:
        return []
    try:
        _charge(parts, call, topic, len(reads))
    except RateLimited as error:
        return [{"error_code": 429, "message": error.detail} for _ in reads]
    results = await _write(parts, call, topic, reads)
    hides = hides_offset(parts, call.who, topic)
    return [
        report(read, result, cluster=parts.cluster_id, topic=topic, hides=hides)
        for read, result in zip(reads, results, strict=True)
    ]


class _Exchange:
    """A streamed body and the reports that go out meanwhile.

    What came with one message is written before the next is read: that bounds what is unreported.
    """

    def __init__(self, parts: Parts, call: Call, topic: str) -> None:
        self._parts = parts
        self._call = call
        self._topic = topic
        self._splitter = Splitter()
        self._is_begun = False

    async def run(self) -> None:
        """Serve until the body ends. Raises HubError and Refusal before the first report."""
        deadline_s = time.monotonic() + LONGEST_S
        while True:
            message = await self._next()
            if message is None:
                await self._end(LATE)
                return
            if message["type"] == "http.disconnect":
                raise Gone
            if not await self._take(message.get("body", b"")):
                return
            if not message.get("more_body", False):
                await self._finish()
                return
            if self._parts.is_draining() or time.monotonic() > deadline_s:
                await self._end(DRAINING)
                return

    async def _next(self) -> "dict[str, object] | None":
        try:
            async with asyncio.timeout(QUIET_S):
                return dict(await self._call.receive())
        except TimeoutError:
            return None

    async def _take(self, chunk: object) -> bool:
        """Write what is whole; return False when the exchange is over."""
        texts = self._splitter.feed(chunk if isinstance(chunk, bytes) else b"")
        try:
            reports = await reports_of(self._parts, self._call, self._topic, texts)
        except HubError as error:
            if not self._is_begun:
                raise
            told = confluent.describe(error)
            await self._send(told.body, is_last=True)
            return False
        if reports:
            await self._send(b"".join(_encode(one) + END for one in reports))
        if self._splitter.fault is not None:
            await self._end(self._splitter.fault)
        return self._splitter.fault is None

    async def _finish(self) -> None:
        if not self._splitter.is_between:
            await self._end(confluent.malformed("the last object is cut"))
        elif not self._is_begun:
            raise typed.empty_body()
        else:
            await self._send(b"", is_last=True)

    async def _end(self, refusal: Refusal) -> None:
        if not self._is_begun:
            raise refusal
        await self._send(_encode(failure(refusal)) + END, is_last=True)

    async def _send(self, body: bytes, *, is_last: bool = False) -> None:
        if not self._is_begun:
            self._is_begun = True
            headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
            await self._call.send({"type": "http.response.start", "status": OK, "headers": headers})
        await self._call.send(
            {"type": "http.response.body", "body": body, "more_body": not is_last}
        )
