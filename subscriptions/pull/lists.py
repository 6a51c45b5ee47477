"""What a partner sees of its groups: v3's resources and stats; nothing here changes anything."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from subscriptions.pull.rows import guarded

GROUPS = """
SELECT g.id, g.name, s.id, count(i.id), coalesce(bool_and(i.manual), false)
  FROM pull_group AS g
  JOIN subscriptions_subscription AS s ON s.id = g.subscription_id
  LEFT JOIN pull_instance AS i ON i.group_id = g.id AND i.last_seen + i.timeout > now()
 WHERE g.partner_id = %s AND (%s::text IS NULL OR g.name = %s)
 GROUP BY g.id, g.name, s.id ORDER BY g.name
"""  # by the unique index on (partner, name); a partner has 50 at most
MEMBERS = """
SELECT i.id, i.name, i.manual, i.topics FROM pull_instance AS i
 WHERE i.group_id = %s AND i.last_seen + i.timeout > now() ORDER BY i.name
"""  # by the unique index on (group, name)
POSITIONS = """
SELECT p.topic, p.partition, p.committed, p.start, p.committed_at, i.id, i.name
  FROM pull_position AS p LEFT JOIN pull_instance AS i ON i.id = p.owner_instance
 WHERE p.group_id = %s ORDER BY p.topic, p.partition
"""  # by the unique index on (group, topic, partition)
GAPS = """
SELECT topic, partition, from_offset, to_offset, reason, at FROM pull_gap
 WHERE group_id = %s ORDER BY at DESC, id DESC LIMIT 20
"""  # by the index on (group, at)


class GroupRow(NamedTuple):
    """A group; ``is_simple``: all its instances chose their partitions themselves."""

    id: int
    name: str
    subscription: str
    instances: int
    is_simple: bool


class MemberRow(NamedTuple):
    """A living instance of a group."""

    id: UUID
    name: str
    manual: bool
    topics: list[str]


class PositionRow(NamedTuple):
    """Where a group stands on a partition, and whose it is now."""

    topic: str
    partition: int
    committed: int | None
    start: int | None
    at: datetime | None
    owner: UUID | None
    owner_name: str | None

    @property
    def position(self) -> int | None:
        """The next offset the group owes itself; None where nothing was fixed."""
        return self.committed if self.committed is not None else self.start


class GapRow(NamedTuple):
    """Offsets that the group will never get."""

    topic: str
    partition: int
    start: int
    stop: int
    reason: str
    at: datetime


@guarded
def groups(partner: str, name: str | None = None) -> list[GroupRow]:
    """Return the partner's groups, or the one of this name, by name."""
    with connection.cursor() as cursor:
        cursor.execute(GROUPS, [partner, name, name])
        return [GroupRow(*row) for row in cursor.fetchall()]


@guarded
def members(group: int) -> list[MemberRow]:
    """Return the living instances of a group, by name."""
    with connection.cursor() as cursor:
        cursor.execute(MEMBERS, [group])
        return [MemberRow(*row) for row in cursor.fetchall()]


@guarded
def positions(group: int) -> list[PositionRow]:
    """Return where a group stands, by topic and partition."""
    with connection.cursor() as cursor:
        cursor.execute(POSITIONS, [group])
        return [PositionRow(*row) for row in cursor.fetchall()]


@guarded
def gaps(group: int) -> list[GapRow]:
    """Return the last 20 gaps of a group, newest first."""
    with connection.cursor() as cursor:
        cursor.execute(GAPS, [group])
        return [GapRow(*row) for row in cursor.fetchall()]
