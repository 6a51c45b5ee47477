"""Start: four steps to the first verified delivery, each ticked by a fact of the server."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse

from kafkahub import clock
from subscriptions.audit import Verb
from subscriptions.models import AuditEvent, StreamTicket
from subscriptions.portal.base import PortalPage
from subscriptions.portal.door import Door

LOOKED_BACK = timedelta(days=30)
ALL_CHECKS = 4


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done, by facts: no click ticks a step."""

    has_seen: bool
    has_key: bool
    has_used_key: bool
    has_endpoint: bool
    has_received: bool
    has_verified: bool

    @property
    def done(self) -> int:
        ticked = (self.has_seen, self.has_used_key, self.has_received, self.has_verified)
        return sum(ticked)


def steps(door: Door, partner: str) -> Steps:
    """Return how far a partner has come."""
    keys = door.rows("/api-keys", limit=50) if door.principal.has("keys:manage") else []
    since = clock.rfc3339(clock.now() - LOOKED_BACK)
    good = door.rows("/attempts", http_status="2xx", since=since, limit=1)
    endpoints = door.rows("/endpoints", limit=1)
    return Steps(
        has_seen=StreamTicket.objects.filter(partner=partner, opened_at__isnull=False).exists(),
        has_key=bool(keys),
        has_used_key=any(key["last_used_at"] for key in keys),
        has_endpoint=bool(endpoints),
        has_received=bool(good),
        has_verified=was_receiver_checked(partner),
    )


def was_receiver_checked(partner: str) -> bool:
    """Return whether a receiver passed all four checks once. By the index on partner."""
    rows = AuditEvent.objects.filter(partner=partner, verb=Verb.RECEIVER_CHECKED)
    return any(row.changes.get("passed") == [None, ALL_CHECKS] for row in rows.order_by("-id")[:20])


class Start(PortalPage):
    """The steps, and what wants attention."""

    section = "start"
    template = "start.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        return self.show(**self.shown())

    def shown(self) -> dict[str, Any]:
        """Return what the page and its self-renewing part show."""
        return {
            "steps": steps(self.door, self.partner.pk),
            "topics": self.door.rows("/topics", limit=50),
            "notices": self.door.rows("/notices", limit=3),
        }


class StartSteps(Start):
    """The steps alone: the page asks for them while it is open."""

    template = "parts/steps.html"
