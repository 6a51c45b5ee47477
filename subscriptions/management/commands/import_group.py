"""Take the offsets of a Kafka consumer group, to move here from another proxy."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from kafkahub import config
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.faults import KafkaUnavailable, NoAdminApi
from kafkahub.kafka.options import admin_options
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Partner
from subscriptions.pull import mirror
from subscriptions.pull.rows import Name


class Command(BaseCommand):
    """``manage.py import_group``."""

    help = (
        "Give a partner's consumer group the offsets that a Kafka group has committed; what the"
        " group has committed here stands."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("partner", help="Id of the partner.")
        parser.add_argument("group", help="Name of the group, as the partner calls it.")
        parser.add_argument(
            "--source", default="", help="The Kafka group; by default of the same name."
        )

    def handle(self, *_: object, **options: Any) -> None:
        partner, group = options["partner"], options["group"]
        if not Partner.objects.filter(pk=partner).exists():
            raise CommandError(f"There is no partner {partner}.")
        actor = Actor(ActorKind.SYSTEM, "import_group")
        admin = Admin(admin_options(config.load()))
        source = options["source"] or group
        try:
            taken = mirror.take_in(admin, actor, Name(partner, group, ""), source)
        except (KafkaUnavailable, NoAdminApi) as error:
            raise CommandError(str(error)) from None
        kept = f", {taken.kept} stand as they were" if taken.kept else ""
        self.stdout.write(f"{taken.taken} partitions of {source} taken{kept}.")
