"""Deliveries: a search that lives in the address, one delivery with its timings, resending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from delivery.lines import State
from delivery.serializers import TIMINGS
from delivery.words import Case, sentence
from kafkahub import clock
from subscriptions.portal.base import Form, PortalPage
from subscriptions.portal.door import Door, Refused

FILTERS = (
    "state",
    "topic",
    "subscription",
    "endpoint",
    "http_status",
    "outcome",
    "key",
    "id",
    "since",
    "until",
)
MOMENTS = ("since", "until")
PAGE = 50
PHASES = {
    "dns": "name looked up",
    "tcp": "connected",
    "tls": "TLS agreed",
    "sent": "request sent",
    "first_byte": "first byte of the answer",
    "body": "answer read",
}


class Deliveries(PortalPage):
    """The list; every filter is in the address, so a search can be sent to a colleague."""

    section = "deliveries"
    template = "deliveries.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        query = {name: request.GET.get(name, "").strip() for name in FILTERS}
        asked = {**query, **{name: _moment(query[name]) for name in MOMENTS}}
        found, refused = self._found({**asked, "cursor": request.GET.get("cursor", "")})
        chosen = {name: value for name, value in query.items() if value}
        older = found["next_cursor"]
        return self.show(
            form=Form(query, refused),
            deliveries=found["data"],
            filters=len(chosen),
            older=urlencode({**chosen, "cursor": older}) if older else "",
            states=[("", "any"), *((one.value, one.value.replace("_", " ")) for one in State)],
            subscriptions=self._choices("/subscriptions"),
            endpoints=self._choices("/endpoints"),
        )

    def _found(self, asked: Mapping[str, str]) -> tuple[dict[str, Any], Refused | None]:
        try:
            return self.door.get("/deliveries", limit=PAGE, **asked), None
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return {"data": [], "next_cursor": None}, refused

    def _choices(self, path: str) -> list[tuple[str, str]]:
        rows = self.door.rows(path, limit=200)
        return [("", "any"), *((row["id"], row["name"]) for row in rows)]


class Delivery(PortalPage):
    """One delivery: how it stands, and each attempt with what its time went into."""

    section = "deliveries"
    template = "delivery.html"

    def get(self, _: HttpRequest, delivery: str) -> HttpResponse:
        return self._card(delivery, Form({}))

    def post(self, request: HttpRequest, delivery: str) -> HttpResponse:
        try:
            if request.POST.get("do") == "redrive":
                self.door.post(f"/parked/{delivery}/redrive")
            else:
                self.door.post(f"/deliveries/{delivery}/resend")
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._card(delivery, Form({}, refused))
        messages.success(request, "It is sent again now; the attempt shows below when it ends.")
        return self.go(f"deliveries/{delivery}")

    def _card(self, delivery: str, form: Form) -> HttpResponse:
        row = self.door.get(f"/deliveries/{delivery}")
        found = self.door.rows("/attempts", id=delivery, limit=50, since=_month_before())
        attempts = told(self.door, found)
        return self.show(
            delivery=row,
            form=form,
            attempts=[(one, waterfall(one)) for one in attempts],
            is_test=delivery.startswith("tst_"),
        )


class DeliveryAttempts(Delivery):
    """The attempts alone: the page asks for them while it is open."""

    template = "parts/waterfalls.html"


def told(door: Door, attempts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the attempts, each with a sentence of what went wrong; "" where nothing did."""
    urls = {row["id"]: row["url"] for row in door.rows("/endpoints", limit=200)}
    return [{**one, "text": _sentence(one, urls.get(one["endpoint"], ""))} for one in attempts]


def _sentence(attempt: Mapping[str, Any], url: str) -> str:
    place = urlsplit(url)
    port = place.port or (80 if place.scheme == "http" else 443)
    waited_s = max(1, round(attempt["duration_ms"] / 1000))
    host = place.hostname or "The host of the endpoint"
    return sentence(attempt["outcome"], Case(host, port, attempt["http_status"] or 0, waited_s))


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of an attempt; where it begins and how long it took, in ms and as shares of all."""

    name: str
    took_ms: float
    left: float
    width: float


def waterfall(attempt: Mapping[str, Any]) -> Sequence[Phase]:
    """Return the steps of an attempt in order; those that took no time are left out."""
    moments = attempt["timings"]
    whole = max(attempt["duration_ms"], *moments.values(), 0.001)
    phases, begun = [], 0.0
    for name in TIMINGS:
        ended = moments.get(name, 0.0)
        if ended > begun:
            share = 100 / whole
            phases.append(
                Phase(PHASES[name], ended - begun, begun * share, (ended - begun) * share)
            )
            begun = ended
    return phases


def _moment(text: str) -> str:
    """Return the time of HTML's own field as the API takes it, in UTC; others as they are."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.replace(tzinfo=moment.tzinfo or UTC).isoformat()


def _month_before() -> str:
    """Return since when to look for attempts of a delivery: as far back as the API goes."""
    return (clock.now() - timedelta(days=30)).isoformat()
