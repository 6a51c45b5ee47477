"""Endpoints: where records are sent, how each stands, and what is done to it."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict

from subscriptions.portal.base import Form, PortalPage
from subscriptions.portal.door import Refused

VERBS = {
    "enable": ("/enable", "Records are sent again; what waited comes first."),
    "disable": ("/disable", "Nothing is sent; what the endpoint is owed waits in Kafka."),
    "verify": ("/verify", "The endpoint was asked again; see its state below."),
}
"""What a button does: the API's path below the endpoint, and what is said when it is done."""
NUMBERS = ("timeout_ms", "max_in_flight")
NEW = {"url": "", "name": "", "timeout_ms": "15000", "max_in_flight": "32"}


class Endpoints(PortalPage):
    """All endpoints of a partner."""

    section = "endpoints"
    template = "endpoints.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        return self.show(endpoints=self.door.rows("/endpoints", limit=100))


class NewEndpoint(PortalPage):
    """The form; what is typed is checked in words before anything is saved."""

    section = "endpoints"
    template = "endpoint_form.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        return self.show(form=Form(NEW))

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            made = self.door.post("/endpoints", _asked(request.POST))
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self.show(form=Form(request.POST, refused))
        return self.show("endpoint_made.html", endpoint=made)


class Endpoint(PortalPage):
    """One endpoint: its card, its last attempts, and its buttons."""

    section = "endpoints"
    template = "endpoint.html"

    def get(self, _: HttpRequest, endpoint: str) -> HttpResponse:
        return self._card(endpoint, None)

    def post(self, request: HttpRequest, endpoint: str) -> HttpResponse:
        wanted = request.POST.get("do", "")
        try:
            return self._done(request, endpoint, wanted)
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._card(endpoint, refused)

    def _done(self, request: HttpRequest, endpoint: str, wanted: str) -> HttpResponse:
        path = f"/endpoints/{endpoint}"
        self.door.get(path)  # one that is not there has no buttons
        if wanted == "rotate":
            made = self.door.post(f"{path}/secrets", {"kind": "hmac"})
            return self.show("secret_made.html", secret=made, endpoint=self.door.get(path))
        if wanted == "delete":
            self.door.delete(path)
            messages.success(request, "The endpoint is deleted.")
            return self.go("endpoints")
        if wanted in VERBS:
            place, told = VERBS[wanted]
            self.door.post(f"{path}{place}")
            messages.success(request, told)
        return self.go(f"endpoints/{endpoint}")

    def _card(self, endpoint: str, refused: Refused | None) -> HttpResponse:
        row = self.door.get(f"/endpoints/{endpoint}")
        return self.show(
            endpoint=row,
            form=Form({}, refused),
            attempts=self.door.rows("/attempts", endpoint=endpoint, limit=10),
            subscriptions=self.door.rows("/subscriptions", endpoint=endpoint, limit=20),
            secrets=self.door.rows(f"/endpoints/{endpoint}/secrets", limit=20),
        )


def _asked(posted: QueryDict) -> dict[str, Any]:
    """Return the body of the API's request; members left empty have their default."""
    body: dict[str, Any] = {"url": posted.get("url", "").strip()}
    if posted.get("name"):
        body["name"] = posted["name"]
    for name in NUMBERS:
        text = posted.get(name, "")
        if text:
            body[name] = int(text) if text.isdecimal() else text
    return body
