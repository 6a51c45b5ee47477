"""``/endpoints/{ep}/health`` and ``…/probe``: how an endpoint fares."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import (
    BooleanField,
    CharField,
    FloatField,
    IntegerField,
    JSONField,
)

from delivery import handshake, lifecycle, vitals
from delivery.api.logs import KafkaLog
from delivery.outcome import name_of
from kafkahub import clock
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from kafkahub.limits.gcra import Rate
from subscriptions import limiting, ownership
from subscriptions.api.base import PartnerView
from subscriptions.models import Endpoint

PROBES = Rate(6 / 60, 6)
HEALTH: Mapping[str, object] = {
    "health": "down",
    "failing_since": "2026-11-23T04:19:00.123Z",
    "last_success_at": "2026-11-23T04:18:59.012Z",
    "last_outcome": "tcp_refused",
    "next_probe_at": "2026-11-23T04:40:04.000Z",
    "disable_at": "2026-11-28T04:19:00.123Z",
    "window": 4,
    "in_flight": 1,
    "success_ratio": {"5m": 0.0, "1h": 0.62, "24h": 0.98},
    "latency_ms": {"p50": 12.1, "p99": 240.0},
    "lag": {"records": 1840, "seconds": None},
    "oldest_undelivered_at": None,
    "headroom_s": None,
    "parked": {"scheduled": 3, "blocked": 0, "held": 0, "dead": 0},
    "certificate": {"expires_at": None, "chain_ok": True},
}


class HealthOut(serializers.Serializer[Any]):
    """How an endpoint fares; what nobody knows now is null."""

    health = CharField(help_text="`healthy`, `throttled`, `failing` or `down`; the worst engine.")
    failing_since = CharField(allow_null=True)
    last_success_at = CharField(allow_null=True)
    last_outcome = CharField(allow_null=True, help_text="Of the last failure.")
    next_probe_at = CharField(allow_null=True)
    disable_at = CharField(allow_null=True)
    window = IntegerField(allow_null=True)
    in_flight = IntegerField(allow_null=True)
    success_ratio = JSONField()
    latency_ms = JSONField()
    lag = JSONField()
    oldest_undelivered_at = CharField(allow_null=True)
    headroom_s = IntegerField(allow_null=True)
    parked = JSONField()
    certificate = JSONField()


class ProbeOut(serializers.Serializer[Any]):
    """What came of a probe."""

    ok = BooleanField()
    http_status = IntegerField(allow_null=True)
    outcome = CharField()
    ms = FloatField()
    status = CharField(help_text="The endpoint's, after it.")


class ProbeEndpoint(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="probeEndpoint",
            summary="Ask an endpoint now whether it takes deliveries; six a minute",
            scope="webhooks:write",
            answer=ProbeOut,
            answered={
                "ok": True,
                "http_status": 204,
                "outcome": "delivered",
                "ms": 21.4,
                "status": "disabled",
            },
        )
    }

    def post(self, _: Request, endpoint: str) -> HttpResponse:
        row = ownership.get_endpoint(self.partner, endpoint)
        self.expect_no_body()
        if self.arguments.flag("dry_run"):
            return self.commit(HttpResponse)
        _charge("probes", row, PROBES)
        answer = handshake.probe(handshake.live(row))
        is_good = lifecycle.is_good(answer)
        if row.status_reason == Endpoint.StatusReason.FAILING:
            lifecycle.settle(row, clock.now(), is_good=is_good)
        data = {
            "ok": is_good,
            "http_status": answer.status or None,
            "outcome": answer.outcome or name_of(answer.status),
            "ms": answer.duration_us / 1000,
            "status": ownership.get_endpoint(self.partner, endpoint).status,
        }
        return self.commit(lambda: answers.json(data))


class EndpointHealth(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getEndpointHealth",
            summary="How an endpoint fares; a few seconds old",
            scope="webhooks:read",
            answer=HealthOut,
            answered=HEALTH,
        )
    }

    def get(self, _: Request, endpoint: str) -> HttpResponse:
        row = ownership.get_endpoint(self.partner, endpoint)
        return answers.json(vitals.of(row, KafkaLog(), clock.now()))


def _charge(policy: str, endpoint: Endpoint, rate: Rate) -> None:
    refusal = limiting.process_limiter().take_name(policy, f"endpoint:{endpoint.pk}", rate)
    if refusal is not None:
        raise refusal.error()
