"""What of some records was delivered already: a replay of what is missing passes it over."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
import structlog

from delivery.database import Conn

DELIVERED = """
SELECT DISTINCT "offset" FROM delivery_attempt
 WHERE subscription = %(subscription)s AND topic = %(topic)s AND partition = %(partition)s
   AND "offset" BETWEEN %(first)s AND %(last)s AND outcome_class = 'delivered'
"""  # attempt_of_lane (subscription, topic, partition, offset)

log = structlog.get_logger()


class Wanted(NamedTuple):
    """Records of one lane, ascending."""

    subscription: str
    topic: str
    partition: int
    offsets: Sequence[int]


class Missing:
    """Asks the attempt log.

    Runs   in the backlog reader's thread
    Owns   a PostgreSQL connection, made when it is first asked
    """

    def __init__(self, connect: Callable[[], Conn]) -> None:
        self._connect = connect
        self._conn: Conn | None = None

    def delivered(self, wanted: Wanted) -> frozenset[int] | None:
        """Return the offsets that have a delivered attempt; None while PostgreSQL is away."""
        if not wanted.offsets:
            return frozenset()
        values = {
            "subscription": wanted.subscription,
            "topic": wanted.topic,
            "partition": wanted.partition,
            "first": wanted.offsets[0],
            "last": wanted.offsets[-1],
        }
        try:
            if self._conn is None:
                self._conn = self._connect()
            rows = self._conn.execute(DELIVERED, values).fetchall()
        except psycopg.Error as error:
            log.warning("missing.not_asked", error=str(error))
            self.close()
            return None
        return frozenset(offset for (offset,) in rows)

    def close(self) -> None:
        """Give the connection up."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
