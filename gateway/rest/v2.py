"""Confluent REST Proxy v2, its metadata and produce; consumers are in ``v2_consumers``."""

from collections.abc import Mapping, Sequence

import msgspec

from gateway import confluent, envelopes, receipts
from gateway.produce import used_of
from gateway.rest.call import Call, Headers, Reply
from gateway.rest.parts import DOOR, Parts, any_grant, charge, granted, visible
from kafkahub.errors import Invalid, NotFound, TopicNotFound, Unavailable
from kafkahub.kafka.record import Refused, Result
from kafkahub.limits import policies
from subscriptions import usage
from subscriptions.grants import Principal
from subscriptions.live import LiveTopic
from subscriptions.receipts import Key, key_of

MEDIA_TYPE = b"application/vnd.kafka.v2+json"
MAX_INT32 = 2**31 - 1
NO_STORE = (b"cache-control", b"no-store")

_encode = msgspec.json.encode


def reply(body: object, status: int = 200) -> Reply:
    """Return an answer in the media type of v2."""
    return Reply(status, _encode(body), MEDIA_TYPE)


async def brokers(parts: Parts, call: Call) -> Reply:
    return reply({"brokers": [0]})


async def topics(parts: Parts, call: Call) -> Reply:
    principal = call.who
    return reply(list(visible(parts, principal)))


async def topic(parts: Parts, call: Call, name: str) -> Reply:
    principal = call.who
    try:
        count = await partitions_of(parts, principal, name)
    except (confluent.Refusal, TopicNotFound):
        text = "This server does not host this topic-partition."
        raise confluent.Refusal(404, confluent.INSTANCE_NOT_FOUND, text) from None
    configs = await parts.topology.configs(name)
    shown = [_partition(number) for number in range(count)]
    return reply({"name": name, "configs": configs, "partitions": shown})


async def partitions(parts: Parts, call: Call, name: str) -> Reply:
    principal = call.who
    count = await partitions_of(parts, principal, name)
    return reply([_partition(number) for number in range(count)])


async def partition(parts: Parts, call: Call, name: str, text: str) -> Reply:
    principal = call.who
    count = await partitions_of(parts, principal, name)
    return reply(_partition(checked_partition(text, count)))


async def offsets(parts: Parts, call: Call, name: str, text: str) -> Reply:
    principal = call.who
    await partitions_of(parts, principal, name)
    refuse_filtered(parts, principal, name)
    marks = await parts.topology.marks(name, fresh=True)
    low, high = marks[checked_partition(text, len(marks))]
    return reply({"beginning_offset": low, "end_offset": high})


async def partitions_of(parts: Parts, principal: Principal, name: str) -> int:
    """Return how many partitions a visible topic has. Raises Refusal 40401."""
    any_grant(parts, principal, name)
    count = await parts.topology.partitions(name)
    if not count:
        raise confluent.topic_not_found()
    return count


def refuse_filtered(parts: Parts, principal: Principal, name: str) -> None:
    """Refuse to tell offsets where a grant hides records: they would count what is hidden."""
    if granted(parts, principal, name, "read").is_filtered:
        text = f"The grant on {name} hides records; read GET /api/v1/topics/{name}/records."
        raise confluent.Refusal(403, 40301, text)


def checked_partition(text: str, count: int) -> int:
    """Return a partition of the URL. Raises Refusal: 404 for no number, 40402 for none there."""
    if not text.isdecimal() or not text.isascii():
        raise confluent.not_found()
    number = int(text) if len(text) <= len(str(MAX_INT32)) else MAX_INT32
    if number >= count:
        raise confluent.partition_not_found()
    return number


def _partition(number: int) -> Mapping[str, object]:
    replica = {"broker": 0, "leader": True, "in_sync": True}
    return {"partition": number, "leader": 0, "replicas": [replica]}


async def produce(parts: Parts, call: Call, name: str, text: str | None = None) -> Reply:
    """Write records; the order is that of the checks, cheapest first, and nothing is half done."""
    principal = call.who
    embedded = confluent.produced(call.header(b"content-type"))
    strict = is_strict(call)
    authorized(parts, principal, name)
    charge(parts, principal, call, policies.cost(requests=1, bytes_in=call.length, topic=name))
    count = await parts.topology.partitions(name)
    if not count:
        raise confluent.topic_not_found()
    number = None if text is None else checked_partition(text, count)
    body = await call.body()
    given = envelopes.read_v2(body, embedded, number)
    hides = hides_offset(parts, principal, name)
    key = call.headers.get(b"idempotency-key")
    charge_records(parts, principal, call, name, len(given))
    if key is None:
        results: Sequence[Result] = await parts.writer.write(name, given, door=DOOR)
        told: Headers = ()
    else:
        done = await parts.once.write(_key(principal, call, body), name, given, door=DOOR)
        results = done.results
        told = replayed(done)
    count_usage(principal, name, results if not told else (), len(body))
    return answered(results, hides=hides, strict=strict)._replace(headers=told)


def _key(principal: Principal, call: Call, body: bytes) -> Key:
    try:
        return idempotency_key(principal, call, body)
    except Invalid as error:
        raise confluent.malformed(error.detail) from None


def idempotency_key(principal: Principal, call: Call, body: bytes) -> Key:
    """Return the request's ``Idempotency-Key`` with what was asked under it. Raises Invalid."""
    key = receipts.checked_key(call.header(b"idempotency-key"))
    asked = receipts.fingerprint(
        (
            call.method.encode(),
            call.path.encode(),
            call.raw_query,
            call.headers.get(b"content-type", b""),
            body,
        )
    )
    return key_of(principal.partner, key, asked)


def replayed(done: receipts.Outcome) -> Headers:
    """Return the header that marks a stored answer."""
    return [(b"idempotent-replayed", b"true")] if done.is_replayed else []


def authorized(parts: Parts, principal: Principal, name: str) -> LiveTopic:
    """Return a topic that the principal may write to. Raises TopicNotFound, Forbidden."""
    try:
        return parts.writer.authorize(principal, name)
    except NotFound:
        raise TopicNotFound from None


def answered(results: Sequence[Result], *, hides: bool, strict: bool) -> Reply:
    """Return the answer to a produce request. Raises Unavailable where Kafka took nothing."""
    refuse_untaken(results)
    status, body = envelopes.answer_v2(results, hides_offset=hides, strict=strict)
    return Reply(status, body, MEDIA_TYPE)


def refuse_untaken(results: Sequence[Result]) -> None:
    """Raise Unavailable where certainly nothing was written, for want of Kafka."""
    for result in results:
        if not isinstance(result, Refused) or not result.is_retriable or result.is_unknown:
            return
    raise Unavailable("Kafka does not take records right now; nothing was written.")


def charge_records(parts: Parts, principal: Principal, call: Call, name: str, count: int) -> None:
    """Charge the records of a request as a whole, before any is sent. Raises RateLimited."""
    charge(parts, principal, call, policies.cost(records_in=count, topic=name))


def count_usage(principal: Principal, name: str, results: Sequence[Result], size: int) -> None:
    """Count a produce request for the partner's usage.

    results  what became of its records just now; () where that was told before
    size     bytes of the request
    """
    used = used_of(results)
    used.requests, used.bytes_in = 1, size
    usage.process_usage().note(principal.partner, DOOR, used, name)


def hides_offset(parts: Parts, principal: Principal, name: str) -> bool:
    """Return whether offsets of written records are kept from the partner."""
    return parts.writer.hides(principal, name)


def is_strict(call: Call) -> bool:
    """Return ``?strict=``. Raises Refusal 422 for another value than true and false."""
    if not call.raw_query:
        return False
    value = call.query.get("strict", "false")
    if value not in ("true", "false"):
        raise confluent.unprocessable("strict: it is true or false.")
    return value == "true"
