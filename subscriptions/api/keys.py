"""``/api-keys``: credentials, each shown once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub import clock, config
from kafkahub.drf import pages, parameters
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.drf.parameters import Arguments
from subscriptions import ownership
from subscriptions.actions import keys as actions
from subscriptions.actions.keys import Rights
from subscriptions.api.base import PartnerView
from subscriptions.inputs import wrong
from subscriptions.models import ApiKey
from subscriptions.serializers import KeyIn, KeyMade, KeyOut, KeyPatch, KeyRotation

KEY: Mapping[str, object] = {
    "id": "key_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "name": "production",
    "mode": "live",
    "scopes": ["webhooks:read", "webhooks:write"],
    "topics": None,
    "allowed_cidrs": [],
    "certificate_sha256": None,
    "expires_at": "2027-02-21T04:19:00.123Z",
    "status": "active",
    "last_used_at": None,
    "last_used_ip": None,
    "created_by": "key_01jd0q2v7kz3v1m8x9c4b5n6a6",
    "version": 1,
    "created_at": "2026-11-23T04:19:00.123Z",
    "updated_at": "2026-11-23T04:19:00.123Z",
}
MADE: Mapping[str, object] = {**KEY, "key": "khk_live_…"}


WIDEST = Rights(mode="live", scopes=frozenset(), topics=None, cidrs=frozenset())
"""What an owner's new key has where nothing was said; its scopes are always said."""


class Keys(PartnerView):
    tag = "api-keys"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listApiKeys",
            summary="Your API keys, without the keys",
            scope="keys:manage",
            query=(
                parameters.choice("status", "Only those.", ApiKey.Status.values),
                parameters.text("scope", "Only those with this scope."),
            ),
            answer=KeyOut,
            is_list=True,
            answered=KEY,
        ),
        "POST": Operation(
            id="createApiKey",
            summary="Make an API key, never wider than the one that asks; shown once",
            scope="keys:manage",
            body=KeyIn,
            answer=KeyMade,
            status=201,
            codes=("conflict", "limit_reached", "out_of_range"),
            example={"name": "production", "scopes": ["webhooks:read", "webhooks:write"]},
            answered=MADE,
        ),
    }

    def get(self, _: Request) -> HttpResponse:
        rows = _filtered(ownership.keys_of(self.partner), self.arguments)
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([KeyOut(row).data for row in found], next_cursor)

    def post(self, _: Request) -> HttpResponse:
        values = _in_time(self.values())
        return self.commit(lambda: self._create(values))

    def _create(self, values: Values) -> HttpResponse:
        maker = _maker(self)
        own = Rights.of(maker) if maker else WIDEST
        topics = values.get("topics", own.topics)
        rights = Rights(
            mode=values.get("mode", own.mode),
            scopes=frozenset(values["scopes"]),
            topics=None if topics is None else frozenset(topics),
            cidrs=frozenset(values.get("allowed_cidrs", own.cidrs)),
        )
        row, plain = actions.create_key(
            self.actor,
            self.partner,
            name=values["name"],
            rights=rights,
            expires_at=values.get("expires_at"),
            certificate_sha256=values.get("certificate_sha256"),
            maker=maker,
        )
        place = f"{self.django_request.path}/{row.id}"
        data = {**KeyOut(row).data, "key": plain}
        return self.single(data, row.version, 201, {"Location": place})


class OneKey(PartnerView):
    tag = "api-keys"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getApiKey",
            summary="An API key, without the key",
            scope="keys:manage",
            answer=KeyOut,
            has_version=True,
            answered=KEY,
        ),
        "PATCH": Operation(
            id="updateApiKey",
            summary="Change an API key (merge patch)",
            scope="keys:manage",
            body=KeyPatch,
            answer=KeyOut,
            has_version=True,
            codes=("conflict", "out_of_range"),
            example={"allowed_cidrs": ["192.0.2.0/24"]},
            answered={**KEY, "allowed_cidrs": ["192.0.2.0/24"], "version": 2},
        ),
        "DELETE": Operation(
            id="revokeApiKey",
            summary="Revoke an API key, at every door within 5 s",
            scope="keys:manage",
            status=204,
            has_version=True,
        ),
    }

    def get(self, _: Request, key: str) -> HttpResponse:
        row = ownership.get_key(self.partner, key)
        return self.single(KeyOut(row).data, row.version)

    def patch(self, _: Request, key: str) -> HttpResponse:
        ownership.get_key(self.partner, key)
        values = _in_time(self.values())
        return self.commit(lambda: self._update(key, values))

    def _update(self, key: str, values: Values) -> HttpResponse:
        locked = ownership.get_key(self.partner, key, lock=True)
        self.require_match(locked.version)
        maker = _maker(self)
        row = actions.update_key(self.actor, locked, values, maker)
        return self.single(KeyOut(row).data, row.version)

    def delete(self, _: Request, key: str) -> HttpResponse:
        ownership.get_key(self.partner, key)
        self.expect_no_body()
        return self.commit(lambda: self._revoke(key))

    def _revoke(self, key: str) -> HttpResponse:
        locked = ownership.get_key(self.partner, key, lock=True)
        self.require_match(locked.version)
        actions.revoke_key(self.actor, locked)
        return HttpResponse(status=204)


class RotateKey(PartnerView):
    tag = "api-keys"
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="rotateApiKey",
            summary="Make a second key with equal rights; the first ends after the overlap",
            scope="keys:manage",
            body=KeyRotation,
            is_body_optional=True,
            answer=KeyMade,
            status=201,
            codes=("conflict", "out_of_range"),
            example={"overlap_s": 86400},
            answered=MADE,
        )
    }

    def post(self, _: Request, key: str) -> HttpResponse:
        ownership.get_key(self.partner, key)
        overlap = timedelta(seconds=self.values()["overlap_s"])
        return self.commit(lambda: self._rotate(key, overlap))

    def _rotate(self, key: str, overlap: timedelta) -> HttpResponse:
        old = ownership.get_key(self.partner, key)
        maker = _maker(self)
        row, plain = actions.rotate_key(self.actor, old, overlap, maker)
        place = f"{self.django_request.path.rpartition('/api-keys/')[0]}/api-keys/{row.id}"
        data = {**KeyOut(row).data, "key": plain}
        return self.single(data, row.version, 201, {"Location": place})


def _maker(view: PartnerView) -> ApiKey | None:
    """Return the key whose rights bound the new one's; None for an owner in the portal."""
    if view.principal.kind == "member":
        return None
    return ownership.get_key(view.partner, view.principal.id)


def _filtered(rows: QuerySet[ApiKey], arguments: Arguments) -> QuerySet[ApiKey]:
    if scope := arguments.text("scope"):
        rows = rows.filter(scopes__contains=[scope])
    if status := arguments.text("status"):
        conditions = {
            ApiKey.Status.ACTIVE: Q(revoked_at__isnull=True, expires_at__gt=clock.now()),
            ApiKey.Status.EXPIRED: Q(revoked_at__isnull=True, expires_at__lte=clock.now()),
            ApiKey.Status.REVOKED: Q(revoked_at__isnull=False),
        }
        rows = rows.filter(conditions[ApiKey.Status(status)])
    return rows


def _in_time(values: Values) -> Values:
    """Return the values; raise Invalid for an end in the past or further than a key may live."""
    expires_at: datetime | None = values.get("expires_at")
    if expires_at is None:
        return values
    longest = config.load().key_max_days
    if not clock.now() < expires_at <= clock.now() + timedelta(days=longest):
        text = f"A key ends in the future and at most {longest} days ahead."
        raise wrong("out_of_range", text, "/expires_at")
    return values
