"""Keys: made, rotated and revoked; each shown once."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict

from kafkahub import clock, config
from subscriptions.inputs import FIXED_SCOPES
from subscriptions.portal.base import Form, PortalPage
from subscriptions.portal.door import Refused

SCOPES = (*FIXED_SCOPES, "topic:*:read", "topic:*:write")
USUAL = ("topic:*:read", "webhooks:read", "webhooks:write", "deliveries:read")
MODES = (("live", "live"), ("test", "test: sandbox topics only"))
NEW: dict[str, Any] = {"mode": "live", "scopes": USUAL, "topics": (), "days": "90"}


class Keys(PortalPage):
    """The list, and a new one."""

    section = "keys"
    template = "keys.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        return self._list(Form(NEW))

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            made = self.door.post("/api-keys", _asked(request.POST))
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._list(Form(_typed(request.POST), refused))
        return self.show("key_made.html", key=made, **self._example(made))

    def _list(self, form: Form) -> HttpResponse:
        found = self.door.rows("/api-keys", limit=100)
        topics = [row["name"] for row in self.door.rows("/topics", limit=200)]
        return self.show(keys=found, form=form, scopes=SCOPES, topics=topics, modes=MODES)

    def _example(self, key: dict[str, Any]) -> dict[str, Any]:
        """Return a topic that the key reads, for a first request; none where it reads none."""
        wanted = key["topics"] or [
            row["name"] for row in self.door.rows("/topics", limit=1) if "read" in row["actions"]
        ]
        return {"topic": wanted[0] if wanted else "", "base_url": config.load().base_url}


class Key(PortalPage):
    """What is done to one key."""

    section = "keys"

    def post(self, request: HttpRequest, key: str) -> HttpResponse:
        if request.POST.get("do") == "rotate":
            made = self.door.post(f"/api-keys/{key}/rotate")
            return self.show("key_made.html", key=made, is_rotated=True)
        self.door.delete(f"/api-keys/{key}")
        messages.success(request, "The key is revoked: it opens nothing within 5 seconds.")
        return self.go("keys")


class KeyUse(PortalPage):
    """Whether a fresh key was used: its page asks while somebody waits."""

    template = "parts/key_use.html"

    def get(self, _: HttpRequest, key: str) -> HttpResponse:
        return self.show(key=self.door.get(f"/api-keys/{key}"))


def _typed(posted: QueryDict) -> dict[str, Any]:
    return {
        **{name: posted.get(name, "") for name in ("name", "mode", "days", "allowed_cidrs")},
        "scopes": posted.getlist("scopes"),
        "topics": posted.getlist("topics"),
    }


def _asked(posted: QueryDict) -> dict[str, Any]:
    """Return the body of the API's request; what is no number stays a text, for it to refuse."""
    typed = _typed(posted)
    days = int(typed["days"]) if typed["days"].isdecimal() else 0
    networks = [part.strip() for part in typed["allowed_cidrs"].split(",") if part.strip()]
    return {
        "name": typed["name"],
        "mode": typed["mode"],
        "scopes": typed["scopes"],
        "topics": typed["topics"] or None,
        "allowed_cidrs": networks,
        "expires_at": clock.rfc3339(clock.now() + timedelta(days=min(days, 36_500))),
    }
