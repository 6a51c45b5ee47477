"""Subscriptions: which records go where, with a filter that is tried on real ones."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict

from subscriptions.models import Subscription
from subscriptions.portal.base import Form, PortalPage
from subscriptions.portal.door import Refused

FORMATS = Subscription.Format.choices
ORDERINGS = Subscription.Ordering.choices
STARTS = (("latest", "with the next record"), ("earliest", "with the oldest record kept"))
NEW: dict[str, Any] = {
    "name": "",
    "filter": "{}",
    "format": "envelope",
    "ordering": "none",
    "start": "latest",
    "topics": (),
}
TRIED = 100
VERBS = {
    "pause": "Nothing is sent until you resume it; what comes meanwhile is owed.",
    "resume": "It goes on where it was paused.",
}


class Subscriptions(PortalPage):
    """All subscriptions of a partner."""

    section = "subscriptions"
    template = "subscriptions.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        endpoints = self.door.rows("/endpoints", limit=200)
        return self.show(
            subscriptions=self.door.rows("/subscriptions", limit=200),
            names={row["id"]: row["name"] for row in endpoints},
        )


class NewSubscription(PortalPage):
    """The form of a new one."""

    section = "subscriptions"
    template = "subscription_form.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        given = {name: request.GET[name] for name in ("filter", "endpoint") if name in request.GET}
        topics = tuple(request.GET.getlist("topics"))
        return self._form(Form({**NEW, **given, "topics": topics}))

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            made = self.door.post("/subscriptions", _asked(request.POST))
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._form(Form(_typed(request.POST), refused))
        messages.success(request, "Saved. Every record from now on is owed to the endpoint.")
        return self.go(f"subscriptions/{made['id']}")

    def _form(self, form: Form) -> HttpResponse:
        topics = self.door.rows("/topics", limit=200)
        endpoints = self.door.rows("/endpoints", limit=200)
        return self.show(
            form=form,
            topics=[row["name"] for row in topics if "read" in row["actions"]],
            endpoints=[(row["id"], f"{row['name']} ({row['url']})") for row in endpoints],
            formats=FORMATS,
            orderings=ORDERINGS,
            starts=STARTS,
        )


class OneSubscription(PortalPage):
    """One subscription: where its lanes stand, and its buttons."""

    section = "subscriptions"
    template = "subscription.html"

    def get(self, _: HttpRequest, subscription: str) -> HttpResponse:
        return self._card(subscription, Form({}))

    def post(self, request: HttpRequest, subscription: str) -> HttpResponse:
        wanted, path = request.POST.get("do", ""), f"/subscriptions/{subscription}"
        self.door.get(path)  # one that is not there has no buttons
        try:
            if wanted == "delete":
                self.door.delete(path, discard_parked="true" if "discard" in request.POST else "")
                messages.success(request, "The subscription is deleted; its attempts stay listed.")
                return self.go("subscriptions")
            if wanted == "filter":
                self.door.patch(path, {"filter": _filter(request.POST.get("filter", ""))})
                messages.success(request, "The new filter holds for records read from now on.")
            if wanted in VERBS:
                self.door.post(f"{path}/{wanted}")
                messages.success(request, VERBS[wanted])
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._card(subscription, Form(request.POST, refused))
        return self.go(f"subscriptions/{subscription}")

    def _card(self, subscription: str, form: Form) -> HttpResponse:
        row = self.door.get(f"/subscriptions/{subscription}")
        if "filter" not in form.values:
            shown = json.dumps(row["filter"], ensure_ascii=False, indent=2)
            form = Form({**form.values, "filter": shown}, form.refused)
        return self.show(
            subscription=row,
            form=form,
            endpoint=self._endpoint(row),
            position=self._position(subscription),
        )

    def _endpoint(self, row: dict[str, Any]) -> Any:
        return self.door.get(f"/endpoints/{row['endpoint']}") if row["endpoint"] else None

    def _position(self, subscription: str) -> Any:
        """Return where the lanes stand; None while Kafka is away."""
        try:
            return self.door.get(f"/subscriptions/{subscription}/position")
        except Refused as refused:
            if refused.is_about_input:
                raise
            return None


class TryFilter(PortalPage):
    """What a filter does to the newest records; a fragment."""

    template = "parts/tried.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        topics = request.POST.getlist("topics")
        if not topics:
            return self.show(text="Tick a topic first: the filter is tried on its newest records.")
        body = {"filter": _filter(request.POST.get("filter", "")), "topic": topics[0]}
        try:
            tried = self.door.post("/filters/explain", {**body, "last": TRIED})
        except Refused as refused:
            text = " ".join(fault["message"] for fault in refused.faults) or str(refused)
            return self.show(text=text)
        return self.show(tried=tried, topic=topics[0])


def _filter(text: str) -> object:
    """Return the filter as JSON; a text that is none goes as a text, for the API to refuse."""
    try:
        value: object = json.loads(text or "{}")
    except ValueError as error:
        return f"not JSON: {error}"
    return value


def _typed(posted: QueryDict) -> dict[str, Any]:
    typed = {name: posted.get(name, "") for name in (*NEW, "endpoint")}
    return {**typed, "topics": posted.getlist("topics")}


def _asked(posted: QueryDict) -> dict[str, Any]:
    typed = _typed(posted)
    body = {**typed, "filter": _filter(typed["filter"])}
    return {name: value for name, value in body.items() if value or name == "topics"}
