"""Look at everything this installation needs, and name the cure of each fault."""

from django.core.management.base import BaseCommand, CommandError

from kafkahub import config
from kafkahub.doctor import egress, inside, neighbours
from kafkahub.doctor.finding import Check, Finding

CHECKS: tuple[Check, ...] = (
    inside.settings,
    neighbours.database,
    neighbours.cache,
    neighbours.kafka,
    inside.keys,
    egress.egress,
)


class Command(BaseCommand):
    """``manage.py doctor``."""

    help = "Look at settings, database, clock, Redis, Kafka, keys and egress; exit 1 on a fault."
    requires_system_checks = ()

    def handle(self, *_: object, **__: object) -> None:
        settings = config.load()
        found = []
        for check in CHECKS:
            for finding in check(settings):
                self._print(finding)
                found.append(finding)
        faults = sum(finding.level == "fail" for finding in found)
        if faults:
            raise CommandError(f"{faults} of {len(found)} findings need a cure.")
        self.stdout.write("Nothing needs a cure.")

    def _print(self, finding: Finding) -> None:
        self.stdout.write(f"{finding.level:5} {finding.part:9} {finding.text}")
        if finding.cure:
            self.stdout.write(f"{'':15} → {finding.cure}")
        self.stdout.flush()
