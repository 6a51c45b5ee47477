"""The REST doors: which handler a path has, and what every answer has in common."""

from typing import Final

import structlog

from gateway import confluent
from gateway.confluent import Refusal
from gateway.consumers import NoPosition
from gateway.rest import v2, v2_consumers, v2_offsets, v2_records
from gateway.rest.call import Call, Gone, Receive, Reply, Scope, Send
from gateway.rest.parts import Parts, charge, identify
from gateway.rest.routing import Methods, Routes
from kafkahub.errors import HubError, Invalid, Unauthenticated
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


class RestDoor:
    """Answers REST requests; lives on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        call = Call(scope, receive, send)
        try:
            reply = await self._answer(call)
        except Gone:
            return
        except (HubError, Refusal) as error:
            reply = refused(error)
        except _FOREIGN as error:
            reply = refused(_translated(error))
        except Exception:  # the outermost frame of a request: it is a bug, and says so once
            log.exception("rest.failed", path=call.path)
            reply = refused(Refusal(500, 500, "Internal Server Error"))
        if reply.status:
            await call.reply(reply)

    async def _answer(self, call: Call) -> Reply:
        found = V2.find(call.path)
        if found is None:
            raise confluent.not_found()
        handler = found.methods.get(call.method)
        if handler is None:
            raise not_allowed(found.methods)
        principal = await identify(self._parts, call)
        if handler is not v2.produce:  # which charges its topic as well
            charge(self._parts, principal, call, policies.cost(requests=1, bytes_in=call.length))
        return await handler(self._parts, call, *found.names)


def takes(path: str) -> bool:
    """Return whether a path is one of the REST doors."""
    return path.startswith(PREFIXES) or path in ROOTS


PREFIXES: Final = ("/topics/", "/consumers/", "/brokers/")
ROOTS: Final = frozenset({"/topics", "/brokers", "/consumers"})
"""First segments of the paths that are ours; anything else is Django's."""


def not_allowed(methods: Methods) -> Refusal:
    """Return the refusal of a method that a path does not serve."""
    allowed = ", ".join(methods)
    headers = ((b"allow", allowed.encode()),)
    return Refusal(405, 405, "HTTP 405 Method Not Allowed", headers)


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


def refused(error: HubError | Refusal) -> Reply:
    """Return the answer to what went wrong."""
    told = confluent.describe(error)
    headers = [*told.headers, (b"cache-control", b"no-store")]
    if _ends_connection(error):
        headers.append((b"connection", b"close"))
    return Reply(told.status, told.body, v2.MEDIA_TYPE, headers)


def _ends_connection(error: HubError | Refusal) -> bool:
    """Return whether a body was left unread, so that nothing more may come on the connection."""
    return not isinstance(error, Refusal | Invalid | Unauthenticated) and error.status in UNREAD


UNREAD: Final = frozenset({408, 413})
