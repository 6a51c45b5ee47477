"""Our own form: one curl writes. The body is the value, and each record has its own answer."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway import batch, native
from gateway.confluent import media_type
from gateway.produce import Given, used_of
from gateway.rest.call import Call, Headers, Reply
from gateway.rest.native_errors import problem_body
from gateway.rest.parts import DOOR, Parts, charge
from gateway.rest.v2 import (
    authorized,
    charge_records,
    count_usage,
    idempotency_key,
    replayed,
)
from kafkahub.errors import (
    Fault,
    Invalid,
    NotAcceptable,
    TopicNotFound,
    UnsupportedMedia,
)
from kafkahub.kafka.record import Refused, Result
from kafkahub.limits import policies
from kafkahub.problems import RETRY_AFTER_S, status_of
from subscriptions import usage
from subscriptions.live import LiveTopic

PARAMETERS: Final = frozenset({"key", "partition", "timestamp", "ack"})
BATCH_PARAMETERS: Final = frozenset({"ack"})
ENQUEUED: Final = "enqueued"
_ANY: Final = frozenset({"", "*/*", "application/*", "application/json"})
NO_STORE: Final = (b"cache-control", b"no-store")
RETRIABLE: Final = frozenset({429, 503})

_encode = msgspec.json.encode


async def write(parts: Parts, call: Call, topic: str) -> Reply:
    """Write the body: one record, or one a line."""
    live = await _entered(parts, call, topic, PARAMETERS)
    single = native.read_single(call.query, call.scope["headers"])
    kind = _content_type(call)
    body = await call.body()
    given = native.read_body(kind, body, single)
    return await _written(parts, call, live, (given, [None] * len(given)), body)


async def write_batch(parts: Parts, call: Call, topic: str) -> Reply:
    """Write many records that have keys, headers or ids of their own."""
    live = await _entered(parts, call, topic, BATCH_PARAMETERS)
    if _content_type(call) != native.JSON:
        raise UnsupportedMedia(f"Only {native.JSON} is taken here.")
    native.read_single({}, call.scope["headers"])
    body = await call.body()
    given, ids = native.read_batch(body, live.format)
    return await _written(parts, call, live, (given, ids), body)


async def _entered(parts: Parts, call: Call, topic: str, parameters: frozenset[str]) -> LiveTopic:
    """Return the topic of a request that may write to it, and charge it."""
    live = authorized(parts, call.who, topic)
    check_names(call, parameters)
    cost = policies.cost(requests=1, bytes_in=call.length, topic=topic)
    charge(parts, call.who, call, cost)
    check_accept(call.header(b"accept"))
    _check_ack(parts, call, topic)
    if not await parts.topology.partitions(topic):
        raise TopicNotFound
    return live


def check_names(call: Call, known: frozenset[str]) -> None:
    """Raise Invalid for parameters that nobody knows."""
    unknown = sorted(call.query.keys() - known)
    if unknown:
        raise Invalid(
            [
                Fault("", "unknown_parameter", f"{name}: there is none.", {"parameter": name})
                for name in unknown
            ]
        )


def check_accept(accept: str) -> None:
    """Raise NotAcceptable where JSON is not among what is accepted."""
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not kinds & _ANY:
        raise NotAcceptable("Answers are application/json.")


def _check_ack(parts: Parts, call: Call, topic: str) -> None:
    ack = call.query.get("ack", "all")
    if ack not in ("all", ENQUEUED):
        raise Invalid([Fault("", "invalid_parameter", "ack: it is all or enqueued.")])
    if ack == ENQUEUED:
        if b"idempotency-key" in call.headers:
            text = "An Idempotency-Key needs ack=all: only then is there something to repeat."
            raise Invalid([Fault("", "invalid_parameter", text)])
        parts.writer.allow_unconfirmed(call.who, topic)


def _content_type(call: Call) -> str:
    return media_type(call.header(b"content-type"))


async def _written(
    parts: Parts,
    call: Call,
    live: LiveTopic,
    batch_in: tuple[Sequence[Given], Sequence[str | None]],
    body: bytes,
) -> Reply:
    given, ids = batch_in
    charge_records(parts, call.who, call, live.name, len(given))
    if call.raw_query and call.query.get("ack") == ENQUEUED:
        return _enqueued(parts, call, live.name, (given, ids), len(body))
    told: list[tuple[bytes, bytes]] = []
    if b"idempotency-key" in call.headers:
        key = idempotency_key(call.who, call, body)
        done = await parts.once.write(key, live.name, given, door=DOOR)
        results = done.results
        told += replayed(done)
    else:
        results = await parts.writer.write(live.name, given, door=DOOR)
    count_usage(call.who, live.name, () if told else results, len(body))
    shown, cursors = await parts.writer.shown(call.who, live.name, results)
    return _report(parts, call, shown, batch.report(shown, ids, cursors), told)


def _enqueued(
    parts: Parts,
    call: Call,
    topic: str,
    batch_in: tuple[Sequence[Given], Sequence[str | None]],
    size: int,
) -> Reply:
    """Answer before Kafka does: what is lost after that is counted, and told to nobody."""
    given, ids = batch_in
    partner, books = call.who.partner, usage.process_usage()
    refused = parts.writer.enqueue(
        topic,
        given,
        door=DOOR,
        settled=lambda late: books.note(partner, DOOR, used_of(late, is_answered=True), topic),
    )
    left = [one for one in refused if one is not None]
    count_usage(call.who, topic, left, size)
    accepted = len(given) - len(left)
    if not accepted:
        return _report(parts, call, left, batch.report(left, ids, [None] * len(left)), [])
    return Reply(202, _encode({"accepted": accepted}), b"application/json", [NO_STORE])


def _report(
    parts: Parts,
    call: Call,
    results: Sequence[Result],
    records: Sequence[dict[str, object]],
    headers: Headers,
) -> Reply:
    failed = [one for one in results if isinstance(one, Refused)]
    counts = {"written": len(results) - len(failed), "failed": len(failed), "records": records}
    told = [NO_STORE, *headers]
    if not failed:
        return Reply(200, _encode(counts), b"application/json", told)
    if len(failed) < len(results):
        return Reply(207, _encode(counts), b"application/json", told)
    first = failed[0]
    status = status_of(first.code)
    if status in RETRIABLE:
        told.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    outcome = "unknown" if any(one.is_unknown for one in failed) else "not_written"
    members = problem_body(parts, call, status, first.code, first.text)
    body = _encode({**members, "outcome": outcome, **counts})
    return Reply(status, body, b"application/problem+json", told)
