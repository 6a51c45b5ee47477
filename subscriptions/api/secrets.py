"""``/endpoints/{ep}/secrets``: what signs, and rotating it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub import clock
from kafkahub.drf import answers, pages, parameters
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from subscriptions import ownership
from subscriptions.actions import endpoints as actions
from subscriptions.api.base import PartnerView
from subscriptions.endpoint_serializers import SecretIn, SecretMade, SecretOut
from subscriptions.models import SigningSecret

SECRET: Mapping[str, object] = {
    "id": "sec_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "kind": "hmac",
    "status": "active",
    "public_key": None,
    "created_at": "2026-11-23T04:19:00.123Z",
    "expires_at": None,
}


class Secrets(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listSecrets",
            summary="The signing secrets of an endpoint, without the secrets",
            scope="webhooks:read",
            query=(parameters.choice("status", "Only those.", SigningSecret.Status.values),),
            answer=SecretOut,
            is_list=True,
            answered=SECRET,
        ),
        "POST": Operation(
            id="rotateSecret",
            summary="Make a new signing secret; the one before signs on for the overlap",
            scope="webhooks:write",
            body=SecretIn,
            is_body_optional=True,
            answer=SecretMade,
            status=201,
            codes=("invalid_secret", "bad_combination", "out_of_range", "limit_reached"),
            example={"kind": "hmac", "overlap_s": 86400},
            answered={**SECRET, "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
        ),
    }

    def get(self, _: Request, endpoint: str) -> HttpResponse:
        owner = ownership.get_endpoint(self.partner, endpoint)
        rows = _in_status(ownership.secrets_of(owner), self.arguments.text("status"))
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([SecretOut(row).data for row in found], next_cursor)

    def post(self, _: Request, endpoint: str) -> HttpResponse:
        ownership.get_endpoint(self.partner, endpoint)
        values = self.values()
        return self.commit(lambda: self._rotate(endpoint, values))

    def _rotate(self, endpoint: str, values: Values) -> HttpResponse:
        owner = ownership.get_endpoint(self.partner, endpoint, lock=True)
        row, secret = actions.rotate_secret(
            self.actor,
            owner,
            values["kind"],
            values.get("secret"),
            timedelta(seconds=values["overlap_s"]),
        )
        place = f"{self.django_request.path}/{row.id}"
        data = {**SecretOut(row).data, "secret": secret}
        return answers.json(data, 201, {"Location": place})


class OneSecret(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "DELETE": Operation(
            id="retireSecret",
            summary="End a signing secret at once",
            scope="webhooks:write",
            status=204,
            codes=("in_use",),
        )
    }

    def delete(self, _: Request, endpoint: str, secret: str) -> HttpResponse:
        owner = ownership.get_endpoint(self.partner, endpoint)
        ownership.get_secret(owner, secret)
        self.expect_no_body()
        return self.commit(lambda: self._retire(endpoint, secret))

    def _retire(self, endpoint: str, secret: str) -> HttpResponse:
        owner = ownership.get_endpoint(self.partner, endpoint, lock=True)
        actions.retire_secret(self.actor, ownership.get_secret(owner, secret, lock=True))
        return HttpResponse(status=204)


def _in_status(rows: QuerySet[SigningSecret], status: str | None) -> QuerySet[SigningSecret]:
    """Return the secrets in that status; it is not kept, it follows from ``expires_at``."""
    if status is None:
        return rows
    conditions = {
        SigningSecret.Status.ACTIVE: Q(expires_at__isnull=True),
        SigningSecret.Status.RETIRING: Q(expires_at__gt=clock.now()),
        SigningSecret.Status.RETIRED: Q(expires_at__lte=clock.now()),
    }
    return rows.filter(conditions[SigningSecret.Status(status)])
