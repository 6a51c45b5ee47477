"""Confluent REST Proxy v3: the partner's own pull groups, with how far behind they are."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from gateway import confluent
from gateway.confluent import Refusal
from gateway.rest.call import Call, Reply
from gateway.rest.parts import Parts, granted
from gateway.rest.v2 import checked_partition, refuse_filtered
from gateway.rest.v3 import Paths, check_cluster, reply
from gateway.topology import Marks
from kafkahub.errors import Forbidden, NotFound
from kafkahub.kafka.faults import UnknownTopic
from subscriptions.pull import lists
from subscriptions.pull.lists import GroupRow, MemberRow, PositionRow


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind on one partition."""

    row: PositionRow
    current: int
    end: int

    @property
    def records(self) -> int:
        return max(0, self.end - self.current)

    @property
    def consumer(self) -> str:
        return "" if self.row.owner is None else str(self.row.owner)

    @property
    def client(self) -> str:
        return self.row.owner_name or ""


async def groups(parts: Parts, call: Call, name: str) -> Reply:
    paths = check_cluster(parts, name)
    rows = await parts.run(lists.groups, call.who.partner)
    data = [_group(paths, row) for row in rows]
    return paths.listed("KafkaConsumerGroup", (paths.cluster, "consumer-groups"), data)


async def group(parts: Parts, call: Call, name: str, group_name: str) -> Reply:
    paths = check_cluster(parts, name)
    return reply(_group(paths, await found(parts, call, group_name)))


async def found(parts: Parts, call: Call, name: str) -> GroupRow:
    """Return a group of the caller's partner. Raises Refusal 40405."""
    rows = await parts.run(lists.groups, call.who.partner, name)
    if not rows:
        text = "Consumer group id not found."
        raise Refusal(404, confluent.GROUP_NOT_FOUND, text)
    return rows[0]


def _group(paths: Paths, row: GroupRow) -> dict[str, object]:
    own = ("consumer-groups", row.name)
    fields = {
        "consumer_group_id": row.name,
        "is_simple": row.is_simple,
        "partition_assignor": "kafkahub",
        "state": "STABLE" if row.instances else "EMPTY",
        "type": "CLASSIC",
        "is_mixed_consumer_group": False,
        "coordinator": paths.related("brokers", "0"),
        "consumers": paths.related(*own, "consumers"),
        "lag_summary": paths.related(*own, "lag-summary"),
    }
    return paths.resource("KafkaConsumerGroup", own, fields)


async def consumers(parts: Parts, call: Call, name: str, group_name: str) -> Reply:
    paths = check_cluster(parts, name)
    row = await found(parts, call, group_name)
    members = await parts.run(lists.members, row.id)
    data = [_consumer(paths, row.name, member) for member in members]
    own = (paths.cluster, "consumer-groups", row.name, "consumers")
    return paths.listed("KafkaConsumer", own, data)


async def consumer(parts: Parts, call: Call, name: str, group_name: str, member: str) -> Reply:
    paths = check_cluster(parts, name)
    row = await found(parts, call, group_name)
    for one in await parts.run(lists.members, row.id):
        if str(one.id) == member:
            return reply(_consumer(paths, row.name, one))
    raise confluent.instance_not_found()


def _consumer(paths: Paths, group_name: str, member: MemberRow) -> dict[str, object]:
    own = ("consumer-groups", group_name, "consumers", str(member.id))
    fields = {
        "consumer_group_id": group_name,
        "consumer_id": str(member.id),
        "instance_id": member.name,
        "client_id": member.name,
        "assignments": paths.related(*own, "assignments"),
    }
    return paths.resource("KafkaConsumer", own, fields)


async def lags(parts: Parts, call: Call, name: str, group_name: str) -> Reply:
    paths = check_cluster(parts, name)
    row = await found(parts, call, group_name)
    data = [_lag(paths, row.name, one) for one in await lags_of(parts, call, row)]
    own = (paths.cluster, "consumer-groups", row.name, "lags")
    return paths.listed("KafkaConsumerLag", own, data)


async def lag(parts: Parts, call: Call, name: str, group_name: str, *place: str) -> Reply:
    paths = check_cluster(parts, name)
    topic, text = place
    row = await found(parts, call, group_name)
    refuse_filtered(parts, call.who, topic)
    number = checked_partition(text, 2**31)
    for one in await lags_of(parts, call, row):
        if (one.row.topic, one.row.partition) == (topic, number):
            return reply(_lag(paths, row.name, one))
    raise confluent.partition_not_found()


async def summary(parts: Parts, call: Call, name: str, group_name: str) -> Reply:
    paths = check_cluster(parts, name)
    row = await found(parts, call, group_name)
    found_lags = await lags_of(parts, call, row)
    own = ("consumer-groups", row.name, "lag-summary")
    return reply(
        paths.resource("KafkaConsumerGroupLagSummary", own, _summed(paths, row, found_lags))
    )


def _summed(paths: Paths, row: GroupRow, found_lags: Sequence[Lag]) -> dict[str, object]:
    worst = max(found_lags, key=lambda one: one.records, default=None)
    fields: dict[str, object] = {
        "consumer_group_id": row.name,
        "max_lag": 0 if worst is None else worst.records,
        "total_lag": sum(one.records for one in found_lags),
    }
    if worst is None:
        return fields
    member = ("consumer-groups", row.name, "consumers", worst.consumer)
    place = ("topics", worst.row.topic, "partitions", str(worst.row.partition))
    return fields | {
        "max_lag_consumer_id": worst.consumer,
        "max_lag_consumer": paths.related(*member),
        "max_lag_client_id": worst.client,
        "max_lag_instance_id": worst.client,
        "max_lag_topic_name": worst.row.topic,
        "max_lag_partition_id": worst.row.partition,
        "max_lag_partition": paths.related(*place),
    }


async def lags_of(parts: Parts, call: Call, row: GroupRow) -> list[Lag]:
    """Return the lags of a group on the topics that the partner may read unfiltered."""
    rows = await parts.run(lists.positions, row.id)
    ends = {topic: await _ends(parts, call, topic) for topic in {one.topic for one in rows}}
    return [
        Lag(one, one.position, ends[one.topic][one.partition][1])
        for one in rows
        if one.position is not None and one.partition in ends[one.topic]
    ]


async def _ends(parts: Parts, call: Call, topic: str) -> Marks:
    """Return where a topic ends now; nothing of one that may not be read, or is gone."""
    if _is_open(parts, call, topic):
        with suppress(UnknownTopic):
            return await parts.topology.marks(topic, fresh=True)
    return {}


def _is_open(parts: Parts, call: Call, topic: str) -> bool:
    try:
        return not granted(parts, call.who, topic, "read").is_filtered
    except (NotFound, Forbidden):
        return False


def _lag(paths: Paths, group_name: str, one: Lag) -> dict[str, object]:
    row = one.row
    own = (
        "consumer-groups",
        group_name,
        "lags",
        row.topic,
        "partitions",
        str(row.partition),
    )
    fields = {
        "consumer_group_id": group_name,
        "topic_name": row.topic,
        "partition_id": row.partition,
        "consumer_id": one.consumer,
        "instance_id": one.client,
        "client_id": one.client,
        "current_offset": one.current,
        "log_end_offset": one.end,
        "lag": one.records,
    }
    return paths.resource("KafkaConsumerLag", own, fields)
