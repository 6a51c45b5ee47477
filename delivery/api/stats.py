"""``/stats``: the partner's own numbers, all doors in one list."""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import CharField, IntegerField, ListField

from delivery import stats
from delivery.lag import Ends
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from subscriptions import limiting, ownership, starts
from subscriptions.api.base import PartnerView

DEADLINE_S = 2.0
SUBSCRIPTION = {
    "id": "sub_01jd0000000000000000000000",
    "name": "orders",
    "mode": "pull",
    "state": "behind",
    "topics": [
        {
            "topic": "orders",
            "lag_records": 12,
            "lag_seconds": None,
            "oldest_at": None,
            "parked": 0,
            "dead": 0,
            "partitions": [{"partition": 0, "committed": 100, "end": 112, "lag": 12}],
        }
    ],
    "last_success_at": None,
    "delivered_24h": 0,
    "failed_24h": 0,
    "gaps": [],
}
STATS = {
    "as_of": "2026-11-23T04:19:00.456Z",
    "subscriptions": [SUBSCRIPTION],
    "produce": [
        {
            "topic": "orders",
            "written_24h": 5,
            "failed_24h": 0,
            "unknown_24h": 0,
            "lost_unconfirmed_24h": 0,
        }
    ],
    "limits": [{"name": "requests", "limit": 200, "remaining": 199, "reset_s": 1}],
}


class SubscriptionStatsOut(serializers.Serializer[Any]):
    """How one subscription, consumer group or open stream stands."""

    id = CharField()
    name = CharField()
    mode = CharField(help_text="`webhook`, `pull` or `stream`.")
    state = CharField(help_text="`live`, `behind`, `paused` or `idle`.")
    topics = ListField(child=serializers.DictField())
    last_success_at = CharField(allow_null=True)
    delivered_24h = IntegerField(allow_null=True)
    failed_24h = IntegerField(allow_null=True)
    gaps = ListField(child=serializers.DictField())


class StatsOut(serializers.Serializer[Any]):
    """All numbers of a partner."""

    as_of = CharField()
    subscriptions = SubscriptionStatsOut(many=True)
    produce = ListField(child=serializers.DictField())
    limits = ListField(child=serializers.DictField())


class Stats(PartnerView):
    tag = "stats"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getStats",
            summary="Lag, outcomes, gaps and limits of everything the partner has",
            scope="webhooks:read",
            answer=StatsOut,
            answered=STATS,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        found = stats.of_partner(self.principal, ends(), limiting.process_limiter())
        return answers.json(found)


class SubscriptionStats(PartnerView):
    tag = "stats"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getSubscriptionStats",
            summary="Lag, outcomes and gaps of one subscription",
            scope="webhooks:read",
            answer=SubscriptionStatsOut,
            answered=SUBSCRIPTION,
        )
    }

    def get(self, _: Request, subscription: str) -> HttpResponse:
        row = ownership.get_subscription(self.partner, subscription)
        return answers.json(stats.Numbers(self.partner, ends()).subscription(row))


def ends() -> Ends:
    """Return what asks Kafka where topics end, each topic once a request."""
    admin = starts.process_admin()
    return functools.cache(lambda topic: admin.watermarks(topic, DEADLINE_S))
