"""Work on the database for doors without Django's handler, in threads of a pool."""

from collections.abc import Callable
from typing import TypeVar

from django.db import connection

from subscriptions.authentication import chain
from subscriptions.grants import Principal

R = TypeVar("R")


def authenticate(
    authorization_header: str | None, address: str, agent: str, certificate: str = ""
) -> Principal:
    """Return who this is; see ``chain.authenticate``."""
    return closing_lost(
        lambda: chain.authenticate(authorization_header, address, agent, certificate)
    )


def closing_lost(work: Callable[[], R]) -> R:
    """Return what ``work`` returns.

    Looks at the thread's connection afterwards, as Django's handler does at the end of a request:
    one that PostgreSQL has closed would else fail everybody who comes to this thread.
    """
    try:
        return work()
    finally:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
