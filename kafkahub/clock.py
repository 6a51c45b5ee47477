"""The wall clock, read at one place only, so that a test can move it."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time with zone UTC.

    For what leaves the house: timestamps, expiry of keys and tokens, log lines. Leases and
    schedules use PostgreSQL's ``now()``, deadlines ``time.monotonic()``.
    """
    return datetime.now(UTC)


def unix_seconds() -> int:
    """Return the Unix time in whole seconds, as ``webhook-timestamp`` carries it."""
    return int(time.time())


def rfc3339(moment: datetime) -> str:
    """Return ``moment`` as RFC 3339 in UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
