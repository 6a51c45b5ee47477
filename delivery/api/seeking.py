"""``/subscriptions/{sub}/seek``: move a subscription back or forward."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from delivery import seeking
from delivery.api.logs import KnownEnds, ends_now
from delivery.api.positions import POSITION, position_of
from delivery.serializers import PositionOut, SeekIn
from kafkahub.drf import answers
from kafkahub.drf.operations import Operation
from kafkahub.errors import Conflict
from subscriptions import ownership, starts
from subscriptions.api.base import PartnerView
from subscriptions.api.places import check_offsets, opened
from subscriptions.models import Subscription


class SeekSubscription(PartnerView):
    tag = "subscriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="seekSubscription",
            summary="Send again from an earlier place, or give up what lies before a later one",
            scope="deliveries:write",
            body=SeekIn,
            answer=PositionOut,
            codes=("conflict", "start_not_available", "not_allowed_by_grant", "invalid_cursor"),
            example={"to": "first_failure"},
            answered=POSITION,
        )
    }

    def post(self, _: Request, subscription: str) -> HttpResponse:
        row = ownership.get_subscription(self.partner, subscription)
        to = opened(self.values()["to"], self.partner, row.topics, "/to")
        if row.mode != Subscription.Mode.WEBHOOK:
            raise Conflict("Only a subscription of records has a place to be moved to.")
        check_offsets(self.principal, to, row.topics, "/to")
        admin = starts.process_admin()
        where = seeking.targets(row, to, admin, at="/to")
        names = seeking.naming(admin)
        ends = {topic: ends_now(topic) for topic in row.topics}  # before the transaction

        def work() -> HttpResponse:
            seeking.seek(self.actor, row, to, where, names)
            position = position_of(row, KnownEnds(ends))
            context = {"telling": ownership.telling_of(self.partner)}
            return answers.json(PositionOut(position, context=context).data)

        return self.commit(work)
