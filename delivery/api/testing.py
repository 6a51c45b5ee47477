"""``/endpoints/{ep}/test``: one marked, signed delivery to see whether an endpoint takes it."""

import time
from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from delivery import actions
from delivery.api.attempts import ATTEMPT
from delivery.lines import State
from delivery.models import DeliveryAttempt
from delivery.serializers import AttemptOut, EndpointTestIn, EndpointTestOut
from kafkahub.drf import answers
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.errors import Conflict, Fault, Invalid, NotFound
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.models import Endpoint, Subscription
from subscriptions.ownership import SeenTopic
from subscriptions.serializers import suspension

WAIT_S = 20.0
"""Longest wait for the attempt, in seconds; an attempt itself may take 30."""
LOOK_S = 0.1
DEFAULT_DATA = {"test": True}


class SendTest(PartnerView):
    tag = "endpoints"
    wait_s: float = WAIT_S
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="testEndpoint",
            summary="Send one test delivery; the answer shows what came of it",
            scope="webhooks:write",
            body=EndpointTestIn,
            is_body_optional=True,
            answer=EndpointTestOut,
            codes=("conflict", "bad_combination", "out_of_range"),
            example={"data": {"test": True}},
            answered={
                "id": "tst_5VSfZ5qhZj7575Js21URzT",
                "state": "delivered",
                "attempts": [{**ATTEMPT, "kind": "test"}],
            },
        )
    }

    def post(self, _: Request, endpoint: str) -> HttpResponse:
        target = ownership.get_endpoint(self.partner, endpoint)
        values = self.values()
        subscription = self._subscription(target, values.get("subscription"))
        seen = self._topic(subscription)
        response = self.commit(lambda: self._send(target, subscription, seen, values))
        if "Location" not in response.headers:
            return response  # a dry run
        webhook_id = response.headers["Location"].rpartition("/")[2]
        return self._answer(webhook_id) or response

    def _subscription(self, endpoint: Endpoint, named: str | None) -> Subscription:
        """Return the one that is named, else the newest that sends to the endpoint."""
        if named is not None:
            return self._named(endpoint, named)
        rows = ownership.subscriptions_of(self.partner).filter(
            endpoint=endpoint, mode=Subscription.Mode.WEBHOOK
        )
        granted = ownership.readable_names(self.partner)
        found = list(rows.order_by("-id"))
        sending = [row for row in found if not _silence(row, granted)]
        if sending:
            return sending[0]
        if found:
            raise Conflict(f"Nothing is sent to this endpoint: {_silence(found[0], granted)}.")
        raise Conflict("No subscription sends to this endpoint yet; make one, then test it.")

    def _named(self, endpoint: Endpoint, named: str) -> Subscription:
        try:
            row = ownership.get_subscription(self.partner, named)
        except NotFound:
            row = None
        if row is None or row.endpoint_id != endpoint.pk:
            text = "There is no such subscription that sends to this endpoint."
            raise Invalid([Fault("/subscription", "not_one_of", text)])
        if why := _silence(row, ownership.readable_names(self.partner)):
            raise Conflict(f"Nothing is sent for this subscription: {why}.")
        return row

    def _topic(self, subscription: Subscription) -> SeenTopic:
        """Return the first of its topics that the credential sees."""
        seen = ownership.topics_of(self.principal)
        for name in subscription.topics:
            if name in seen:
                return seen[name]
        raise NotFound

    def _send(
        self, endpoint: Endpoint, subscription: Subscription, seen: SeenTopic, values: Values
    ) -> HttpResponse:
        webhook_id = actions.send_test(
            self.actor,
            endpoint,
            subscription,
            seen.topic,
            event_type=values.get("type"),
            data=_data(values, seen),
        )
        place = self.django_request.path.partition("/endpoints/")[0]
        headers = {"Location": f"{place}/deliveries/{webhook_id}"}
        return answers.json(_result(webhook_id, []), 202, headers)

    def _answer(self, webhook_id: str) -> HttpResponse | None:
        """Return the attempts as soon as there is one, or None when the time is up."""
        deadline = time.monotonic() + self.wait_s
        while True:
            rows = DeliveryAttempt.objects.filter(partner=self.partner, delivery=webhook_id)
            if found := list(rows.order_by("at", "id")):
                return answers.json(_result(webhook_id, found))
            if time.monotonic() >= deadline:
                return None
            time.sleep(LOOK_S)


def _silence(subscription: Subscription, granted: frozenset[str]) -> str:
    """Return why nothing is sent for a subscription now, or ""."""
    if why := suspension(subscription, granted):
        return f"it is suspended ({why})"
    if subscription.status != Subscription.Status.ACTIVE:
        return f"it is {subscription.status}"
    return ""


def _data(values: Values, seen: SeenTopic) -> object:
    if "data" in values:
        return values["data"]
    if values.get("example", True) and seen.example is not None:
        return seen.example
    return DEFAULT_DATA


def _result(webhook_id: str, attempts: list[DeliveryAttempt]) -> dict[str, object]:
    state = State.WAITING
    if attempts:
        is_good = attempts[-1].outcome_class == State.DELIVERED.value
        state = State.DELIVERED if is_good else State.DEAD_LETTER
    shown = [AttemptOut(row).data for row in attempts]
    return {"id": webhook_id, "state": state.value, "attempts": shown}
