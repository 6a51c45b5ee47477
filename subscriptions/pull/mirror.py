"""Committed offsets of groups between here and Kafka: copied there for lag tools, taken from there.

The copy is advisory: nobody reads it back. Kafka knows a group as ``kafkahub.<partner>.<group>``.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import structlog
from django.db import connection, transaction

from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi, UnknownTopic
from subscriptions import audit
from subscriptions.audit import Actor, Verb
from subscriptions.models import PullGroup
from subscriptions.pull import groups
from subscriptions.pull.rows import LOCK_GROUP, Name, Part, columns

FRONT = "kafkahub"
GROUPS_PER_RUN = 200
"""A copy takes some ms; what one run leaves is the next one's, longest untold first."""

DUE = """
SELECT g.id, g.partner_id, g.name, max(p.committed_at)
  FROM pull_group AS g JOIN pull_position AS p ON p.group_id = g.id
 WHERE p.committed IS NOT NULL
 GROUP BY g.id HAVING g.mirrored_at IS NULL OR max(p.committed_at) > g.mirrored_at
 ORDER BY g.mirrored_at NULLS FIRST LIMIT %s
"""  # by the unique index on (group, topic, partition); a partner has 50 groups at most
COMMITTED = """
SELECT topic, partition, committed FROM pull_position WHERE group_id = %s AND committed IS NOT NULL
"""  # by the unique index on (group, topic, partition)
MIRRORED = "UPDATE pull_group SET mirrored_at = %s WHERE id = %s"  # by primary key
TAKE = """
INSERT INTO pull_position AS p (group_id, topic, partition, topic_epoch, committed, metadata,
                                committed_at, owner_generation)
SELECT %s, n.topic, n.partition, n.epoch, n.position, '', now(), 0
  FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[])
       AS n(topic, partition, position, epoch)
 ORDER BY n.topic, n.partition
ON CONFLICT (group_id, topic, partition) DO UPDATE
   SET committed = excluded.committed, committed_at = excluded.committed_at,
       topic_epoch = excluded.topic_epoch
 WHERE p.committed IS NULL AND p.owner_instance IS NULL
"""  # what a group has by itself stands

log = structlog.get_logger()


class Kafka(Protocol):
    """What is asked of Kafka; see ``kafkahub.kafka.admin``."""

    def committed(self, group: str) -> dict[Part, int]: ...
    def commit(self, group: str, offsets: Mapping[Part, int]) -> None: ...
    def topic_id(self, topic: str) -> str: ...


class Taken(NamedTuple):
    """What was taken from a Kafka group; ``kept``: partitions where the group had a position."""

    taken: int
    kept: int


def kafka_name(partner: str, group: str) -> str:
    """Return what Kafka calls a group of ours."""
    return f"{FRONT}.{partner}.{group}"


def copy_out(kafka: Kafka) -> int:
    """Copy what groups have committed since the last time; return how many groups that was.

    A group that Kafka does not take is logged and comes again with its next commit.
    """
    with connection.cursor() as cursor:
        cursor.execute(DUE, [GROUPS_PER_RUN])
        due = cursor.fetchall()
    for group, partner, name, at in due:
        with connection.cursor() as cursor:
            cursor.execute(COMMITTED, [group])
            offsets = {(row[0], row[1]): row[2] for row in cursor.fetchall()}
        try:
            kafka.commit(kafka_name(partner, name), offsets)
        except NoAdminApi:
            return 0
        except (KafkaUnavailable, UnknownTopic) as error:
            log.warning("pull.not_mirrored", group=group, reason=str(error))
        with connection.cursor() as cursor:
            cursor.execute(MIRRORED, [at, group])
    return len(due)


def take_in(kafka: Kafka, actor: Actor, name: Name, source: str) -> Taken:
    """Give a group the offsets that a Kafka group has committed, where it has none itself.

    name    of the group, whatever its instance; it is made where it is not there
    source  the Kafka group

    Raises KafkaUnavailable, NoAdminApi, QuotaExceeded for too many groups.
    """
    offsets = kafka.committed(source)
    epochs = {topic: _epoch(kafka, topic) for topic, _ in offsets}
    with transaction.atomic(), connection.cursor() as cursor:
        group = groups.open_group(cursor, actor, name)
        cursor.execute(LOCK_GROUP, [group])
        topics, numbers = columns(list(offsets))
        known = [epochs[topic] for topic in topics]
        cursor.execute(TAKE, [group, topics, numbers, list(offsets.values()), known])
        taken = cursor.rowcount
        row = PullGroup.objects.select_related("subscription").get(pk=group)
        changes: audit.Changes = {"source": (None, source), "partitions": (None, taken)}
        audit.append(actor, Verb.SUBSCRIPTION_IMPORTED, row.subscription, changes)
    return Taken(taken, len(offsets) - taken)


def _epoch(kafka: Kafka, topic: str) -> str:
    try:
        return kafka.topic_id(topic)
    except UnknownTopic:
        return ""
