"""``manage.py trace``: what became of one record, for every subscription of its topic."""

import json
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from delivery import why
from kafkahub.errors import Unavailable
from kafkahub.kafka.record import Position
from subscriptions import starts
from subscriptions.models import Subscription


class Command(BaseCommand):
    """Prints one JSON line a subscription; exit 1 when no subscription has the topic."""

    help = "Tell what became of one record, for each subscription of its topic."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("topic", help="name of the topic")
        parser.add_argument("partition", type=int)
        parser.add_argument("offset", type=int)

    def handle(self, *, topic: str, partition: int, offset: int, **_: object) -> None:
        place = Position(topic, partition, offset)
        rows = Subscription.objects.webhooks().filter(topics__contains=[topic])
        found = list(rows.select_related("endpoint").order_by("pk"))
        if not found:
            raise CommandError(f"No subscription has the topic {topic}.")
        try:
            for row in found:
                self.stdout.write(json.dumps(_line(row, place)))
        except Unavailable as error:
            raise CommandError(error.detail) from error


def _line(row: Subscription, place: Position) -> dict[str, object]:
    told = why.why(row, place, starts.process_admin().watermarks)
    lane = told.lane
    return {
        "subscription": row.pk,
        "partner": row.partner_id,
        "step": told.step.value,
        "text": told.text,
        "attempts": [
            {"at": one.at.isoformat(), "outcome": one.outcome, "status": one.http_status}
            for one in told.attempts
        ],
        "parked": None if told.parked is None else told.parked.state,
        "gap": None if told.gap is None else told.gap.reason,
        "lane": None if lane is None else [lane.state, lane.reason, lane.next_offset],
        "filter": told.filter,
    }
