"""``manage.py accept_recreated``: deliver a topic that was deleted and made again."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from delivery import recreated
from kafkahub.errors import Conflict
from kafkahub.kafka.faults import KafkaUnavailable, UnknownTopic
from subscriptions import starts
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Topic


class Command(BaseCommand):
    """Exit 0 with the number of lanes that go on, or 1 with the reason why none does."""

    help = "Let the lanes of a recreated topic go on at its first records."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("topic", help="name of the topic")

    def handle(self, *, topic: str, **_: object) -> None:
        actor = Actor(ActorKind.SYSTEM, "manage.py accept_recreated")
        try:
            row = Topic.objects.get(pk=topic)
            lanes = recreated.accept(actor, row, starts.process_admin())
        except Topic.DoesNotExist:
            raise CommandError(f"{topic} is not exposed.") from None
        except (Conflict, KafkaUnavailable, UnknownTopic) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{lanes} lanes of {topic} go on at its first records.")
