"""PostgreSQL connections of an engine: one a thread, without Django's ORM."""

from typing import Any

import psycopg

Conn = psycopg.Connection[tuple[Any, ...]]
"""Any: rows of plain cursors have the types of their query, which mypy cannot see."""

STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 2_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000


def connect(url: str, name: str) -> Conn:
    """Return a connection in autocommit mode; ``name`` is what PostgreSQL's activity view shows.

    Raises psycopg.OperationalError when PostgreSQL does not answer within 3 s.
    """
    return psycopg.connect(
        url,
        autocommit=True,
        application_name=name,
        connect_timeout=3,
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
        " -c timezone=UTC",
    )
