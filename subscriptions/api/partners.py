"""``/partner``: the profile of whoever asks."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from subscriptions import ownership
from subscriptions.actions.partners import update_partner
from subscriptions.api.base import PartnerView
from subscriptions.serializers import PartnerOut, PartnerPatch

PARTNER: Mapping[str, object] = {
    "id": "ptn_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "name": "Acme",
    "status": "active",
    "contact": "",
    "allowed_origins": [],
    "version": 1,
    "created_at": "2026-11-23T04:19:00.123Z",
    "updated_at": "2026-11-23T04:19:00.123Z",
}


class Profile(PartnerView):
    tag = "partner"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getPartner",
            summary="Your own profile",
            scope="",
            answer=PartnerOut,
            has_version=True,
            answered=PARTNER,
        ),
        "PATCH": Operation(
            id="updatePartner",
            summary="Name the web origins whose pages may open your streams (merge patch)",
            scope="keys:manage",
            body=PartnerPatch,
            answer=PartnerOut,
            has_version=True,
            example={"allowed_origins": ["https://shop.example.com"]},
            answered={**PARTNER, "allowed_origins": ["https://shop.example.com"], "version": 2},
        ),
    }

    def get(self, _: Request) -> HttpResponse:
        partner = ownership.get_partner(self.partner)
        return self.single(PartnerOut(partner).data, partner.version)

    def patch(self, _: Request) -> HttpResponse:
        values = self.values()
        return self.commit(lambda: self._update(values))

    def _update(self, values: Values) -> HttpResponse:
        locked = ownership.get_partner(self.partner, lock=True)
        self.require_match(locked.version)
        partner = update_partner(self.actor, locked, values)
        return self.single(PartnerOut(partner).data, partner.version)
