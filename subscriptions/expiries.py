"""What ends soon: certificates, secrets and keys, told a few times before."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction

from subscriptions import notices
from subscriptions.models import ApiKey, Endpoint, Notice, SigningSecret
from subscriptions.notice_types import Kind

CERTIFICATE_DAYS = SECRET_DAYS = (30, 7, 1)
KEY_DAYS = (14, 3, 1)
"""Days before the end at which it is told."""


class Ending(NamedTuple):
    """One thing that ends, and where its partner's notice of that leads."""

    partner: str
    id: str
    expires_at: datetime
    endpoint: str = ""


def warn(now: datetime) -> int:
    """Tell of everything that has passed a step since the last run; return how many notices.

    One that is found late, between two steps, is told of the nearest step only.
    """
    return (
        _warn(Kind.CERTIFICATE_EXPIRING, _certificates(now), CERTIFICATE_DAYS, now)
        + _warn(Kind.SECRET_EXPIRING, _secrets(now), SECRET_DAYS, now)
        + _warn(Kind.KEY_EXPIRING, _keys(now), KEY_DAYS, now)
    )


def _warn(kind: Kind, ending: Iterable[Ending], days: Sequence[int], now: datetime) -> int:
    by_episode = {_episode(one, days, now): one for one in ending}
    partners = {one.partner for one in by_episode.values()}
    told = Notice.objects.filter(partner_id__in=partners, type=kind, episode__in=list(by_episode))
    known = set(told.values_list("episode", flat=True))  # by notice_once_an_episode
    written = 0
    for episode, one in by_episode.items():
        if episode not in known:
            members = {"object": one.id, "expires_at": one.expires_at}
            with transaction.atomic():
                made = notices.write(
                    kind, one.partner, members, endpoint=one.endpoint, episode=episode
                )
            written += made is not None
    return written


def _episode(one: Ending, days: Sequence[int], now: datetime) -> str:
    left = one.expires_at - now
    step = min(day for day in days if left <= timedelta(days=day))
    return f"{one.id} {one.expires_at.isoformat()} {step}"


def _certificates(now: datetime) -> list[Ending]:
    until = now + timedelta(days=max(CERTIFICATE_DAYS))
    rows = Endpoint.objects.filter(tls_expires_at__gt=now, tls_expires_at__lte=until)
    found = rows.order_by("pk").values_list("partner_id", "pk", "tls_expires_at", "pk")
    return [Ending(row[0], row[1], row[2], *row[3:]) for row in found if row[2]]


def _secrets(now: datetime) -> list[Ending]:
    until = now + timedelta(days=max(SECRET_DAYS))
    rows = SigningSecret.objects.filter(expires_at__gt=now, expires_at__lte=until)
    found = rows.order_by("pk").values_list("endpoint__partner_id", "pk", "expires_at")
    return [Ending(row[0], row[1], row[2], *row[3:]) for row in found if row[2]]


def _keys(now: datetime) -> list[Ending]:
    until = now + timedelta(days=max(KEY_DAYS))
    rows = ApiKey.objects.filter(revoked_at__isnull=True, expires_at__gt=now, expires_at__lte=until)
    return [
        Ending(*row) for row in rows.order_by("pk").values_list("partner_id", "pk", "expires_at")
    ]
