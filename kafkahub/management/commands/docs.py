"""Make the reference pages from the source."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from kafkahub.reference import pages


class Command(BaseCommand):
    """``manage.py docs``."""

    help = "Write docs/configuration.md and docs/reference/ from the source, or check them."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="Change nothing; fail when a page is not current."
        )
        parser.add_argument(
            "--root", default=str(settings.BASE_DIR), help="Root folder of the project."
        )

    def handle(self, *_: object, **options: Any) -> None:
        root = Path(options["root"])
        facts = pages.read(root)
        faults = pages.faults(facts)
        for path, text in pages.render(facts).items():
            if not options["check"]:
                (root / path).write_text(text, encoding="utf-8")
                self.stdout.write(path)
            elif not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text:
                faults.append(f"{path} is not current; run manage.py docs")
        if faults:
            raise CommandError("\n".join(faults))
