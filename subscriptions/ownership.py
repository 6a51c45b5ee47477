"""The door to rows: a partner's objects, or NotFound. Nobody else queries one of them by id.

Unknown, foreign and deleted ids are the same to the caller: every query starts at the tenant.
"""

from typing import TypeVar

from django.db import models
from django.db.models import QuerySet

from kafkahub import ids
from kafkahub.errors import NotFound
from subscriptions.models import (
    ApiKey,
    Endpoint,
    Grant,
    LanePosition,
    Partner,
    SigningSecret,
    Subscription,
    Topic,
)

Row = TypeVar("Row", bound=models.Model)


def endpoints_of(partner: str) -> QuerySet[Endpoint]:
    """Return the partner's endpoints."""
    return Endpoint.objects.filter(partner_id=partner)


def subscriptions_of(partner: str) -> QuerySet[Subscription]:
    """Return the partner's subscriptions with their endpoint and partner."""
    return Subscription.objects.filter(partner_id=partner).select_related("endpoint", "partner")


def keys_of(partner: str) -> QuerySet[ApiKey]:
    """Return the partner's API keys."""
    return ApiKey.objects.filter(partner_id=partner)


def secrets_of(endpoint: Endpoint) -> QuerySet[SigningSecret]:
    """Return the secrets of an endpoint that was got from here."""
    return SigningSecret.objects.filter(endpoint=endpoint)


def lanes_of(subscription: Subscription) -> QuerySet[LanePosition]:
    """Return the lane rows of a subscription that was got from here."""
    return LanePosition.objects.filter(subscription=subscription)


def read_grants_of(partner: str) -> QuerySet[Grant]:
    """Return the partner's living grants to read, with their topics."""
    return (
        Grant.objects.alive()
        .filter(partner_id=partner, action=Grant.Action.READ)
        .select_related("topic")
    )


def grants_of(partner: str) -> QuerySet[Grant]:
    """Return all living grants of the partner, with their topics."""
    return Grant.objects.alive().filter(partner_id=partner).select_related("topic")


def topics_named(names: list[str]) -> QuerySet[Topic]:
    """Return exposed topics by name; whether somebody may see them is for ``access``."""
    return Topic.objects.filter(name__in=names)


def get_partner(partner: str) -> Partner:
    """Return the partner itself."""
    return _one(Partner.objects.all(), partner, "ptn")


def get_endpoint(partner: str, endpoint: str, *, lock: bool = False) -> Endpoint:
    """Return the partner's endpoint; ``lock`` holds it to the end of the transaction."""
    return _one(endpoints_of(partner), endpoint, "ep", lock=lock)


def get_subscription(partner: str, subscription: str, *, lock: bool = False) -> Subscription:
    """Return the partner's subscription; ``lock`` holds it to the end of the transaction."""
    return _one(subscriptions_of(partner), subscription, "sub", lock=lock)


def get_key(partner: str, key: str, *, lock: bool = False) -> ApiKey:
    """Return the partner's API key; ``lock`` holds it to the end of the transaction."""
    return _one(keys_of(partner), key, "key", lock=lock)


def get_secret(endpoint: Endpoint, secret: str, *, lock: bool = False) -> SigningSecret:
    """Return a secret of an endpoint that was got from here."""
    return _one(secrets_of(endpoint), secret, "sec", lock=lock)


def _one(rows: QuerySet[Row], key: str, prefix: str, *, lock: bool = False) -> Row:
    if not ids.is_id(key, prefix):
        raise NotFound
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    row = rows.filter(pk=key).first()
    if row is None:
        raise NotFound
    return row
