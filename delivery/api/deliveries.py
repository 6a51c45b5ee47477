"""``/deliveries``: a line for every record owed to a subscription, and sending one again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from delivery import actions, lines, ownership
from delivery.actions import Place
from delivery.api import filters
from delivery.cursors import shown_with
from delivery.lines import Line
from delivery.reread import Remade
from delivery.serializers import DeliveryOut
from kafkahub import clock, config
from kafkahub.drf import answers, pages, parameters
from kafkahub.drf.operations import Operation
from kafkahub.errors import Conflict, NotFound
from kafkahub.kafka.record import Position
from subscriptions import ownership as owners
from subscriptions.api.base import PartnerView
from subscriptions.audit import Verb
from subscriptions.models import Subscription, Topic

DELIVERY = {
    "id": "msg_5VSfZ5qhZj7575Js21URzT",
    "state": "retrying",
    "subscription": "sub_01jd0000000000000000000000",
    "endpoint": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "topic": "orders",
    "partition": 0,
    "offset": 42,
    "key": "7",
    "time": "2026-11-23T04:19:00.123Z",
    "attempts": 1,
    "last_outcome": "http_5xx",
    "last_http_status": 503,
    "last_attempt_at": "2026-11-23T04:19:00.456Z",
    "next_attempt_at": "2026-11-23T04:20:00.456Z",
    "bytes": 93,
    "cursor": None,
    "gap": None,
}


class Deliveries(PartnerView):
    tag = "deliveries"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listDeliveries",
            summary="Deliveries by their newest attempt, newest first",
            scope="deliveries:read",
            query=(
                parameters.choice("state", "Only those.", [state.value for state in lines.State]),
                *filters.SENT,
            ),
            answer=DeliveryOut,
            is_list=True,
            answered=DELIVERY,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        page, (since, until) = self.page(self.partner), filters.window(self.arguments)
        state = self.arguments.text("state")
        keys = lines.page(
            self.partner,
            since=since,
            until=until,
            limit=page.limit + 1,
            state=lines.State(state) if state else None,
            filters=self._conditions(page),
        )
        shown = keys[: page.limit]
        next_cursor = None
        if len(keys) > page.limit:
            next_cursor = pages.close_page(page, [shown[-1].at.isoformat(), shown[-1].id])
        found = lines.fold([key.id for key in shown], since=since, until=until)
        return self.listed(self._shown(found), next_cursor)

    def _conditions(self, page: pages.Page) -> dict[str, object]:
        """Return what narrows the list, by the names that ``lines`` knows."""
        arguments = self.arguments
        names = ("subscription", "endpoint", "topic", "outcome", "id")
        found: dict[str, object] = {
            name: arguments.text(name) for name in names if arguments.text(name)
        }
        if key := arguments.text("key"):
            found["key"] = key.encode()
        if status := arguments.text("http_status"):
            found["status_low"], found["status_high"] = filters.statuses(status)
        if page.after is not None:
            found["after_at"], found["after_id"] = page.after
        return found | self._reach()

    def _reach(self) -> dict[str, object]:
        """Return the same as ``ownership.reach``, for plain SQL."""
        found: dict[str, object] = {}
        if self.principal.topics is not None:
            found["only_topics"] = sorted(self.principal.topics)
        if not self.principal.is_partners:
            return found
        sandbox = list(Topic.objects.filter(is_sandbox=True).values_list("name", flat=True))
        if self.principal.mode == "test":
            found["sandbox_topics"] = sandbox
        elif sandbox:
            found["other_topics"] = sandbox
        return found

    def _shown(self, found: list[Line]) -> list[Mapping[str, object]]:
        context = shown_with(self.partner)
        return [DeliveryOut(line, context=context).data for line in found]


class OneDelivery(PartnerView):
    tag = "deliveries"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getDelivery",
            summary="A delivery",
            scope="deliveries:read",
            answer=DeliveryOut,
            has_version=True,
            answered=DELIVERY,
        )
    }

    def get(self, _: Request, delivery: str) -> HttpResponse:
        shown = DeliveryOut(self.line(delivery), context=shown_with(self.partner)).data
        return self.single(shown, filters.version_of(shown))

    def line(self, webhook_id: str) -> Line:
        """Return the delivery; raise NotFound when there is none of this partner."""
        return find_line(self, webhook_id)


class ResendDelivery(PartnerView):
    tag = "deliveries"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="resendDelivery",
            summary="Send a delivery again now, under its own id",
            scope="deliveries:write",
            answer=DeliveryOut,
            status=202,
            codes=("conflict", "record_gone"),
            answered=DELIVERY,
        )
    }

    def post(self, _: Request, delivery: str) -> HttpResponse:
        line = find_line(self, delivery)
        self.expect_no_body()
        remade = self._remade(line)  # asks Kafka, so before the transaction
        return self.commit(lambda: self._resend(line, remade))

    def _remade(self, line: Line) -> Remade | None:
        """Return the delivery made anew, or None where the parked body is still good."""
        subscription = self._subscription(line)
        if line.parked is not None:
            version = actions.grant_version(subscription, line.parked.topic)
            if not actions.needs_body(line.parked, version):
                return None
        return actions.remade_at(subscription, place_of(line))

    def _resend(self, line: Line, remade: Remade | None) -> HttpResponse:
        if line.parked is not None:
            actions.send_again(self.actor, line.parked, remade, verb=Verb.DELIVERY_RESENT)
        elif remade is not None:
            place, subscription = place_of(line), self._subscription(line)
            actions.send_delivered_again(self.actor, subscription, place, remade)
        shown = DeliveryOut(find_line(self, line.id), context=shown_with(self.partner)).data
        place_shown = self.django_request.path.removesuffix("/resend")
        return answers.json(shown, 202, {"Location": place_shown})

    def _subscription(self, line: Line) -> Subscription:
        if line.parked is not None:
            return line.parked.subscription
        if line.attempt is None:
            raise NotFound
        try:
            return owners.get_subscription(self.partner, line.attempt.subscription)
        except NotFound:
            text = "The subscription of this delivery is deleted; nothing of it is sent any more."
            raise Conflict(text) from None


def find_line(view: PartnerView, webhook_id: str) -> Line:
    """Return a delivery of the partner, however old; raise NotFound when there is none."""
    since, until = _all_kept()
    attempt = ownership.find_last_attempt(view.principal, webhook_id)
    parked = ownership.find_parked(view.principal, webhook_id)
    if attempt is None and parked is None:
        raise NotFound
    [line] = lines.fold([webhook_id], since=since, until=until)
    return line


def place_of(line: Line) -> Place:
    """Return where the record of a delivery stands; a test has no record, so NotFound."""
    row = line.parked or line.attempt
    if row is None or row.partition < 0:
        raise NotFound
    sends = max(line.attempt.number if line.attempt else 0, line.parked.sends if line.parked else 0)
    return Place(Position(row.topic, row.partition, row.offset), line.id, sends)


def _all_kept() -> tuple[datetime, datetime]:
    now = clock.now()
    return now - timedelta(days=config.load().attempts_kept_days + 1), now + timedelta(minutes=1)
