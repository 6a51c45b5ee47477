"""When and from where keys were last used, written at most once a minute a key."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import DatabaseError, connection

WRITE_EVERY_S = 60.0
MAX_AGENT = 200

log = structlog.get_logger()

WRITE = """
UPDATE subscriptions_apikey AS k
   SET last_used_at = u.at, last_used_ip = u.ip::inet, last_used_agent = u.agent
  FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::text[]) AS u(id, at, ip, agent)
 WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
"""  # by primary key; columns that the access triggers ignore


@dataclass(frozen=True, slots=True)
class Use:
    """The latest use of one key; ``address`` is None where it is no IP address."""

    key: str
    at: datetime
    address: str | None
    agent: str


class LastUse:
    """Keeps the latest use of each key and writes all that wait when one of them is due."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Use] = {}
        self._written_s: dict[str, float] = {}

    def remember(self, use: Use, now_s: float) -> bool:
        """Remember a use; return False, and do nothing, when one is to be written now."""
        with self._lock:
            if now_s - self._written_s.get(use.key, -WRITE_EVERY_S) >= WRITE_EVERY_S:
                return False
            self._waiting[use.key] = use
            return True

    def note(self, use: Use, now_s: float) -> None:
        """Remember a use; the first one in a minute is written at once. ``now_s`` is monotonic."""
        with self._lock:
            self._waiting[use.key] = use
            if now_s - self._written_s.get(use.key, -WRITE_EVERY_S) < WRITE_EVERY_S:
                return
            due = list(self._waiting.values())
            self._waiting.clear()
            self._written_s = {
                key: at_s for key, at_s in self._written_s.items() if now_s - at_s < WRITE_EVERY_S
            }
            self._written_s.update((each.key, now_s) for each in due)
        write(due)


def write(uses: Sequence[Use]) -> None:
    """Write last uses in one statement; a failure is logged, for it must refuse nobody."""
    ordered = sorted(uses, key=lambda use: use.key)  # one order of row locks in all processes
    ids = [use.key for use in ordered]
    times = [use.at for use in ordered]
    addresses = [use.address for use in ordered]
    agents = [use.agent[:MAX_AGENT].replace("\x00", "") for use in ordered]
    try:
        with connection.cursor() as cursor:
            cursor.execute(WRITE, (ids, times, addresses, agents))
    except DatabaseError as error:
        log.warning("last_use.not_written", keys=len(uses), error=type(error).__name__)
