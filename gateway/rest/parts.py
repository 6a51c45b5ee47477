"""What the REST doors of a process share, and the steps that every request of theirs takes."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from gateway.consumers import Consumers
from gateway.hub.groups import RecordId
from gateway.hub.reads import Reads
from gateway.produce import Writer
from gateway.receipts import Once, Run
from gateway.rest.call import Call, Headers
from gateway.rest.waiting import Waiting
from gateway.topology import Topology
from kafkahub import clock
from kafkahub.crypto import KeyRing
from kafkahub.dispatch import WHO
from kafkahub.errors import Forbidden, NotFound, TopicNotFound, Unauthenticated
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from kafkahub.limits.policies import Cost
from subscriptions.access import authorize
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import apart, chain, verifiers
from subscriptions.grants import ACTIONS, Action, Grant, Principal
from subscriptions.live import LiveTopic, Snapshot

P = ParamSpec("P")
R = TypeVar("R")

DOOR: Final = "rest"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a request needs, all of it for the life of the process.

    snapshot    the newest one
    database    threads in which SQL runs: never on the event loop
    base_url    what names us in CloudEvents, without a slash at its end
    public_url  where REST is reached from outside, likewise
    cluster_id  how v3 calls the cluster; not Kafka's own id
    ring        keys that seal cursors
    record_id   the id by which a partner drops copies of a record
    """

    snapshot: Callable[[], Snapshot]
    writer: Writer
    reads: Reads
    topology: Topology
    limiter: Limiter
    database: Executor
    run: Run
    base_url: str
    public_url: str
    cluster_id: str
    consumers: Consumers
    once: Once
    waiting: Waiting
    ring: KeyRing
    record_id: RecordId
    is_draining: Callable[[], bool]


def runner(database: Executor) -> Run:
    """Return what runs work in these threads, which may wait for PostgreSQL."""

    async def run(work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            database, apart.closing_lost, lambda: work(*args, **kwargs)
        )

    return run


async def identify(parts: Parts, call: Call) -> Principal:
    """Return who calls, and charge the request to them.

    Raises Unauthenticated, KeyExpired, Invalid, RateLimited, Unavailable.
    """
    authorization = call.headers.get(b"authorization")
    agent = call.header(b"user-agent")
    header = None if authorization is None else authorization.decode("latin-1")
    certificate = call.header(b"client-cert")
    principal = chain.glance(header, call.address, agent, certificate)
    if principal is None:
        principal = await _authenticate(parts, call, header, agent, certificate)
    call.principal = principal
    call.scope[WHO] = principal
    return principal


async def _authenticate(
    parts: Parts, call: Call, header: str | None, agent: str, certificate: str
) -> Principal:
    try:
        _refuse_misplaced(call, header)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            parts.database, apart.authenticate, header, call.address, agent, certificate
        )
    except Unauthenticated:
        refusal = parts.limiter.admit(None, call.address, policies.ONE_REQUEST)
        if refusal is not None:
            raise refusal.error() from None
        raise


def _refuse_misplaced(call: Call, header: str | None) -> None:
    """Refuse a credential in the URL, with a hint instead of the usual text."""
    if header is None and any(front.encode() in call.raw_query for front in verifiers.FRONTS):
        text = "A credential must not be in a URL; send it in the Authorization header."
        raise Unauthenticated(text)


def charge(parts: Parts, principal: Principal, call: Call, cost: Cost) -> None:
    """Charge what a request costs. Raises RateLimited, and then nothing is charged."""
    refusal = parts.limiter.admit(principal, call.address, cost)
    if refusal is not None:
        raise refusal.error()
    call.topic = cost.topic


def limit_headers(parts: Parts, call: Call) -> Headers:
    """Return what an answer to a known credential tells of its limits; nothing to others."""
    if call.principal is None:
        return ()
    told = parts.limiter.headers(call.principal, _told(call.topic))
    return [(_LOWER[name], value.encode()) for name, value in told]


_LOWER: Final = {"RateLimit-Policy": b"ratelimit-policy", "RateLimit": b"ratelimit"}


@functools.lru_cache(maxsize=10_000)
def _told(topic: str) -> Cost:
    """Return what an answer tells of: requests, on a topic where it is about one."""
    return policies.cost(requests=1, topic=topic)


def now_ms() -> int:
    """Return Unix time in ms."""
    return int(clock.now().timestamp() * 1000)


def granted(parts: Parts, principal: Principal, topic: str, action: Action) -> Grant:
    """Return the grant for an action on a topic.

    Raises TopicNotFound alike for unknown and ungranted topics, ActionNotGranted, and Forbidden
    where only the credential's scope is missing.
    """
    snapshot = parts.snapshot()
    try:
        grant = authorize(
            principal,
            topic,
            action,
            grants=snapshot.grants,
            topics=snapshot.topics,
            now_ms=now_ms(),
        )
    except NotFound:
        raise TopicNotFound from None
    if not principal.may(topic, action):
        raise Forbidden(f"The credential has no scope topic:{topic}:{action}.")
    return grant


def visible(parts: Parts, principal: Principal) -> Mapping[str, LiveTopic]:
    """Return the topics of which the principal has any grant, by name."""
    snapshot = parts.snapshot()
    found = {}
    for grant in snapshot.grants.values():
        topic = grant.topic
        if grant.partner == principal.partner and topic not in found and topic in snapshot.topics:
            try:
                granted(parts, principal, topic, grant.action)
            except (NotFound, Forbidden):
                continue
            found[topic] = snapshot.topics[topic]
    return dict(sorted(found.items()))


def any_grant(parts: Parts, principal: Principal, topic: str) -> LiveTopic:
    """Return a topic of which the principal has any grant. Raises TopicNotFound."""
    for action in ACTIONS:
        try:
            granted(parts, principal, topic, action)
        except (NotFound, Forbidden):
            continue
        return parts.snapshot().topics[topic]
    raise TopicNotFound


def actor_of(call: Call, principal: Principal) -> Actor:
    """Return who acts, for the audit log."""
    return Actor(
        kind=ActorKind.KEY,
        id=principal.id,
        partner=principal.partner,
        address=call.address or None,
        request_id=call.header(b"x-request-id"),
    )
