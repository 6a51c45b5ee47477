"""Alerts: what the partner was told, and who did what to its objects."""

from django.http import HttpRequest, HttpResponse

from subscriptions import ownership
from subscriptions.portal.base import PortalPage

SHOWN = 50


class Alerts(PortalPage):
    """Notices, newest first, and the partner's own audit rows."""

    section = "alerts"
    template = "alerts.html"

    def get(self, _: HttpRequest) -> HttpResponse:
        return self.show(
            notices=self.door.rows("/notices", limit=SHOWN),
            events=ownership.audit_of(self.partner.pk).order_by("-id")[:SHOWN],
        )
