"""``manage.py verify_audit``: prove that no audit row was changed, removed or reordered."""

import json
from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from subscriptions import audit, chain


class Command(BaseCommand):
    """Exit 0 with the newest row's id and hash as one JSON line, or 1 with the first bad row."""

    help = "Check the chain of audit rows; exit 1 names the first bad row and why."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", type=int, dest="first", help="first row's id")
        parser.add_argument("--to", type=int, dest="last", help="last row's id")
        parser.add_argument(
            "--heads",
            type=Path,
            help="file of JSON lines with id and hash, as this command prints and the log keeps",
        )

    def handle(
        self, *, first: int | None, last: int | None, heads: Path | None, **_: object
    ) -> None:
        verdict = chain.verify(first, last, read_heads(heads) if heads else None)
        if verdict.finding is not None:
            bad = verdict.finding
            raise CommandError(f"audit row {bad.id}: {bad.fault}: {bad.text}", returncode=1)
        newest = audit.head()
        line = {"rows": verdict.rows, "id": newest.id, "hash": newest.hash.hex()}
        self.stdout.write(json.dumps(line))


def read_heads(path: Path) -> dict[int, bytes]:
    """Return hashes by id from a file of JSON lines; lines without both members are passed over.

    Raises CommandError when the file cannot be read or no line of it holds a head: a check that
    compares with nothing must not look like a pass.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        heads = {
            int(entry["id"]): bytes.fromhex(entry["hash"])
            for entry in entries
            if "id" in entry and "hash" in entry
        }
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f"{path}: not a file of heads: {error}", returncode=2) from error
    if not heads:
        raise CommandError(f"{path}: no line has an id and a hash", returncode=2)
    return heads
