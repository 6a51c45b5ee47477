"""``ListTopics``: what the caller may read or write."""

import time
from collections.abc import Callable
from contextlib import suppress

from gateway.grpc_service.front import Call, Front
from gateway.proto.kafkahub.v1 import kafkahub_pb2 as pb
from gateway.topology import Topology
from kafkahub.errors import Forbidden, NotFound, Unavailable
from kafkahub.kafka.faults import UnknownTopic
from kafkahub.limits.policies import ONE_REQUEST
from subscriptions.access import authorize
from subscriptions.grants import Action, Grant, Principal
from subscriptions.live import Snapshot


class Topics:
    """Knows the topics of a principal. Lives on the event loop."""

    def __init__(self, front: Front, snapshot: Callable[[], Snapshot], topology: Topology) -> None:
        self._front = front
        self._snapshot = snapshot
        self._topology = topology

    async def list(self, call: Call[pb.ListTopicsRequest]) -> pb.ListTopicsResponse:
        """Return the topics, by name."""
        self._front.admit(call, ONE_REQUEST)
        snapshot, partner = self._snapshot(), call.principal.partner
        names = {topic for owner, topic, _ in snapshot.grants if owner == partner}
        found = [await self._topic(call.principal, name) for name in sorted(names)]
        return pb.ListTopicsResponse(topics=[one for one in found if one is not None])

    async def _topic(self, principal: Principal, name: str) -> pb.Topic | None:
        read = self._grant(principal, name, "read")
        write = self._grant(principal, name, "write")
        if read is None and write is None:
            return None
        topic = pb.Topic(
            name=name,
            format=self._snapshot().topics[name].format,
            can_read=read is not None and principal.may(name, "read"),
            can_write=write is not None and principal.may(name, "write"),
        )
        if read is None or not read.is_filtered:
            with suppress(Unavailable, UnknownTopic):  # what is granted is known all the same
                known = await self._topology.partitions(name)
                # A topic of the last seconds is not remembered yet.
                topic.partitions = known or len(await self._topology.marks(name))
        return topic

    def _grant(self, principal: Principal, topic: str, action: Action) -> Grant | None:
        snapshot = self._snapshot()
        now_ms = time.time_ns() // 1_000_000
        try:
            return authorize(
                principal,
                topic,
                action,
                grants=snapshot.grants,
                topics=snapshot.topics,
                now_ms=now_ms,
            )
        except (NotFound, Forbidden):
            return None
