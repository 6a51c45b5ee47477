"""Parked records whose grant has changed: made anew before anything of them is sent."""

import time
from collections.abc import Callable

import structlog
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery

from delivery import actions, parking
from delivery.models import ParkedDelivery
from kafkahub import config
from kafkahub.errors import NotFound, RecordGone, Unavailable
from kafkahub.kafka.record import Position
from subscriptions import audit
from subscriptions.audit import Actor, ActorKind, Subject, Verb
from subscriptions.models import Grant

RUN_S = 20.0
"""Longest run, in seconds; the next one goes on."""

log = structlog.get_logger()


def outdated() -> QuerySet[ParkedDelivery]:
    """Return the rows that wait and were projected under another version of a living grant."""
    now = Grant.objects.alive().filter(
        partner_id=OuterRef("subscription__partner_id"),
        topic_id=OuterRef("topic"),
        action=Grant.Action.READ,
    )
    waiting = ParkedDelivery.objects.filter(
        state__in=[ParkedDelivery.State.SCHEDULED, ParkedDelivery.State.BLOCKED],
        partition__gte=0,
    ).annotate(version_now=Subquery(now.values("version")[:1]))
    return waiting.filter(version_now__isnull=False).exclude(grant_version=F("version_now"))


def make_anew(limit: int, monotonic: Callable[[], float] = time.monotonic) -> tuple[int, int]:
    """Project up to so many rows again; return how many live on, and how many are dead letters.

    Asks Kafka, so it must not run inside a transaction. While Kafka is away nothing changes.
    """
    remade = buried = 0
    deadline = monotonic() + RUN_S
    rows = outdated().select_related("subscription", "subscription__endpoint")
    for row in rows.order_by("next_attempt_at")[:limit]:
        if monotonic() > deadline:
            break
        try:
            remade += _project(row)
        except (NotFound, RecordGone) as error:
            buried += _bury(row, error.detail)
        except Unavailable:
            break
    if remade or buried:
        log.info("parked.made_anew", remade=remade, buried=buried)
    return remade, buried


def _project(row: ParkedDelivery) -> bool:
    position = Position(row.topic, row.partition, row.offset)
    remade = actions.remade_at(row.subscription, actions.Place(position, row.pk, row.sends))
    return parking.reproject(
        row.pk,
        row.grant_version,
        body=remade.content,
        key=remade.record.key,
        is_sensitive=actions.is_sensitive(row.topic),
        headers=remade.headers,
        grant_version=remade.grant_version,
    )


def _bury(row: ParkedDelivery, reason: str) -> bool:
    kept_days = config.load().dead_letters_kept_days
    with transaction.atomic():
        parking.hold([row.pk])
        if not parking.bury_changed(row.pk, row.grant_version, kept_days=kept_days):
            return False
        actor = Actor(ActorKind.SYSTEM, "delivery.reprojection")
        subject = Subject("parkeddelivery", row.pk, row.subscription.partner_id)
        changes = {"state": (row.state, ParkedDelivery.State.DEAD)}
        audit.append(actor, Verb.PARKED_OUTDATED, subject, changes, reason)
    return True
