"""The REST doors: which handler a path has, and what every answer has in common."""

import re
from typing import Final

import structlog

from gateway import confluent
from gateway.confluent import Refusal
from gateway.consumers import NoPosition
from gateway.rest import (
    native,
    native_errors,
    native_read,
    v2,
    v2_consumers,
    v2_offsets,
    v2_records,
    v3,
    v3_groups,
    v3_records,
)
from gateway.rest.call import Call, Gone, Headers, Receive, Reply, Scope, Send
from gateway.rest.parts import Parts, charge, identify, limit_headers
from gateway.rest.routing import Found, Methods, Routes
from kafkahub.errors import (
    HubError,
    MethodNotAllowed,
    NotFound,
    TopicNotFound,
)
from kafkahub.kafka.faults import UnknownTopic
from kafkahub.limits import policies
from subscriptions.pull.rows import IllegalState, InstanceExists, InstanceGone

log = structlog.get_logger()

_INSTANCE: Final = "/consumers/{group}/instances/{instance}"
V2: Final = Routes(
    {
        "/brokers": {"GET": v2.brokers},
        "/topics": {"GET": v2.topics},
        "/topics/{topic}": {"GET": v2.topic, "POST": v2.produce},
        "/topics/{topic}/partitions": {"GET": v2.partitions},
        "/topics/{topic}/partitions/{partition}": {"GET": v2.partition, "POST": v2.produce},
        "/topics/{topic}/partitions/{partition}/offsets": {"GET": v2.offsets},
        "/consumers/{group}": {"POST": v2_consumers.create},
        _INSTANCE: {"DELETE": v2_consumers.delete},
        f"{_INSTANCE}/subscription": {
            "GET": v2_consumers.subscription,
            "POST": v2_consumers.subscribe,
            "DELETE": v2_consumers.unsubscribe,
        },
        f"{_INSTANCE}/assignments": {
            "GET": v2_consumers.assignments,
            "POST": v2_consumers.assign,
        },
        f"{_INSTANCE}/records": {"GET": v2_records.records},
        f"{_INSTANCE}/offsets": {"GET": v2_offsets.committed, "POST": v2_offsets.commit},
        f"{_INSTANCE}/positions": {"POST": v2_offsets.seek},
        f"{_INSTANCE}/positions/beginning": {"POST": v2_offsets.seek_beginning},
        f"{_INSTANCE}/positions/end": {"POST": v2_offsets.seek_end},
    }
)
NATIVE_FRONT: Final = "/api/v1/topics/"
NATIVE: Final = Routes(
    {
        "/api/v1/topics/{topic}/records": {"GET": native_read.read, "POST": native.write},
        "/api/v1/topics/{topic}/records:batch": {"POST": native.write_batch},
    }
)
_C: Final = "/v3/clusters/{cluster}"
_T: Final = f"{_C}/topics/{{topic}}"
_G: Final = f"{_C}/consumer-groups"
V3: Final = Routes(
    {
        "/v3/clusters": {"GET": v3.clusters},
        _C: {"GET": v3.cluster},
        f"{_C}/topics": {"GET": v3.topics, "POST": v3.managed},
        _T: {"GET": v3.topic, "PATCH": v3.managed, "DELETE": v3.managed},
        f"{_T}/configs": {"GET": v3.configs},
        f"{_T}/configs:alter": {"POST": v3.managed},
        f"{_T}/configs/{{name}}": {
            "GET": v3.config,
            "PUT": v3.managed,
            "DELETE": v3.managed,
        },
        f"{_T}/partitions": {"GET": v3.partitions},
        f"{_T}/partitions/{{partition}}": {"GET": v3.partition},
        f"{_T}/partitions/{{partition}}/offset": {"GET": v3.offset},
        f"{_T}/records": {"POST": v3_records.records},
        f"{_T}/records:batch": {"POST": v3_records.batch},
        _G: {"GET": v3_groups.groups},
        f"{_G}/{{group}}": {"GET": v3_groups.group},
        f"{_G}/{{group}}/consumers": {"GET": v3_groups.consumers},
        f"{_G}/{{group}}/consumers/{{consumer}}": {"GET": v3_groups.consumer},
        f"{_G}/{{group}}/lags": {"GET": v3_groups.lags},
        f"{_G}/{{group}}/lags/{{topic}}/partitions/{{partition}}": {"GET": v3_groups.lag},
        f"{_G}/{{group}}/lag-summary": {"GET": v3_groups.summary},
    }
)
V3_FRONT: Final = "/v3/"
V3_LONG_FRONT: Final = "/kafka/v3/"
CHARGED: Final = frozenset(
    {v2.produce, native.write, native.write_batch, v3_records.records, v3_records.batch}
)
"""Handlers that charge the topic as well, by themselves."""
TYPED: Final = frozenset({native_read.read, native.write, native.write_batch, v2_records.records})
"""Handlers that choose by ``Accept`` in which form they answer."""


class RestDoor:
    """Answers REST requests; lives on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call = Call(scope, receive, send)
        is_native = call.path.startswith(NATIVE_FRONT)
        try:
            reply = await self._answer(call)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the outermost frame of a request tells all apart
            reply = self._refused(call, error, is_native=is_native)
        if reply.status:
            await call.reply(reply._replace(headers=[*reply.headers, *self._limits(call)]))

    def _limits(self, call: Call) -> Headers:
        """Return what the answer tells of limits, in the words of the door."""
        told = limit_headers(self._parts, call)
        if told and _is_v3(call.path):
            return [*told, *in_v3_words(told)]
        return told

    def _refused(self, call: Call, error: Exception, *, is_native: bool) -> Reply:
        """Return the answer to an error; one that nobody foresaw is a bug, and says so once."""
        if isinstance(error, _FOREIGN):
            error = TopicNotFound() if is_native else _translated(error)
        if not isinstance(error, HubError | Refusal):
            log.error("rest.failed", path=call.path, exc_info=error)
            error = HubError("Something went wrong on our side.")
        if is_native:
            reply = native_errors.refused(self._parts, call, _native(error))
            told = error.headers if isinstance(error, Refusal) else ()
            return reply._replace(headers=[*reply.headers, *told, *_closing(error)])
        return refused(error, b"application/json" if _is_v3(call.path) else v2.MEDIA_TYPE)

    async def _answer(self, call: Call) -> Reply:
        found = find(call.path)
        handler = found.methods.get(call.method)
        if handler is None:
            raise not_allowed(found.methods)
        principal = await identify(self._parts, call)
        if handler not in TYPED:
            confluent.check_accept(call.header(b"accept"))
        if handler not in CHARGED:
            charge(self._parts, principal, call, policies.cost(requests=1, bytes_in=call.length))
        return await handler(self._parts, call, *found.names)


def _is_v3(path: str) -> bool:
    return path.startswith((V3_FRONT, V3_LONG_FRONT))


def find(path: str) -> Found:
    """Return what a path offers. Raises Refusal 404."""
    if "\0" in path:  # no name has one, and no table could be asked for it
        raise confluent.not_found()
    if path.startswith(V3_LONG_FRONT):
        path = path.removeprefix("/kafka")
    if path.startswith(V3_FRONT):
        found = V3.find(path)
        if found is None:
            raise v3.left_out()
        return found
    found = (NATIVE if path.startswith(NATIVE_FRONT) else V2).find(path)
    if found is None:
        raise confluent.not_found()
    return found


def takes(path: str) -> bool:
    """Return whether a path is one of the REST doors."""
    if path.startswith(NATIVE_FRONT):
        return path.rstrip("/").endswith(("/records", "/records:batch"))
    return path.startswith(PREFIXES) or path in ROOTS


PREFIXES: Final = ("/topics/", "/consumers/", "/brokers/", V3_FRONT, V3_LONG_FRONT)
ROOTS: Final = frozenset({"/topics", "/brokers", "/consumers"})
"""First segments of the paths that are ours; anything else is Django's."""


def not_allowed(methods: Methods) -> Refusal:
    """Return the refusal of a method that a path does not serve."""
    allowed = ", ".join(methods)
    headers = ((b"allow", allowed.encode()),)
    return Refusal(405, 405, "HTTP 405 Method Not Allowed", headers)


_STANDING: Final = re.compile(rb'"requests";r=([0-9]+);t=([0-9]+)')
_QUOTA: Final = re.compile(rb'"requests";q=([0-9]+)')


def in_v3_words(told: Headers) -> Headers:
    """Return the limit on requests under the names that v3's clients know."""
    text = b" ".join(value for _, value in told)
    quota, standing = _QUOTA.search(text), _STANDING.search(text)
    if quota is None or standing is None:
        return ()
    return (
        (b"x-ratelimit-limit", quota[1]),
        (b"x-ratelimit-remaining", standing[1]),
        (b"x-ratelimit-reset", standing[2]),
    )


_FOREIGN = (InstanceGone, InstanceExists, IllegalState, UnknownTopic)


def _translated(error: Exception) -> Refusal:
    """Return an error of the layers below in the words of these doors."""
    match error:
        case InstanceGone():
            return confluent.instance_not_found()
        case InstanceExists():
            text = (
                "Consumer with specified consumer ID already exists in the specified consumer"
                " group."
            )
            return Refusal(409, confluent.INSTANCE_EXISTS, text)
        case NoPosition() | IllegalState():
            return confluent.illegal_state(str(error))
        case _:
            return confluent.topic_not_found()


def refused(error: HubError | Refusal, content_type: bytes) -> Reply:
    """Return the answer to what went wrong."""
    told = confluent.describe(error)
    headers = [*told.headers, (b"cache-control", b"no-store")]
    headers += _closing(error)
    return Reply(told.status, told.body, content_type, headers)


def _native(error: HubError | Refusal) -> HubError:
    """Return a refusal of the router in the words of our own form."""
    if isinstance(error, HubError):
        return error
    if error.status == 405:  # noqa: PLR2004 - the one number of its kind
        return MethodNotAllowed(f"Allowed are: {dict(error.headers)[b'allow'].decode()}.")
    return NotFound()


def _closing(error: HubError | Refusal) -> Headers:
    """End the connection where a body was left unread: nothing more may come on it."""
    return [(b"connection", b"close")] if error.status in UNREAD else []


UNREAD: Final = frozenset({408, 413})
