"""What ``/stream-tickets`` takes and shows."""

from urllib.parse import urlencode

from rest_framework import serializers
from rest_framework.serializers import (
    BooleanField,
    CharField,
    IntegerField,
    JSONField,
    ListField,
    SerializerMethodField,
)

from kafkahub import clock, config
from kafkahub.drf.fields import Json, ListOf, Moment, OneOf, Strict, Truth, Values, Whole
from subscriptions.inputs import FILTER, TEXT, as_filter, as_origin, as_topic, wrong
from subscriptions.models import StreamTicket

MAX_TOPICS = 20
SSE, WS = StreamTicket.Transport.SSE.value, StreamTicket.Transport.WS.value


class TicketIn(Strict):
    """A ticket to be made."""

    topics = ListOf(
        child=Json(read=as_topic, schema=TEXT), min_length=1, max_length=MAX_TOPICS, unique=True
    )
    transports = ListOf(
        child=OneOf(choices=StreamTicket.Transport.values),
        min_length=1,
        max_length=2,
        unique=True,
        default=lambda: [SSE],
    )
    filter = Json(read=as_filter, schema=FILTER, allow_null=True, default=None)
    format = OneOf(choices=StreamTicket.Format.values, allow_null=True, default=None)
    origin = Json(read=as_origin, schema=TEXT, allow_null=True, default=None)
    produce = Truth(default=False)
    open_within_s = Whole(min_value=10, max_value=300, default=60)
    expires_in_s = Whole(min_value=60, max_value=43_200, default=3_600)
    max_connections = Whole(min_value=1, max_value=5, default=2)
    form = OneOf(choices=["url", "cookie"], default="url")

    def checked(self, values: Values) -> Values:
        if values["produce"] and WS not in values["transports"]:
            raise wrong("bad_combination", "To produce needs the transport ws.", "/produce")
        if values["form"] == "cookie" and values["transports"] != [SSE]:
            raise wrong("bad_combination", "A cookie opens no WebSocket.", "/transports")
        return values


class TicketOut(serializers.Serializer[StreamTicket]):
    """A ticket without its text."""

    id = CharField()
    issuer = SerializerMethodField()
    topics = ListField(child=CharField())
    transports = ListField(child=CharField())
    filter = JSONField(allow_null=True)
    format = SerializerMethodField()
    origin = SerializerMethodField()
    produce = BooleanField()
    max_connections = IntegerField()
    status = SerializerMethodField()
    created_at = Moment()
    open_before = Moment()
    opened_at = Moment(allow_null=True)
    expires_at = Moment()

    def get_issuer(self, ticket: StreamTicket) -> str:
        return ticket.issuer_id or ticket.member_id or ""

    def get_format(self, ticket: StreamTicket) -> str | None:
        return ticket.format or None

    def get_origin(self, ticket: StreamTicket) -> str | None:
        return ticket.origin or None

    def get_status(self, ticket: StreamTicket) -> str:
        """Return ``waiting`` until the first open, ``open`` from then on, or ``ended``."""
        now = clock.now()
        is_late = ticket.opened_at is None and ticket.open_before <= now
        if ticket.revoked_at is not None or ticket.expires_at <= now or is_late:
            return "ended"
        return "waiting" if ticket.opened_at is None else "open"


class TicketMade(TicketOut):
    """A new ticket, shown this once; the context has its ``text``, None where a cookie has it."""

    ticket = SerializerMethodField()
    url = SerializerMethodField()
    ws_url = SerializerMethodField()

    def get_ticket(self, _: StreamTicket) -> str | None:
        text: str | None = self.context["text"]
        return text

    def get_url(self, ticket: StreamTicket) -> str | None:
        if SSE not in ticket.transports:
            return None
        return f"{config.load().base_url}/streams/{','.join(ticket.topics)}{self._query()}"

    def get_ws_url(self, ticket: StreamTicket) -> str | None:
        if WS not in ticket.transports:
            return None
        host = config.load().base_url.replace("http", "ws", 1)
        return f"{host}/ws{self._query()}"

    def _query(self) -> str:
        text = self.context["text"]
        return "" if text is None else f"?{urlencode({'ticket': text})}"
