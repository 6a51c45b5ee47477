"""``/partner``: the profile of whoever asks."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub.drf.operations import Operation
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.serializers import PartnerOut


class Profile(PartnerView):
    tag = "partner"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getPartner",
            summary="Your own profile",
            scope="",
            answer=PartnerOut,
            has_version=True,
            answered={
                "id": "ptn_01jd0q2v7kz3v1m8x9c4b5n6a7",
                "name": "Acme",
                "status": "active",
                "contact": "",
                "version": 1,
                "created_at": "2026-11-23T04:19:00.123Z",
                "updated_at": "2026-11-23T04:19:00.123Z",
            },
        )
    }

    def get(self, _: Request) -> HttpResponse:
        partner = ownership.get_partner(self.partner)
        return self.single(PartnerOut(partner).data, partner.version)
