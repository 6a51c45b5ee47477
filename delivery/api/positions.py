"""``/subscriptions/{sub}/position``: where each lane of a subscription stands."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from django.db.models import Min
from django.http import HttpResponse
from rest_framework.request import Request

from delivery import lag, vitals
from delivery.api.logs import KafkaLog
from delivery.cursors import CursorWriter, cluster_tag
from delivery.lifecycle import OWED
from delivery.models import DeliveryGap, ParkedDelivery
from delivery.serializers import PositionOut
from kafkahub import clock
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.models import Subscription

POSITION: Mapping[str, object] = {
    "lanes": [
        {
            "topic": "orders",
            "partition": 0,
            "state": "behind",
            "reason": "endpoint_down",
            "next_offset": 1204,
            "end_offset": 1500,
            "lag_records": 296,
        }
    ],
    "lag_records": 296,
    "lag_s": 640,
    "oldest_undelivered_at": "2026-11-23T04:19:00.123Z",
    "headroom_s": 604160,
    "gaps": [],
    "cursor": "Ad8AKn64toW5oDQBHBaK2wAAAAABAQc2u2Eo",
}
MAX_GAPS = 20
"""Newest gaps that are shown; ``GET /deliveries?state=gap`` has all of 30 days."""


class SubscriptionPosition(PartnerView):
    tag = "subscriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getPosition",
            summary="Where each lane stands, how far behind it is, and one cursor over all",
            scope="webhooks:read",
            answer=PositionOut,
            answered=POSITION,
        )
    }

    def get(self, _: Request, subscription: str) -> HttpResponse:
        row = ownership.get_subscription(self.partner, subscription)
        return answers.json(_shown(row))


def _shown(row: Subscription) -> object:
    context = {"telling": ownership.telling_of(row.partner_id)}
    return PositionOut(position_of(row, KafkaLog()), context=context).data


def position_of(row: Subscription, log: vitals.Log) -> dict[str, object]:
    """Return where a subscription stands, and how far that is from the ends.

    Lanes are shown where no grant hides records: their offsets would count them.
    """
    found = lag.standings(row, log.ends)
    telling = ownership.telling_of(row.partner_id)
    lags = [lane.lag_records if lane.topic in telling.placed else None for lane in found]
    known = [behind for behind in lags if behind is not None]
    cluster = cluster_tag()
    at = None if cluster is None else lag.cursor_of(found, cluster)
    writer = CursorWriter(row.partner_id, telling.plain)
    placed = [lane for lane in found if lane.topic in telling.placed]
    owing = [lane for lane in placed if lane.lag_records != 0]
    owed = vitals.owed(owing, _oldest_parked(row), log, clock.now())
    owed["lag_s"] = vitals.seconds(owed)
    return {
        **owed,
        "gaps": list(DeliveryGap.objects.filter(subscription=row, replay="")[:MAX_GAPS]),
        "lanes": [lane for lane in found if lane.topic in telling.placed],
        "lag_records": sum(known) if len(known) == len(lags) else None,
        "cursor": None if at is None else writer.write(at, row.topics),
    }


def _oldest_parked(row: Subscription) -> datetime | None:
    """Return the time of the oldest record that is parked and still owed."""
    owed = ParkedDelivery.objects.filter(subscription=row, state__in=OWED, partition__gte=0)
    oldest: datetime | None = owed.aggregate(oldest=Min("record_time"))["oldest"]
    return oldest
