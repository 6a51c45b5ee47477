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
        may_see = self.principal.has("keys:manage")
        return self.show(
            visits=ownership.visits_of(self.partner.pk)[:SHOWN],
            notices=self.door.rows("/notices", limit=SHOWN),
            events=self.door.rows("/audit", limit=SHOWN) if may_see else [],
        )
