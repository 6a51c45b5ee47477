"""What the SQL of pull groups shares: finding an instance, its values, and a store that is away."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from django.db import InterfaceError, OperationalError, connection
from django.db.backends.utils import CursorWrapper

from kafkahub.errors import Unavailable

Part = tuple[str, int]
Row = tuple[Any, ...]
"""Any: the columns of a row have the types of their query, which mypy cannot see."""
P = ParamSpec("P")
R = TypeVar("R")

_settings = msgspec.json.decode


class InstanceGone(Exception):
    """No such instance: unknown, expired, or another partner's."""


class InstanceExists(Exception):
    """The group has a living instance of this name."""


class IllegalState(Exception):
    """The state of the instance forbids it; the text says how."""


class NotSettled(Exception):
    """The last answer is on its way out in another process; look again in a moment."""


class Name(NamedTuple):
    """How a partner calls an instance."""

    partner: str
    group: str
    instance: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as it is now.

    generation        the group's at which it last learned what it owns
    group_generation  the group's now
    shared            the group's for which owners were chosen
    is_paused         its subscription gives nothing at the moment
    """

    id: UUID
    partner: str
    group: int
    subscription: str
    settings: dict[str, object]
    topics: tuple[str, ...]
    pattern: str
    manual: bool
    generation: int
    group_generation: int
    shared: int
    read_seq: int
    is_paused: bool
    order_mode: str

    @property
    def is_subscribed(self) -> bool:
        """Whether the group shares partitions with it."""
        return bool(self.topics or self.pattern)

    @property
    def auto_commit(self) -> bool:
        return self.settings.get("auto_commit") is not False

    @property
    def is_stale(self) -> bool:
        """Whether it must learn anew what it owns."""
        return self.is_subscribed and (
            self.generation != self.group_generation or self.shared != self.group_generation
        )


TOUCH = """
UPDATE pull_instance AS i SET last_seen = now()
  FROM pull_group AS g, subscriptions_subscription AS s
 WHERE g.partner_id = %s AND g.name = %s AND i.group_id = g.id AND i.name = %s
   AND s.id = g.subscription_id AND i.last_seen + i.timeout > now()
RETURNING i.id, g.id, s.id, i.settings, i.topics, i.pattern, i.manual, i.generation, g.generation,
          g.shared_generation, i.read_seq, s.status <> 'active', g.order_mode
"""  # by the unique indexes on (partner, name) and (group, name)

LOCK_GROUP = """
SELECT generation, shared_generation FROM pull_group WHERE id = %s FOR NO KEY UPDATE
"""  # by primary key
RAISE = "UPDATE pull_group SET generation = generation + 1 WHERE id = %s"  # by primary key


def guarded(work: Callable[P, R]) -> Callable[P, R]:
    """Return ``work`` with a store that is away told as Unavailable, and its connection dropped."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            raise Unavailable("The state of consumers cannot be reached right now.") from error

    return run


def touch(cursor: CursorWrapper, name: Name) -> Instance:
    """Return the instance, locked to the end of the transaction and seen as alive.

    Raises InstanceGone.
    """
    cursor.execute(TOUCH, name)
    row = cursor.fetchone()
    if row is None:
        raise InstanceGone
    return Instance(
        id=row[0],
        partner=name.partner,
        group=row[1],
        subscription=row[2],
        settings=_settings(row[3]),
        topics=tuple(row[4]),
        pattern=row[5],
        manual=row[6],
        generation=row[7],
        group_generation=row[8],
        shared=row[9],
        read_seq=row[10],
        is_paused=row[11],
        order_mode=row[12],
    )


def columns(parts: "list[Part]") -> tuple[list[str], list[int]]:
    """Return partitions as two columns for ``unnest``."""
    return [topic for topic, _ in parts], [number for _, number in parts]
