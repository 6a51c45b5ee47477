"""Gaps are told to their partner and to the audit log, once each, from the row that holds them."""

from django.db import transaction

from delivery.models import DeliveryGap
from kafkahub import clock
from subscriptions import audit, notices
from subscriptions.audit import Actor, ActorKind, Subject, Verb
from subscriptions.cursor import NO_EPOCH, Cursor, TopicPosition, encode, tag
from subscriptions.models import Grant
from subscriptions.notice_types import Kind


def announce(limit: int, cluster: bytes | None) -> int:
    """Announce up to ``limit`` gaps that nobody was told of; return how many.

    cluster  tag of the cluster's id for cursors, None while Kafka does not tell it
    """
    with transaction.atomic():
        waiting = DeliveryGap.objects.filter(announced_at=None, replay="")
        waiting = waiting.select_related("subscription")
        rows = list(  # by gap_to_announce; another process takes others
            waiting.select_for_update(of=("self",), skip_locked=True).order_by("found_at")[:limit]
        )
        for row in rows:
            subject = Subject("subscription", row.subscription_id, row.subscription.partner_id)
            actor = Actor(ActorKind.SYSTEM, "delivery.announce_gaps")
            audit.append(actor, Verb.GAP_FOUND, subject, changes(row))
            tell(row, cluster)
        DeliveryGap.objects.filter(pk__in=[row.pk for row in rows]).update(announced_at=clock.now())
    return len(rows)


def changes(row: DeliveryGap) -> audit.Changes:
    """Return a gap as the audit log keeps it."""
    place = f"{row.topic}[{row.partition}]"
    return {"position": (row.from_offset, row.to_offset), "gap": (place, row.reason)}


def tell(row: DeliveryGap, cluster: bytes | None) -> None:
    """Write the partner's notice of a gap, inside the caller's transaction."""
    members: dict[str, object] = {
        "subscription": row.subscription_id,
        "topic": row.topic,
        "reason": row.reason,
        "from_cursor": None,
        "resumed_at": clock.rfc3339(row.found_at),
    }
    grant = grant_of(row.subscription.partner_id, row.topic)
    if grant is not None and not grant.is_filtered:
        members |= {
            "partition": row.partition,
            "from": row.from_offset,
            "to": row.to_offset,
            "lost": row.lost,
        }
        if cluster is not None and not grant.is_masked:  # else only a sealed one may be shown
            at = TopicPosition(tag(row.topic), NO_EPOCH, {row.partition: row.from_offset})
            members["from_cursor"] = encode(Cursor(cluster, 0, (at,)))
    notices.write(Kind.GAP, row.subscription.partner_id, members, notice_id=row.pk)


def grant_of(partner: str, topic: str) -> Grant | None:
    """Return the grant by which a partner reads a topic now, or None."""
    alive = Grant.objects.alive().filter(
        partner_id=partner, topic_id=topic, action=Grant.Action.READ
    )
    return alive.first()
