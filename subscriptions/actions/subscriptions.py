"""Everything that is done to subscriptions."""

from collections.abc import Mapping

from django.db import transaction

from kafkahub import config
from kafkahub.errors import InUse, LimitReached
from subscriptions import audit, starts
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.models import Endpoint, LanePosition, Partner, Subscription
from subscriptions.starts import Start, Starts


def create_subscription(
    actor: Actor,
    partner: str,
    *,
    endpoint: Endpoint,
    name: str,
    topics: list[str],
    start: Start,
    fixed: Starts,
    **settings: object,
) -> Subscription:
    """Make a subscription whose lanes begin at ``fixed``.

    endpoint  of the same partner
    topics    authorised by the caller
    start     as it was asked for; ``fixed`` is what ``starts.fix`` made of it
    settings  filter, format and so on; absent ones have their default

    So every record appended after the commit is owed. Raises LimitReached.
    """
    with transaction.atomic():
        lock(Partner(pk=partner))
        limit = config.load().max_subscriptions
        if Subscription.objects.filter(partner_id=partner).count() >= limit:
            raise LimitReached(f"A partner may have {limit} subscriptions.")
        lock(endpoint)
        subscription = Subscription.objects.create(
            partner_id=partner,
            endpoint=endpoint,
            name=name,
            topics=topics,
            start=starts.as_json(start),
            **settings,
        )
        _open_lanes(subscription, fixed)
        shown = {name: (None, getattr(subscription, name)) for name in ("name", "topics", "filter")}
        audit.append(actor, Verb.SUBSCRIPTION_CREATED, subscription, shown)
    return subscription


def _open_lanes(subscription: Subscription, fixed: Starts) -> None:
    LanePosition.objects.bulk_create(
        LanePosition(
            subscription=subscription,
            topic=topic,
            partition=partition,
            state=LanePosition.State.BEHIND,
            reason=LanePosition.Reason.START,
            next_offset=offset,
        )
        for (topic, partition), offset in sorted(fixed.items())
    )


def update_subscription(
    actor: Actor, subscription: Subscription, values: Mapping[str, object]
) -> Subscription:
    """Change a subscription's fields; they hold for records that are read afterwards."""
    with transaction.atomic():
        row = lock(subscription)
        changes = apply(row, values)
        if changes:
            audit.append(actor, Verb.SUBSCRIPTION_UPDATED, row, changes)
    return row


def pause_subscription(actor: Actor, subscription: Subscription, reason: str = "") -> Subscription:
    """Send nothing more until it is resumed; what comes meanwhile is owed."""
    return _move(
        actor,
        subscription,
        status=Subscription.Status.PAUSED,
        verb=Verb.SUBSCRIPTION_PAUSED,
        reason=reason,
    )


def resume_subscription(actor: Actor, subscription: Subscription, reason: str = "") -> Subscription:
    """Go on where it was paused."""
    return _move(
        actor,
        subscription,
        status=Subscription.Status.ACTIVE,
        verb=Verb.SUBSCRIPTION_RESUMED,
        reason=reason,
    )


def _move(
    actor: Actor,
    subscription: Subscription,
    *,
    status: Subscription.Status,
    verb: Verb,
    reason: str,
) -> Subscription:
    """Set the status; one that has it already stays as it is, and nothing is told."""
    with transaction.atomic():
        row = lock(subscription)
        changes = apply(row, {"status": status})
        if changes:
            audit.append(actor, verb, row, changes, reason)
    return row


def delete_subscription(actor: Actor, subscription: Subscription, *, discard_parked: bool) -> None:
    """Remove a subscription with its lanes and parked rows; attempts stay in the log.

    Raises InUse while there are parked rows, unless they may be discarded.
    """
    with transaction.atomic():
        row = lock(subscription)
        # A discarded row owes nothing; it only keeps a re-read from sending the record.
        parked = row.parked.exclude(state="discarded").count()
        if parked and not discard_parked:
            text = f"{parked} parked deliveries wait for it; add ?discard_parked=true to drop them."
            raise InUse(text)
        changes = {"name": (row.name, None), "parked": (parked, None)}
        gone = audit.Subject("subscription", row.pk, row.partner_id)
        row.delete()
        audit.append(actor, Verb.SUBSCRIPTION_DELETED, gone, changes)
