"""``/subscriptions/{sub}/position``: where each lane of a subscription stands."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from delivery import lag
from delivery.cursors import CursorWriter, cluster_tag
from delivery.serializers import PositionOut
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from subscriptions import ownership, starts
from subscriptions.api.base import PartnerView
from subscriptions.models import Subscription

POSITION = {
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
    "cursor": "Ad8AKn64toW5oDQBHBaK2wAAAAABAQc2u2Eo",
}
DEADLINE_S = 2.0


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
        return answers.json(PositionOut(position_of(row, ends_now)).data)


def ends_now(topic: str) -> Mapping[int, tuple[int, int]]:
    """Return the ends of a topic's partitions; Kafka has 2 s to tell them."""
    return starts.process_admin().watermarks(topic, DEADLINE_S)


def position_of(row: Subscription, ends: lag.Ends) -> dict[str, object]:
    """Return where a subscription stands, and how far that is from the ends.

    Lanes are shown where no grant hides records: their offsets would count them.
    """
    found = lag.standings(row, ends)
    telling = ownership.telling_of(row.partner_id)
    lags = [lane.lag_records if lane.topic in telling.placed else None for lane in found]
    known = [behind for behind in lags if behind is not None]
    cluster = cluster_tag()
    at = None if cluster is None else lag.cursor_of(found, cluster)
    writer = CursorWriter(row.partner_id, telling.plain)
    return {
        "lanes": [lane for lane in found if lane.topic in telling.placed],
        "lag_records": sum(known) if len(known) == len(lags) else None,
        "cursor": None if at is None else writer.write(at, row.topics),
    }
