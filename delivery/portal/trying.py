"""What an endpoint's page tries: a test record, a receiver's judgement. Fragments."""

from django.http import HttpRequest, HttpResponse

from delivery.portal.deliveries import waterfall
from subscriptions.portal.base import PortalPage
from subscriptions.portal.door import Refused


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
        attempts = [(one, waterfall(one)) for one in made["attempts"]]
        return self.show(made=made, attempts=attempts)
