"""Replays: counted before anything is sent, then started, watched, paused and cancelled."""

import json
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict

from subscriptions.portal.base import Form, PortalPage
from subscriptions.portal.door import Refused

SOURCES = (
    ("time", "records from a time on"),
    ("earliest", "all records that Kafka still has"),
    ("dead", "all dead letters"),
    ("cursor", "records behind a cursor"),
)
NEW = {"subscription": "", "source": "time", "since": "", "until": "", "cursor": "", "rate": ""}
VERBS = frozenset({"start", "pause", "resume", "cancel"})
MOVING = frozenset({"counting", "running", "cancelling"})
"""States that end by themselves: the page looks again by itself."""


class Replays(PortalPage):
    """The list, and a new one."""

    section = "replays"
    template = "replays.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._list(Form({**NEW, "subscription": request.GET.get("subscription", "")}))

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            made = self.door.post("/replays", asked(request.POST))
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._list(Form(request.POST, refused))
        return self.go(f"replays/{made['id']}")

    def _list(self, form: Form) -> HttpResponse:
        rows = self.door.rows("/subscriptions", limit=200)
        named = [(row["id"], row["name"]) for row in rows if row["mode"] == "webhook"]
        return self.show(
            replays=self.door.rows("/replays", limit=50),
            names=dict(named),
            subscriptions=named,
            sources=SOURCES,
            form=form,
        )


class OneReplay(PortalPage):
    """One replay: what was counted, how far it is, and its buttons."""

    section = "replays"
    template = "replay.html"

    def get(self, _: HttpRequest, replay: str) -> HttpResponse:
        return self._card(replay, Form({}))

    def post(self, request: HttpRequest, replay: str) -> HttpResponse:
        wanted = request.POST.get("do", "")
        self.door.get(f"/replays/{replay}")  # one that is not there has no buttons
        try:
            if wanted in VERBS:
                self.door.post(f"/replays/{replay}/{wanted}")
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._card(replay, Form({}, refused))
        return self.go(f"replays/{replay}")

    def _card(self, replay: str, form: Form) -> HttpResponse:
        row = self.door.get(f"/replays/{replay}")
        return self.show(replay=row, form=form, is_moving=row["state"] in MOVING)


class ReplayProgress(OneReplay):
    """The progress alone: the page asks for it while the replay moves."""

    template = "parts/replay.html"


def asked(posted: QueryDict) -> dict[str, Any]:
    """Return the body of the API's request."""
    body: dict[str, Any] = {
        "subscription": posted.get("subscription", ""),
        "source": _source(posted),
        "only_missing": "only_missing" in posted,
    }
    if rate := posted.get("rate", "").strip():
        body["rate_per_s"] = _number(rate)
    text = posted.get("filter", "").strip()
    if text and text != "{}":
        body["filter"] = _json(text)
    return body


def _source(posted: QueryDict) -> dict[str, Any]:
    wanted = posted.get("source", "")
    if wanted == "dead":
        return {"parked": {"state": "dead"}}
    begin: Any = "earliest"
    if wanted == "time":
        begin = {"time": _moment(posted.get("since", ""))}
    elif wanted == "cursor":
        begin = {"cursor": posted.get("cursor", "").strip()}
    until = posted.get("until", "")
    return {"kafka": {"from": begin, **({"to": {"time": _moment(until)}} if until else {})}}


def _moment(text: str) -> str:
    """Return the time of HTML's own field as the API takes it, in UTC; others as they are."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.replace(tzinfo=moment.tzinfo or UTC).isoformat()


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    return value
