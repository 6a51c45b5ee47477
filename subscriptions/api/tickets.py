"""``/stream-tickets``: what a browser opens a stream with, and the same as a cookie."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub import clock, config
from kafkahub.drf import answers, pages
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.errors import OriginNotAllowed
from subscriptions import cors, ownership
from subscriptions.actions import tickets as actions
from subscriptions.api.base import PartnerView, PublicView
from subscriptions.api.ticket_forms import TicketIn, TicketMade, TicketOut
from subscriptions.authentication import credentials, ticket_cookie
from subscriptions.inputs import wrong
from subscriptions.models import StreamTicket

TICKET: Mapping[str, object] = {
    "id": "tkt_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "issuer": "key_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "topics": ["orders"],
    "transports": ["sse"],
    "filter": None,
    "format": None,
    "origin": "https://shop.example.com",
    "produce": False,
    "max_connections": 2,
    "status": "waiting",
    "created_at": "2026-11-23T04:19:00.123Z",
    "open_before": "2026-11-23T04:20:00.123Z",
    "opened_at": None,
    "expires_at": "2026-11-23T05:19:00.123Z",
}
MADE: Mapping[str, object] = {
    **TICKET,
    "ticket": "kht_…",
    "url": "https://hub.example/streams/orders?ticket=kht_…",
    "ws_url": None,
}


class Tickets(PartnerView):
    tag = "stream-tickets"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listStreamTickets",
            summary="Tickets that this key made and that are not over, without their text",
            scope="",
            answer=TicketOut,
            is_list=True,
            answered=TICKET,
        ),
        "POST": Operation(
            id="createStreamTicket",
            summary="Make a ticket that opens one stream address from a browser; shown once",
            scope="",
            body=TicketIn,
            answer=TicketMade,
            status=201,
            codes=(
                "not_found",
                "action_not_granted",
                "insufficient_scope",
                "bad_combination",
                "invalid_filter",
            ),
            example={"topics": ["orders"], "origin": "https://shop.example.com"},
            answered=MADE,
        ),
    }

    def get(self, _: Request) -> HttpResponse:
        rows = ownership.tickets_of(self.principal).live()
        found, next_cursor = pages.take(rows, self.page(self.principal.id))
        return self.listed([TicketOut(row).data for row in found], next_cursor)

    def post(self, _: Request) -> HttpResponse:
        values = self.values()
        if values["form"] == "cookie" and not self._is_own_page:
            text = "A cookie is set for pages of this host only; others use /stream-tickets/cookie."
            raise wrong("bad_combination", text, "/form")
        return self.commit(lambda: self._create(values))

    @property
    def _is_own_page(self) -> bool:
        return self.django_request.headers.get("Sec-Fetch-Site") == "same-origin"

    def _create(self, values: Values) -> HttpResponse:
        row, text = actions.create_ticket(self.principal, _wish(values))
        place = f"{self.django_request.path}/{row.pk}"
        has_cookie = values["form"] == "cookie"
        shown = TicketMade(row, context={"text": None if has_cookie else text}).data
        left_s = int((row.expires_at - clock.now()).total_seconds())
        cookie = _cookie(text, row.topics, left_s, is_far=False) if has_cookie else {}
        return answers.json(shown, 201, {"Location": place, **cookie})


class OneTicket(PartnerView):
    tag = "stream-tickets"
    operations: ClassVar[Mapping[str, Operation]] = {
        "DELETE": Operation(
            id="revokeStreamTicket",
            summary="Revoke a ticket; its streams are closed within 5 s",
            scope="",
            status=204,
        ),
    }

    def delete(self, _: Request, ticket: str) -> HttpResponse:
        row = ownership.get_ticket(self.principal, ticket)
        self.expect_no_body()
        return self.commit(lambda: self._revoke(row))

    def _revoke(self, row: StreamTicket) -> HttpResponse:
        actions.revoke_ticket(self.actor, row)
        return HttpResponse(status=204)


class TicketCookie(PublicView):
    """The one route of the control API that other sites' pages may call."""

    tag = "stream-tickets"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="exchangeStreamTicket",
            summary="Set the ticket in the Authorization header as a cookie of its stream's path",
            scope=None,
            status=204,
            codes=("unauthenticated", "key_expired", "origin_not_allowed"),
        ),
    }

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        if self._foreign_origin and not ownership.is_any_partners_origin(self._foreign_origin):
            raise OriginNotAllowed
        if request.method != "OPTIONS":
            super().initial(request, *args, **kwargs)

    def options(self, _: Request) -> HttpResponse:  # type: ignore[override]  # as in HubView
        return HttpResponse(status=204, headers=cors.preflight_headers(self._foreign_origin))

    def post(self, _: Request) -> HttpResponse:
        self.expect_no_body()
        headers = self.django_request.headers
        text = credentials.parse(headers.get("Authorization")).text
        fetch_site = headers.get("Sec-Fetch-Site")
        ticket = actions.exchange(text, origin=self._foreign_origin or None, fetch_site=fetch_site)
        left_s = (ticket.expires_at_ms - int(clock.now().timestamp() * 1000)) // 1000
        is_far = fetch_site == "cross-site"
        cookie = _cookie(text, ticket.topics, left_s, is_far=is_far)
        return HttpResponse(status=204, headers=cookie)

    @property
    def _foreign_origin(self) -> str:
        """The ``Origin`` of a page of another host; "" for our own pages and for no page."""
        headers = self.django_request.headers
        is_ours = headers.get("Sec-Fetch-Site") == "same-origin"
        return "" if is_ours else headers.get("Origin", "")

    def finalize_response(  # type: ignore[override]  # as in HubView
        self, request: Request, response: HttpResponse, *args: object, **kwargs: object
    ) -> HttpResponse:
        sealed = super().finalize_response(request, response, *args, **kwargs)
        sealed.headers["Vary"] = "Origin"
        if self._foreign_origin and not _is_refused_origin(sealed):
            found = cors.answer_headers(self._foreign_origin, has_cookie=True)
            for name, value in found.items():
                sealed.headers.setdefault(name, value)
        return sealed


def _is_refused_origin(response: HttpResponse) -> bool:
    return response.status_code == OriginNotAllowed.status


def _cookie(text: str, topics: Sequence[str], left_s: int, *, is_far: bool) -> dict[str, str]:
    is_secure = config.load().base_url.startswith("https://")
    value = ticket_cookie.written(text, topics, left_s=left_s, is_secure=is_secure, is_far=is_far)
    return {"Set-Cookie": value}


def _wish(values: Values) -> actions.Wish:
    return actions.Wish(
        topics=tuple(values["topics"]),
        transports=tuple(values["transports"]),
        filter=values["filter"],
        format=values["format"] or "",
        origin=values["origin"] or "",
        produce=values["produce"],
        open_within=timedelta(seconds=values["open_within_s"]),
        expires_in=timedelta(seconds=values["expires_in_s"]),
        max_connections=values["max_connections"],
    )
