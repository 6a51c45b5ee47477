"""What an endpoint's page tries: a test record, a receiver's judgement. Fragments."""

from django.http import HttpRequest, HttpResponse

from delivery.portal.deliveries import told, waterfall
from subscriptions.portal.base import PortalPage
from subscriptions.portal.door import Refused


class CheckAddress(PortalPage):
    """The steps to an address that is typed; nothing is saved."""

    template = "parts/checks.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            found = self.door.post("/endpoints/check", {"url": request.POST.get("url", "")})
        except Refused as refused:
            if not refused.is_about_input:
                raise
            texts = [fault["message"] for fault in refused.faults]
            return self.show(text=" ".join(texts) or str(refused))
        return self.show(checks=found["checks"])


class CheckReceiver(PortalPage):
    """Whether the receiver takes what is good and refuses what is forged."""

    template = "parts/receiver.html"

    def post(self, _: HttpRequest, endpoint: str) -> HttpResponse:
        try:
            found = self.door.post(f"/endpoints/{endpoint}/check-receiver")
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self.show(text=str(refused))
        return self.show(found=found)


class TestRecord(PortalPage):
    """Sends one test record, and shows what came of it."""

    template = "parts/tested.html"

    def post(self, _: HttpRequest, endpoint: str) -> HttpResponse:
        try:
            made = self.door.post(f"/endpoints/{endpoint}/test")
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self.show(text=str(refused))
        attempts = [(one, waterfall(one)) for one in told(self.door, made["attempts"])]
        return self.show(made=made, attempts=attempts)
