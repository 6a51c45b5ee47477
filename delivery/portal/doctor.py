"""The signature doctor: headers and body that a receiver refuses, and what is wrong with them."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from subscriptions.portal.base import Form, PortalPage
from subscriptions.portal.door import Refused

EMPTY = {"endpoint": "", "headers": "", "body": ""}


class Doctor(PortalPage):
    """The form and the verdict. It asks for no secret: it has the endpoint's."""

    section = "doctor"
    template = "doctor.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        delivery = request.GET.get("delivery", "")
        given = {"headers": f"webhook-id: {delivery}\n"} if delivery else {}
        return self._page(Form({**EMPTY, **given}), None)

    def post(self, request: HttpRequest) -> HttpResponse:
        # A browser sends line ends of a text field as CR LF, whatever was pasted.
        body = request.POST.get("body", "").replace("\r\n", "\n")
        asked = {
            "endpoint": request.POST.get("endpoint", ""),
            "headers": headers_of(request.POST.get("headers", "")),
            "body": body,
        }
        form = Form(request.POST)
        try:
            return self._page(form, self.door.post("/signature-checks", asked))
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self._page(Form(request.POST, refused), None)

    def _page(self, form: Form, verdict: Any) -> HttpResponse:
        rows = self.door.rows("/endpoints", limit=200)
        endpoints = [(row["id"], row["name"]) for row in rows]
        return self.show(form=form, verdict=verdict, endpoints=endpoints)


def headers_of(text: str) -> dict[str, str]:
    """Return headers as they were pasted, a line each; what is no header is left out."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
