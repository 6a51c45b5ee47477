"""How an endpoint fares: a part of its page that renews itself, and a probe."""

from django.http import HttpRequest, HttpResponse

from delivery.words import Case, sentence
from subscriptions.portal.base import PortalPage
from subscriptions.portal.door import Refused


class Health(PortalPage):
    """Numbers of one endpoint; a fragment."""

    template = "parts/health.html"

    def get(self, _: HttpRequest, endpoint: str) -> HttpResponse:
        return self.show(health=self.door.get(f"/endpoints/{endpoint}/health"))


class Probe(PortalPage):
    """Asks an endpoint now whether it takes deliveries; a fragment."""

    template = "parts/probed.html"

    def post(self, _: HttpRequest, endpoint: str) -> HttpResponse:
        try:
            found = self.door.post(f"/endpoints/{endpoint}/probe")
        except Refused as refused:
            if not refused.is_about_input:
                raise
            return self.show(text=str(refused))
        case = Case("It", 443, found["http_status"] or 0)
        return self.show(found=found, said=sentence(found["outcome"], case))
