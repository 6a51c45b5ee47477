"""``/endpoints/{ep}/verify``: a handshake now, because somebody asks for it."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from delivery import verifying
from kafkahub import clock
from kafkahub.drf.fields import OneOf, Strict
from kafkahub.drf.operations import Operation
from subscriptions import ownership
from subscriptions.actions import verification as actions
from subscriptions.api.base import PartnerView
from subscriptions.api.endpoints import ENDPOINT
from subscriptions.endpoint_serializers import EndpointOut
from subscriptions.models import Endpoint


class VerifyIn(Strict):
    """How the endpoint shows that it wants what it is sent; absent: as it did before."""

    method = OneOf(
        choices=[Endpoint.Method.CHALLENGE.value, Endpoint.Method.CLOUDEVENTS.value],
        required=False,
    )


class VerifyEndpoint(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="verifyEndpoint",
            summary="Repeat the handshake; what was wrong is in `verification.detail`",
            scope="webhooks:write",
            body=VerifyIn,
            is_body_optional=True,
            answer=EndpointOut,
            codes=("conflict",),
            example={"method": "challenge"},
            answered=ENDPOINT,
        )
    }

    def post(self, _: Request, endpoint: str) -> HttpResponse:
        row = ownership.get_endpoint(self.partner, endpoint)
        asked = self.values().get("method")
        if not self.arguments.flag("dry_run"):
            now = clock.now()
            actions.begin_again(row, None if asked is None else Endpoint.Method(asked), now)
            verifying.try_now(ownership.get_endpoint(self.partner, endpoint), now)
        return self.commit(lambda: self._shown(endpoint))

    def _shown(self, endpoint: str) -> HttpResponse:
        row = ownership.get_endpoint(self.partner, endpoint)
        return self.single(EndpointOut(row).data, row.version)
