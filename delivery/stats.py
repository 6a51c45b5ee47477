"""A partner's own numbers, all doors in one list: how far behind, what came of it, what is left."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection
from django.db.models import Count, Sum

from delivery import lag
from delivery.lag import Ends
from delivery.models import ParkedDelivery
from kafkahub import clock
from kafkahub.kafka.faults import KafkaUnavailable, UnknownTopic
from kafkahub.limits import policies
from kafkahub.limits.limiter import Limiter
from subscriptions import streams
from subscriptions.grants import Principal
from subscriptions.models import Grant, Subscription, UsageHour
from subscriptions.pull import lists
from subscriptions.streams import OpenStream

DAY = timedelta(hours=24)
MAX_COUNTED = 100_000
"""Attempts looked at: a busy partner's day is not counted to its end, and says so by null."""
ATTEMPTS = """
SELECT subscription, outcome_class, count(*), max(at) FROM (
       SELECT subscription, outcome_class, at FROM delivery_attempt
        WHERE partner = %s AND at > %s ORDER BY at DESC LIMIT %s) AS newest
 GROUP BY subscription, outcome_class
"""  # by the index on (partner, at, id)
_QUOTA = re.compile(r'"([a-z-]+)";q=([0-9]+)')
_LEFT = re.compile(r'"([a-z-]+)";r=([0-9]+);t=([0-9]+)')

PRODUCED = {
    "written_24h": "records_in",
    "failed_24h": "records_failed",
    "unknown_24h": "records_unknown",
    "lost_unconfirmed_24h": "records_lost",
}
"""What is told of a topic that is written to, and the counter it is the sum of."""

Values = dict[str, object]


class Place(NamedTuple):
    """Where somebody stands on a partition, and where the partition ends."""

    topic: str
    partition: int
    position: int
    end: int

    @property
    def records(self) -> int:
        return max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of attempts in 24 h; None where there were too many to count."""

    delivered: int | None = 0
    failed: int | None = 0
    last_success_at: datetime | None = None


def of_partner(principal: Principal, ends: Ends, limiter: Limiter) -> Values:
    """Return all numbers of the principal's partner."""
    rows = Subscription.objects.filter(partner_id=principal.partner).order_by("-id")
    found = Numbers(principal.partner, ends)
    shown = [found.subscription(row) for row in rows]
    shown += [_stream(one) for one in streams.listing(principal.partner).streams]
    return {
        "as_of": clock.rfc3339(clock.now()),
        "subscriptions": shown,
        "produce": produced(principal.partner),
        "limits": limits(principal, limiter),
    }


class Numbers:
    """Reads what several subscriptions share once.

    ends  asks Kafka; what does not answer leaves lags unknown
    """

    def __init__(self, partner: str, ends: Ends) -> None:
        self._partner = partner
        self._ends = ends
        self._outcomes = outcomes(partner)
        grants = Grant.objects.alive().filter(partner_id=partner, action=Grant.Action.READ)
        self._hidden = {row.topic_id for row in grants if getattr(row, "is_filtered", False)}
        self._groups = {one.subscription: one for one in lists.groups(partner)}

    def subscription(self, row: Subscription) -> Values:
        """Return the numbers of one subscription."""
        group = self._groups.get(row.pk)
        places = self._pulled(group.id) if group else self._owed(row)
        came = self._outcomes.get(row.pk, Outcomes()) if self._outcomes is not None else UNCOUNTED
        topics = [self._topic(row, topic, places) for topic in row.topics]
        return {
            "id": row.pk,
            "name": row.name,
            "mode": row.mode,
            "state": _state(row, places, has_readers=group is None or group.instances > 0),
            "topics": topics,
            "last_success_at": _moment(came.last_success_at),
            "delivered_24h": came.delivered,
            "failed_24h": came.failed,
            "gaps": self._gaps(group.id) if group else [],
        }

    def _topic(self, row: Subscription, topic: str, places: Sequence[Place]) -> Values:
        own = [one for one in places if one.topic == topic]
        behind = sum(one.records for one in own)
        hides = topic in self._hidden
        waiting = dict(
            ParkedDelivery.objects.filter(subscription=row, topic=topic)
            .values_list("state")
            .annotate(Count("id"))
        )
        dead = waiting.pop("dead", 0)
        waiting.pop("discarded", None)
        told: Values = {
            "topic": topic,
            "lag_records": None if hides else behind,
            # What time the first record of a lag has only a read would tell.
            "lag_seconds": None if behind else 0.0,
            "oldest_at": None,
            "parked": sum(waiting.values()),
            "dead": dead,
        }
        return told if hides else told | {"partitions": [_partition(one) for one in own]}

    def _owed(self, row: Subscription) -> list[Place]:
        return [
            Place(one.topic, one.partition, one.next_offset, one.end_offset)
            for one in lag.standings(row, self._ends)
            if one.end_offset is not None
        ]

    def _pulled(self, group: int) -> list[Place]:
        rows = [one for one in lists.positions(group) if one.position is not None]
        ends = {topic: self._known(topic) for topic in {one.topic for one in rows}}
        return [
            Place(one.topic, one.partition, one.position or 0, ends[one.topic][one.partition][1])
            for one in rows
            if one.partition in ends[one.topic]
        ]

    def _known(self, topic: str) -> Mapping[int, tuple[int, int]]:
        try:
            return self._ends(topic)
        except (KafkaUnavailable, UnknownTopic):
            return {}

    def _gaps(self, group: int) -> list[Values]:
        told = []
        for one in lists.gaps(group):
            values: Values = {"topic": one.topic, "reason": one.reason, "at": _moment(one.at)}
            if one.topic not in self._hidden:
                values |= {
                    "partition": one.partition,
                    "from": one.start,
                    "to": one.stop,
                    "lost": max(0, one.stop - one.start),
                }
            told.append(values)
        return told


UNCOUNTED = Outcomes(None, None)


def outcomes(partner: str) -> Mapping[str, Outcomes] | None:
    """Return what came of attempts in 24 h by subscription; None where there are too many."""
    with connection.cursor() as cursor:
        cursor.execute(ATTEMPTS, [partner, clock.now() - DAY, MAX_COUNTED])
        rows = cursor.fetchall()
    if sum(row[2] for row in rows) >= MAX_COUNTED:
        return None
    by_subscription: dict[str, dict[bool, tuple[int, datetime | None]]] = defaultdict(dict)
    for subscription, kind, count, last in rows:
        is_delivered = kind == "delivered"
        before, _ = by_subscription[subscription].get(is_delivered, (0, None))
        by_subscription[subscription][is_delivered] = (before + count, last)
    return {name: _outcomes(found) for name, found in by_subscription.items()}


def _outcomes(found: Mapping[bool, tuple[int, datetime | None]]) -> Outcomes:
    delivered, last = found.get(True, (0, None))
    return Outcomes(delivered, found.get(False, (0, None))[0], last)


def produced(partner: str) -> list[Values]:
    """Return what the partner wrote in the last 24 hours, by topic."""
    rows = (
        UsageHour.objects.filter(partner_id=partner, hour__gt=clock.now() - DAY)
        .values_list("topic")
        .annotate(*(Sum(name) for name in PRODUCED.values()))
        .order_by("topic")
    )
    return [
        {"topic": topic, **dict(zip(PRODUCED, counts, strict=True))}
        for topic, *counts in rows
        if any(counts)
    ]


def limits(principal: Principal, limiter: Limiter) -> list[Values]:
    """Return how the principal's limits stand, as headers of an answer tell them."""
    cost = policies.cost(requests=1, bytes_in=1, records_in=1, bytes_out=1, records_out=1)
    told = " ".join(value for _, value in limiter.headers(principal, cost))
    standing = {name: (int(left), int(reset)) for name, left, reset in _LEFT.findall(told)}
    found: list[Values] = []
    for name, quota in _QUOTA.findall(told):
        left, reset = standing.get(name, (None, None))
        found.append({"name": name, "limit": int(quota), "remaining": left, "reset_s": reset})
    return found


def _state(row: Subscription, places: Iterable[Place], *, has_readers: bool) -> str:
    if row.status != Subscription.Status.ACTIVE:
        return "paused"
    if not has_readers:
        return "idle"
    return "behind" if any(one.records for one in places) else "live"


def _partition(place: Place) -> Values:
    return {
        "partition": place.partition,
        "committed": place.position,
        "end": place.end,
        "lag": place.records,
    }


def _stream(one: OpenStream) -> Values:
    topics = [
        {
            "topic": topic,
            "lag_records": one.lag_records,
            "lag_seconds": one.lag_seconds,
            "oldest_at": None,
            "parked": 0,
            "dead": 0,
        }
        for topic in one.topics
    ]
    return {
        "id": one.id,
        "name": one.transport,
        "mode": "stream",
        "state": "live" if one.state == "live" else "behind",
        "topics": topics,
        "last_success_at": None,
        "delivered_24h": None,
        "failed_24h": None,
        "gaps": [],
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else clock.rfc3339(moment)
