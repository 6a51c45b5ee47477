"""Confluent REST Proxy v2: reading. An answer is marked as sent once its last byte was taken."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway import confluent
from gateway.consumer_settings import MAX_BYTES, MAX_WAIT_MS
from gateway.consumers import Ask, Handed
from gateway.entries import entries
from gateway.hub.reads import Bounds
from gateway.rest.call import Call, Gone, Reply
from gateway.rest.parts import DOOR, Parts, limit_headers, now_ms
from gateway.rest.v2_bodies import name_of
from gateway.rest.v2_consumers import readable, widen
from gateway.rest.waiting import watched
from kafkahub.kafka.record import Record
from kafkahub.limits import policies
from subscriptions import usage
from subscriptions.access import refuse_spent
from subscriptions.grants import Principal
from subscriptions.pull.rows import Instance

SENT: Final = Reply(0)
"""The handler has answered by itself."""
MAX_DIGITS: Final = 12


class _Bounds(NamedTuple):
    """What a read asks for in its URL."""

    wait_ms: int
    max_bytes: int
    max_records: int


async def records(parts: Parts, call: Call, group: str, name: str) -> Reply:
    """Return what there is, after waiting for it; the handler answers by itself."""
    principal = call.who
    own = name_of(principal, group, name)
    begun = await parts.consumers.begin(own, _receipt(call))
    instance = begun.instance
    embedded: confluent.Embedded = "json" if instance.settings["format"] == "json" else "binary"
    content_type = confluent.read_type(call.header(b"accept"), embedded)
    if not instance.is_subscribed and not instance.manual:
        raise confluent.illegal_state("the instance is neither subscribed nor assigned")
    ask = _asked(parts, call, principal, instance)
    if await widen(parts, principal, own, instance):
        begun = await parts.consumers.begin(own, _receipt(call))
    async with parts.waiting.place(principal.partner), watched(call) as peer:
        handed = await parts.consumers.read(begun, ask, peer.is_gone)
        if handed is None:
            raise Gone
        body = entries(handed.records, embedded, ask.bounds.max_bytes)
        answer = Reply(200, body, content_type.encode(), _told(handed))
        await _send(parts, call, principal, answer, handed.records)
        if handed.lease and not peer.is_gone():
            parts.consumers.sent.note(own, instance.id, handed.seq)
    return SENT


def _asked(parts: Parts, call: Call, principal: Principal, instance: Instance) -> Ask:
    bounds = _read_bounds(call, instance)
    grants = readable(parts, principal, instance)
    for grant in grants.values():
        refuse_spent(grant, now_ms())
    return Ask(
        wait_s=bounds.wait_ms / 1_000,
        min_bytes=int(str(instance.settings["min_bytes"])),
        bounds=Bounds(bounds.max_records, bounds.max_bytes, marks_large=True),
        grants=grants,
        reset=str(instance.settings["reset"]),
    )


async def _send(
    parts: Parts, call: Call, principal: Principal, answer: Reply, shown: Sequence[Record]
) -> None:
    size, count = len(answer.body), len(shown)
    parts.limiter.charge(principal, policies.cost(records_out=count, bytes_out=size))
    used = usage.Used(requests=1, records_out=count, bytes_out=size)
    usage.process_usage().note(principal.partner, DOOR, used, shown[0].topic if count else "")
    told = limit_headers(parts, call)
    await call.reply(answer._replace(headers=[*answer.headers, *told]))


def _told(handed: Handed) -> list[tuple[bytes, bytes]]:
    headers = [(b"kafkahub-read-id", b"%d" % handed.seq), (b"cache-control", b"no-store")]
    if handed.again:
        headers.append((b"kafkahub-redelivered", b"true"))
    for gap, reason in handed.gaps:
        # Of a topic that was made anew nobody knows where the old one ended.
        last = "" if reason == "recreated" else max(gap.stop - 1, gap.start)
        text = f"{gap.topic}/{gap.partition} {gap.start}-{last} {reason}"
        headers.append((b"kafkahub-gap", text.encode()))
    return headers


def _read_bounds(call: Call, instance: Instance) -> _Bounds:
    own_ms = int(str(instance.settings["wait_ms"]))
    asked_ms = _number(call, "timeout")
    wait_ms = own_ms if asked_ms is None or asked_ms <= 0 else min(asked_ms, MAX_WAIT_MS)
    max_bytes = _number(call, "max_bytes")
    max_records = _number(call, "max_records")
    own_records = int(str(instance.settings["max_records"]))
    return _Bounds(
        wait_ms,
        MAX_BYTES if max_bytes is None or max_bytes <= 0 else min(max_bytes, MAX_BYTES),
        own_records if max_records is None or max_records <= 0 else min(max_records, own_records),
    )


def _number(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if text is None or text == "":
        return None
    digits = text.removeprefix("-")
    if not digits.isdecimal() or not digits.isascii() or len(digits) > MAX_DIGITS:
        raise confluent.unprocessable(f"{name}: it is an integer.")
    return int(text)


def _receipt(call: Call) -> int | None:
    text = call.header(b"kafkahub-read-id")
    if text == "":
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > MAX_DIGITS:
        raise confluent.unprocessable("KafkaHub-Read-Id: it is the number of an answer.")
    return int(text)
