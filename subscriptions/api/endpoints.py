"""``/endpoints``: a partner's URLs, and switching them."""

from collections.abc import Callable, Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub.crypto import SealBroken
from kafkahub.drf import pages, parameters
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.drf.parameters import Arguments
from subscriptions import ownership
from subscriptions.actions import endpoints as actions
from subscriptions.api.base import PartnerView
from subscriptions.audit import Actor
from subscriptions.endpoint_forms import as_columns
from subscriptions.endpoint_serializers import EndpointIn, EndpointMade, EndpointOut
from subscriptions.models import Endpoint
from subscriptions.models.partners import MAX_NAME
from subscriptions.verification import admit_url

ENDPOINT: Mapping[str, object] = {
    "id": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "name": "hooks.example.com",
    "description": "",
    "url": "https://hooks.example.com/in",
    "status": "active",
    "status_reason": None,
    "verification": {
        "method": "challenge",
        "state": "verified",
        "detail": None,
        "last_at": "2026-11-23T04:19:03.456Z",
        "allowed_rate_per_min": None,
    },
    "timeout_ms": 15000,
    "connect_timeout_ms": 5000,
    "max_in_flight": 32,
    "rate_per_s": None,
    "max_body_bytes": 1048576,
    "headers": {},
    "auth": None,
    "tls": None,
    "signatures": {"rfc9421": False, "legacy": None, "header_prefix": None},
    "auto_disable": {"enabled": True, "after_h": 120},
    "auto_recover": True,
    "version": 1,
    "created_at": "2026-11-23T04:19:00.123Z",
    "updated_at": "2026-11-23T04:19:00.123Z",
}
UNVERIFIED: Mapping[str, object] = {
    "status": "unverified",
    "status_reason": "handshake_pending",
    "verification": {
        "method": "challenge",
        "state": "pending",
        "detail": None,
        "last_at": None,
        "allowed_rate_per_min": None,
    },
}
CHANGE_CODES = (
    "url_not_allowed",
    "header_not_allowed",
    "invalid_tls_material",
    "bad_combination",
    "out_of_range",
)
Switch = Callable[[Actor, Endpoint], Endpoint]


class Endpoints(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listEndpoints",
            summary="Your endpoints",
            scope="webhooks:read",
            query=(
                parameters.choice("status", "Only those.", Endpoint.Status.values),
                parameters.text("host", "Only those at this host name."),
            ),
            answer=EndpointOut,
            is_list=True,
            answered=ENDPOINT,
        ),
        "POST": Operation(
            id="createEndpoint",
            summary="Make an endpoint; the answer shows its first secret, once",
            scope="webhooks:write",
            body=EndpointIn,
            answer=EndpointMade,
            status=201,
            codes=(*CHANGE_CODES, "limit_reached"),
            example={"url": "https://hooks.example.com/in"},
            answered={
                **ENDPOINT,
                **UNVERIFIED,
                "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            },
        ),
    }

    def get(self, _: Request) -> HttpResponse:
        rows = _filtered(ownership.endpoints_of(self.partner), self.arguments)
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([EndpointOut(row).data for row in found], next_cursor)

    def post(self, _: Request) -> HttpResponse:
        values = as_columns(_admitted(self.values(), self.partner))
        values.setdefault("name", (urlsplit(values["url"]).hostname or "")[:MAX_NAME])
        return self.commit(lambda: self._create(values))

    def _create(self, values: Values) -> HttpResponse:
        endpoint, secret = actions.create_endpoint(self.actor, self.partner, **values)
        data = {**EndpointOut(endpoint).data, "secret": secret}
        place = f"{self.django_request.path}/{endpoint.id}"
        return self.single(data, endpoint.version, 201, {"Location": place})


class OneEndpoint(PartnerView):
    tag = "endpoints"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getEndpoint",
            summary="An endpoint",
            scope="webhooks:read",
            answer=EndpointOut,
            has_version=True,
            answered=ENDPOINT,
        ),
        "PATCH": Operation(
            id="updateEndpoint",
            summary="Change an endpoint (merge patch)",
            scope="webhooks:write",
            body=EndpointIn,
            answer=EndpointOut,
            has_version=True,
            codes=(*CHANGE_CODES, "conflict"),
            example={"timeout_ms": 10000},
            answered={**ENDPOINT, "timeout_ms": 10000, "version": 2},
        ),
        "DELETE": Operation(
            id="deleteEndpoint",
            summary="Remove an endpoint that no subscription uses",
            scope="webhooks:write",
            status=204,
            has_version=True,
            codes=("in_use",),
        ),
    }

    def get(self, _: Request, endpoint: str) -> HttpResponse:
        row = ownership.get_endpoint(self.partner, endpoint)
        return self.single(EndpointOut(row).data, row.version)

    def patch(self, _: Request, endpoint: str) -> HttpResponse:
        seen = ownership.get_endpoint(self.partner, endpoint)
        self.require_match(seen.version)
        held = {"headers": _headers(seen), "signatures": seen.signatures or {}}
        values = as_columns(_admitted(self.values(merged=held), self.partner))
        return self.commit(lambda: self._update(seen, values))

    def _update(self, seen: Endpoint, values: Values) -> HttpResponse:
        locked = ownership.get_endpoint(self.partner, seen.id, lock=True)
        self.require_same(seen.version, locked.version)
        headers = values.pop("headers", None)
        row = actions.update_endpoint(self.actor, locked, values, headers)
        return self.single(EndpointOut(row).data, row.version)

    def delete(self, _: Request, endpoint: str) -> HttpResponse:
        ownership.get_endpoint(self.partner, endpoint)
        self.expect_no_body()
        return self.commit(lambda: self._delete(endpoint))

    def _delete(self, endpoint: str) -> HttpResponse:
        locked = ownership.get_endpoint(self.partner, endpoint, lock=True)
        self.require_match(locked.version)
        actions.delete_endpoint(self.actor, locked)
        return HttpResponse(status=204)


class _Switched(PartnerView):
    tag = "endpoints"
    switch: ClassVar[Switch]

    def post(self, _: Request, endpoint: str) -> HttpResponse:
        ownership.get_endpoint(self.partner, endpoint)
        self.expect_no_body()
        return self.commit(lambda: self._move(endpoint))

    def _move(self, endpoint: str) -> HttpResponse:
        locked = ownership.get_endpoint(self.partner, endpoint, lock=True)
        row = type(self).switch(self.actor, locked)
        return self.single(EndpointOut(row).data, row.version)


class EnableEndpoint(_Switched):
    switch = actions.enable_endpoint
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="enableEndpoint",
            summary="Send to an endpoint again",
            scope="webhooks:write",
            answer=EndpointOut,
            codes=("conflict",),
            answered=ENDPOINT,
        )
    }


class DisableEndpoint(_Switched):
    switch = actions.disable_endpoint
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="disableEndpoint",
            summary="Stop sending to an endpoint; what it is owed waits",
            scope="webhooks:write",
            answer=EndpointOut,
            answered={**ENDPOINT, "status": "disabled", "status_reason": "manual", "version": 2},
        )
    }


def _filtered(rows: QuerySet[Endpoint], arguments: Arguments) -> QuerySet[Endpoint]:
    if status := arguments.text("status"):
        rows = rows.filter(status=status)
    if host := arguments.text("host"):
        shown = f"[{host}]" if ":" in host else host
        fronts = [f"{scheme}://{shown}{end}" for scheme in ("https", "http") for end in "/:"]
        condition = Q()
        for front in fronts:
            condition |= Q(url__startswith=front)
        rows = rows.filter(condition)
    return rows


def _admitted(values: Values, partner: str) -> Values:
    """Return the values with every URL that there is admitted and in canonical form."""
    admitted = dict(values)
    if "url" in values:
        admitted["url"] = admit_url(values["url"], partner)
    auth = values.get("auth")
    if auth and "token_url" in auth:
        token_url = admit_url(auth["token_url"], partner, "/auth/token_url")
        admitted["auth"] = {**auth, "token_url": token_url}
    return admitted


def _headers(endpoint: Endpoint) -> Mapping[str, str]:
    try:
        return actions.header_values(endpoint)
    except SealBroken:
        return {}  # what cannot be read cannot be kept; the patch sets all of them
