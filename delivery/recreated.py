"""A person agrees that a topic is another one now: its lanes go on at its first records."""

from collections.abc import Mapping
from typing import Any, Protocol

from django.db import connection, transaction

from delivery import replays
from delivery.models import PartitionPosition
from kafkahub.errors import Conflict
from kafkahub.kafka.faults import NoAdminApi
from subscriptions import audit
from subscriptions.audit import Actor, Verb
from subscriptions.models import LanePosition, Replay, Topic

# A higher epoch takes the partition from its engine, which claims it anew and reads the lanes.
ACCEPT = """
UPDATE partition_position
   SET generation = generation + 1, epoch = epoch + 1, owner = NULL, next_offset = f.next_offset,
       topic_id = %(topic_id)s, updated_at = now()
  FROM unnest(%(partitions)s::int[], %(next_offsets)s::bigint[]) AS f (partition, next_offset)
 WHERE topic = %(topic)s AND partition_position.partition = f.partition
"""  # partition_position_once (topic, partition)

GO_ON = """
UPDATE lane_position l
   SET state = 'behind', reason = 'start', next_offset = f.next_offset, ahead = '{}',
       head_attempts = 0, not_before = NULL,
       since = now(), seeks = seeks + 1, updated_at = now()
  FROM unnest(%(partitions)s::int[], %(next_offsets)s::bigint[]) AS f (partition, next_offset)
 WHERE l.topic = %(topic)s AND l.partition = f.partition AND l.reason = 'recreated'
"""  # lane_position_partition (topic, partition)

# A partition that the new topic does not have owes nothing any more; its gap was announced.
FORGET_LANES = """
DELETE FROM lane_position WHERE topic = %(topic)s AND partition <> ALL(%(partitions)s::int[])
"""  # lane_position_partition
FORGET_FLOORS = """
DELETE FROM partition_position WHERE topic = %(topic)s AND partition <> ALL(%(partitions)s::int[])
"""  # partition_position_once


class Cluster(Protocol):
    """What is asked of Kafka."""

    def watermarks(self, topic: str, /) -> Mapping[int, tuple[int, int]]: ...

    def topic_id(self, topic: str, /) -> str: ...


def accept(actor: Actor, topic: Topic, cluster: Cluster) -> int:
    """Let the lanes that stand still go on at the first record of each partition.

    Returns how many lanes. From here on ids of records are others: the generation has risen.
    Asks Kafka, so it must not run inside a transaction. Raises Conflict when nothing stands
    still, KafkaUnavailable and UnknownTopic.
    """
    ends = cluster.watermarks(topic.pk)
    try:
        topic_id = cluster.topic_id(topic.pk)
    except NoAdminApi:
        topic_id = ""
    values = {
        "topic": topic.pk,
        "topic_id": topic_id,
        "partitions": sorted(ends),
        "next_offsets": [ends[partition][0] for partition in sorted(ends)],
    }
    with transaction.atomic():
        # The lock on the floors makes a checkpoint of the old log wait, and then match no row.
        list(PartitionPosition.objects.select_for_update().filter(topic=topic.pk))
        lanes = _accept(values)
        _fail_replays(actor, topic)
        audit.append(actor, Verb.TOPIC_ACCEPTED, topic, {"lanes": (None, lanes)})
    return lanes


def waiting(topic: str) -> int:
    """Return how many lanes of a topic stand still because it is another one."""
    return LanePosition.objects.filter(
        topic=topic, reason=LanePosition.Reason.RECREATED
    ).count()  # by lane_position_partition


def _fail_replays(actor: Actor, topic: Topic) -> None:
    """End replays of the old topic's records: nothing of them is left."""
    for replay in Replay.objects.filter(
        state__in=Replay.OPEN, kind=Replay.Source.KAFKA, lanes__topic=topic.pk
    ).distinct():
        replays.fail(actor, replay, f"{topic.pk} was deleted and made again.")


def _accept(values: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(GO_ON, values)
        lanes = int(cursor.rowcount)
        if not lanes:
            raise Conflict("No lane of this topic stands still for being another one.")
        cursor.execute(ACCEPT, values)
        cursor.execute(FORGET_LANES, values)
        cursor.execute(FORGET_FLOORS, values)
    return lanes
