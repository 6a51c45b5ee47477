"""Seal every secret at rest under the first key of the ring."""

from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from kafkahub import sealed
from kafkahub.crypto import KeyRing
from kafkahub.fields import encryption_ring
from subscriptions import audit
from subscriptions.audit import Actor, ActorKind, Subject, Verb


class Command(BaseCommand):
    """``manage.py rotate_encryption_keys``."""

    help = "Seal every secret at rest under the first key of the ring, in batches; resumable."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count only, change nothing.")

    def handle(self, *_: object, **options: Any) -> None:
        ring = encryption_ring()
        done = run(ring, self.stdout.write, dry_run=options["dry_run"])
        if done.rotated:
            who = Actor(ActorKind.SYSTEM, "rotate_encryption_keys")
            what = Subject("encryption_key", ring.writer)
            audit.record(who, Verb.ENCRYPTION_ROTATED, what, {"values": (None, done.rotated)})
        if done.broken:
            listed = "\n".join(f"  {text}" for text in done.broken)
            raise CommandError(
                f"{len(done.broken)} values do not open and were left as they are:\n{listed}\n"
                "Put the key they were sealed with back into KAFKAHUB_ENCRYPTION_KEYS, at the end."
            )


def run(ring: KeyRing, write: Callable[[str], object], *, dry_run: bool) -> sealed.Progress:
    """Rotate every sealed column to the ring's first key.

    write  is given a line of progress at a time; the last one counts what is left
    """
    done = sealed.Progress(0, [])
    left = 0
    for column in sealed.columns():
        progress = sealed.Progress(0, [])
        for progress in () if dry_run else sealed.rotate(column, ring):
            write(f"{column.name}: {progress.rotated} rotated")
        done.rotated += progress.rotated
        done.broken += progress.broken
        count = column.under_other_keys(ring.writer).count()
        write(f"{column.name}: {count} under old keys")
        left += count
    write(f"{left} rows under old keys")
    return done
