"""Seal every secret at rest under the first key of the ring."""

from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from kafkahub import sealed
from kafkahub.crypto import KeyRing
from kafkahub.fields import encryption_ring


class Command(BaseCommand):
    """``manage.py rotate_encryption_keys``."""

    help = "Seal every secret at rest under the first key of the ring, in batches; resumable."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count only, change nothing.")

    def handle(self, *_: object, **options: Any) -> None:
        broken = run(encryption_ring(), self.stdout.write, dry_run=options["dry_run"])
        if broken:
            listed = "\n".join(f"  {text}" for text in broken)
            raise CommandError(
                f"{len(broken)} values do not open and were left as they are:\n{listed}\n"
                "Put the key they were sealed with back into KAFKAHUB_ENCRYPTION_KEYS, at the end."
            )


def run(ring: KeyRing, write: Callable[[str], object], *, dry_run: bool) -> list[str]:
    """Rotate every sealed column to the ring's first key and return the values that do not open.

    write  is given a line of progress at a time; the last one counts what is left
    """
    broken: list[str] = []
    left = 0
    for column in sealed.columns():
        progress = sealed.Progress(0, [])
        for progress in () if dry_run else sealed.rotate(column, ring):
            write(f"{column.name}: {progress.rotated} rotated")
        broken += progress.broken
        count = column.under_other_keys(ring.writer).count()
        write(f"{column.name}: {count} under old keys")
        left += count
    write(f"{left} rows under old keys")
    return broken
