"""Bugs on purpose, so that the checker can be seen to find them.

Run as ``python -m tests.torture.planted NAME <arguments of celery>``: the product's own worker
with one function replaced before its engines are forked. Nothing of this is in the product.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import django
from celery.bin.celery import main as celery
from psycopg import Cursor


def floor_before_commit() -> None:
    """Let the floor pass what was read, long before any of it is settled."""
    from delivery.floor import Floor  # noqa: PLC0415 - the product is loaded by its own settings

    def position(floor: Floor) -> int:
        return floor.next_offset

    replace(Floor, "position", position)


def dropped_parked_row() -> None:
    """Let a failed record be settled without the row that remembers it."""
    from delivery import ledger  # noqa: PLC0415

    def park(_cur: Cursor[Any], _rows: Sequence[Any], *, kept_days: int) -> set[str]:
        return set()

    replace(ledger, "park", park)


def reordered_key() -> None:
    """Let every record of a key go out as if it had none of its own."""
    from subscriptions import snapshot  # noqa: PLC0415

    real = vars(snapshot)["live_subscription"]

    def unordered(row: Any, *rest: Any) -> Any:
        row.ordering = "none"
        return real(row, *rest)

    replace(snapshot, "live_subscription", unordered)


BUGS: dict[str, Callable[[], None]] = {
    "floor": floor_before_commit,
    "parked": dropped_parked_row,
    "key": reordered_key,
}


def replace(owner: object, name: str, bug: Callable[..., Any]) -> None:
    """Put a bug where the right function was; a name that is gone must not look like one."""
    getattr(owner, name)
    setattr(owner, name, bug)


def main(name: str, *arguments: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "kafkahub.settings"
    django.setup()
    BUGS[name]()
    sys.argv = ["celery", *arguments]
    celery()


if __name__ == "__main__":
    main(*sys.argv[1:])
