"""Confluent REST Proxy v3: the cluster and its topics, read-only; of real brokers nothing shows."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gateway import confluent
from gateway.confluent import Refusal
from gateway.rest.call import Call, Reply
from gateway.rest.parts import Parts, any_grant, granted, visible
from gateway.rest.v2 import checked_partition, partitions_of, refuse_filtered
from gateway.topology import DEFAULT_CONFIGS
from kafkahub.errors import Forbidden, NotFound
from subscriptions.grants import ACTIONS

Fields = Mapping[str, object]

LEFT_OUT: Final = "Not served here."
MANAGED: Final = "Topics are managed by the operator."
_LIMIT = re.compile(r"q=([0-9]+)")

_encode = msgspec.json.encode


class Paths:
    """Links and names of resources of one cluster."""

    def __init__(self, parts: Parts) -> None:
        self.cluster = parts.cluster_id
        self._front = f"{parts.public_url}/v3/clusters"

    def url(self, *segments: str) -> str:
        """Return the address of a resource; without segments that of the list of clusters."""
        return "/".join((self._front, *segments))

    def resource(self, kind: str, segments: Sequence[str], fields: Fields) -> dict[str, object]:
        """Return a resource; ``segments`` follow the cluster in its address."""
        named = "/".join(f"{_SINGULAR.get(a, a)}={b}" if b else a for a, b in _pairs(segments))
        crn = f"crn:///kafka={self.cluster}" + (f"/{named}" if named else "")
        return {
            "kind": kind,
            "metadata": {"self": self.url(self.cluster, *segments), "resource_name": crn},
            "cluster_id": self.cluster,
            **fields,
        }

    def related(self, *segments: str) -> Fields:
        return {"related": self.url(self.cluster, *segments)}

    def listed(self, kind: str, segments: Sequence[str], data: Sequence[object]) -> Reply:
        """Return a list of resources."""
        own = self.url(*segments)
        metadata = {"self": own, "next": None}
        return reply({"kind": f"{kind}List", "metadata": metadata, "data": data})


_SINGULAR: Final = {
    "topics": "topic",
    "partitions": "partition",
    "configs": "config",
    "consumer-groups": "consumer-group",
    "consumers": "consumer",
    "lags": "lag",
}


def _pairs(segments: Sequence[str]) -> list[tuple[str, str]]:
    """Return names with values; a name without one stands for a single thing, such as a summary."""
    padded = [*segments, ""] if len(segments) % 2 else list(segments)
    return list(zip(padded[::2], padded[1::2], strict=True))


def reply(body: object, status: int = 200) -> Reply:
    """Return an answer of v3."""
    return Reply(status, _encode(body), b"application/json")


def check_cluster(parts: Parts, cluster: str) -> Paths:
    """Return the paths of our one cluster. Raises Refusal 404 for another id."""
    if cluster != parts.cluster_id:
        raise confluent.not_found("Cluster not found.")
    return Paths(parts)


async def clusters(parts: Parts, call: Call) -> Reply:
    paths = Paths(parts)
    return paths.listed("KafkaCluster", (), [_cluster(paths)])


async def cluster(parts: Parts, call: Call, name: str) -> Reply:
    return reply(_cluster(check_cluster(parts, name)))


def _cluster(paths: Paths) -> dict[str, object]:
    related = {
        "controller": paths.related("brokers", "0"),
        "acls": paths.related("acls"),
        "brokers": paths.related("brokers"),
        "broker_configs": paths.related("broker-configs"),
        "consumer_groups": paths.related("consumer-groups"),
        "topics": paths.related("topics"),
        "partition_reassignments": paths.related("topics", "-", "partitions", "-", "reassignment"),
    }
    return paths.resource("KafkaCluster", (), related)


async def topics(parts: Parts, call: Call, name: str) -> Reply:
    paths = check_cluster(parts, name)
    data = []
    for topic in visible(parts, call.who):
        count = await parts.topology.partitions(topic)
        if count:
            data.append(_topic(parts, call, paths, topic, count))
    return paths.listed("KafkaTopic", (paths.cluster, "topics"), data)


async def topic(parts: Parts, call: Call, name: str, topic_name: str) -> Reply:
    paths = check_cluster(parts, name)
    count = await partitions_of(parts, call.who, topic_name)
    return reply(_topic(parts, call, paths, topic_name, count))


def _topic(parts: Parts, call: Call, paths: Paths, name: str, count: int) -> dict[str, object]:
    fields = {
        "topic_name": name,
        "is_internal": False,
        "replication_factor": 1,
        "partitions_count": count,
        "partitions": paths.related("topics", name, "partitions"),
        "configs": paths.related("topics", name, "configs"),
        "partition_reassignments": paths.related("topics", name, "partitions", "-", "reassignment"),
        "authorized_operations": _operations(parts, call, name),
    }
    return paths.resource("KafkaTopic", ("topics", name), fields)


def _operations(parts: Parts, call: Call, name: str) -> list[str]:
    if call.query.get("include_authorized_operations") != "true":
        return []
    found = []
    for action in ACTIONS:
        try:
            granted(parts, call.who, name, action)
        except (NotFound, Forbidden):
            continue
        found.append(action.upper())
    return [*found, "DESCRIBE"]


async def configs(parts: Parts, call: Call, name: str, topic_name: str) -> Reply:
    paths = check_cluster(parts, name)
    await partitions_of(parts, call.who, topic_name)
    known = await parts.topology.configs(topic_name)
    data = [_config(paths, topic_name, one, value) for one, value in known.items()]
    return paths.listed("KafkaTopicConfig", (paths.cluster, "topics", topic_name, "configs"), data)


async def config(parts: Parts, call: Call, name: str, topic_name: str, key: str) -> Reply:
    paths = check_cluster(parts, name)
    await partitions_of(parts, call.who, topic_name)
    known = await parts.topology.configs(topic_name)
    if key not in known:
        raise confluent.not_found("Config not found.")
    return reply(_config(paths, topic_name, key, known[key]))


def _config(paths: Paths, name: str, key: str, value: str) -> dict[str, object]:
    is_default = value == DEFAULT_CONFIGS[key]
    fields = {
        "topic_name": name,
        "name": key,
        "value": value,
        "is_default": is_default,
        "is_read_only": True,
        "is_sensitive": False,
        "source": "DEFAULT_CONFIG" if is_default else "DYNAMIC_TOPIC_CONFIG",
        "synonyms": [],
    }
    return paths.resource("KafkaTopicConfig", ("topics", name, "configs", key), fields)


async def partitions(parts: Parts, call: Call, name: str, topic_name: str) -> Reply:
    paths = check_cluster(parts, name)
    count = await partitions_of(parts, call.who, topic_name)
    data = [_partition(paths, topic_name, number) for number in range(count)]
    return paths.listed("KafkaPartition", (paths.cluster, "topics", topic_name, "partitions"), data)


async def partition(parts: Parts, call: Call, name: str, topic_name: str, text: str) -> Reply:
    paths = check_cluster(parts, name)
    count = await partitions_of(parts, call.who, topic_name)
    return reply(_partition(paths, topic_name, checked_partition(text, count)))


def _partition(paths: Paths, name: str, number: int) -> dict[str, object]:
    own = ("topics", name, "partitions", str(number))
    fields = {
        "topic_name": name,
        "partition_id": number,
        "leader": paths.related(*own, "replicas", "0"),
        "replicas": paths.related(*own, "replicas"),
        "reassignment": paths.related(*own, "reassignment"),
    }
    return paths.resource("KafkaPartition", own, fields)


async def offset(parts: Parts, call: Call, name: str, topic_name: str, text: str) -> Reply:
    paths = check_cluster(parts, name)
    any_grant(parts, call.who, topic_name)
    refuse_filtered(parts, call.who, topic_name)
    if call.query.get("offset_type", OFFSET_TYPE) != OFFSET_TYPE:
        raise confluent.malformed(f"offset_type is {OFFSET_TYPE}")
    marks = await parts.topology.marks(topic_name, fresh=True)
    number = checked_partition(text, len(marks))
    fields = {
        "topic_name": topic_name,
        "partition_id": number,
        "earliest_offset": marks[number][0],
        "latest_offset": marks[number][1],
    }
    own = ("topics", topic_name, "partitions", text, "offset")
    return reply(paths.resource("KafkaPartitionWithOffsets", own, fields))


OFFSET_TYPE: Final = "earliest_and_latest"


async def managed(parts: Parts, call: Call, name: str, *rest: str) -> Reply:
    """Refuse what changes topics or their settings."""
    check_cluster(parts, name)
    raise Refusal(403, 40301, MANAGED)


def left_out() -> Refusal:
    """Return the answer for what v3 has and we have not."""
    return confluent.not_found(LEFT_OUT)
