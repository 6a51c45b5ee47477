"""The live console: the public stream, opened by a ticket, with the filter of a webhook."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from gateway import snippets
from kafkahub import config
from subscriptions.portal.base import PortalPage
from subscriptions.portal.door import Refused

OPEN_S, LIFE_S = 60, 3_600


class Console(PortalPage):
    """The page."""

    section = "console"
    template = "console.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = self.door.rows("/topics", limit=200)
        return self.show(
            topics=[row for row in rows if "read" in row["actions"]],
            chosen=request.GET.get("topic", ""),
            filter=request.GET.get("filter", ""),
        )


class Ticket(PortalPage):
    """A ticket for what the console's form says, as JSON for its script."""

    def post(self, request: HttpRequest) -> HttpResponse:
        topics = request.POST.getlist("topic")
        wish: dict[str, Any] = {
            "topics": topics,
            "open_within_s": OPEN_S,
            "expires_in_s": LIFE_S,
            "format": "envelope",
        }
        text = request.POST.get("filter", "").strip()
        if text and text != "{}":
            wish["filter"] = _filter(text)
        try:
            made = self.door.post("/stream-tickets", wish)
        except Refused as refused:
            told = " ".join(fault["message"] for fault in refused.faults) or str(refused)
            return JsonResponse({"error": told})
        return JsonResponse({"ticket": made["ticket"]})


class Snippets(PortalPage):
    """The view in other tongues; a fragment."""

    template = "parts/snippets.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        topics = tuple(request.POST.getlist("topic"))
        known = {row["name"] for row in self.door.rows("/topics", limit=200)}
        if not topics or not known.issuperset(topics):
            return self.show(text="Choose a topic first.")
        text = request.POST.get("filter", "").strip()
        value = _filter(text) if text and text != "{}" else None
        if value is not None and not isinstance(value, dict):
            return self.show(text="The filter is not a JSON object.")
        spelled = "" if value is None else json.dumps(value, ensure_ascii=False)
        view = snippets.View(
            config.load().base_url, topics, spelled, request.POST.get("cursor", "")
        )
        return self.show(snippets=snippets.all_of(view), topics=topics, filter=spelled)


def _filter(text: str) -> object:
    """Return the filter as JSON; a text that is none goes as a text, for the API to refuse."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    return value
