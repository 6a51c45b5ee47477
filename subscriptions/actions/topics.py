"""Everything that is done to exposed topics and to grants on them."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from kafkahub.errors import Conflict
from subscriptions import audit
from subscriptions.actions.rows import apply, lock
from subscriptions.audit import Actor, Verb
from subscriptions.models import Grant, Partner, Topic


def create_topic(actor: Actor, name: str, **settings: object) -> Topic:
    """Expose a Kafka topic; nobody sees it until there is a grant.

    settings  format, description and so on; absent ones have their default

    Raises django.core.exceptions.ValidationError for a name that can never be exposed.
    """
    topic = Topic(name=name, **settings)
    topic.full_clean()
    with transaction.atomic():
        topic.save(force_insert=True)
        audit.append(actor, Verb.TOPIC_CREATED, topic, {"name": (None, name)})
    return topic


def enable_topic(actor: Actor, topic: Topic) -> Topic:
    """Open a topic to its grants again."""
    return _switch(actor, topic, is_enabled=True)


def disable_topic(actor: Actor, topic: Topic) -> Topic:
    """Close a topic: for partners it does not exist until it is enabled again."""
    return _switch(actor, topic, is_enabled=False)


def _switch(actor: Actor, topic: Topic, *, is_enabled: bool) -> Topic:
    with transaction.atomic():
        row = lock(topic)
        changes = apply(row, {"is_enabled": is_enabled})
        if changes:
            verb = Verb.TOPIC_ENABLED if is_enabled else Verb.TOPIC_DISABLED
            audit.append(actor, verb, row, changes)
    return row


def create_grant(
    actor: Actor,
    partner: Partner,
    topic: Topic,
    action: Grant.Action = Grant.Action.READ,
    valid_until: datetime | None = None,
    **rules: object,
) -> Grant:
    """Let a partner read or write a topic; raise Conflict when it may already.

    rules  columns that ``grant_rules`` tells of, sound ones; absent: everything is shown
    """
    with transaction.atomic():
        lock(partner)
        if Grant.objects.filter(partner=partner, topic=topic, action=action).exists():
            raise Conflict("There is such a grant already.")
        grant = Grant.objects.create(
            partner=partner, topic=topic, action=action, valid_until=valid_until, **rules
        )
        given = {"topic": topic.pk, "action": action, **rules}
        shown = {name: (None, value) for name, value in given.items() if value not in (None, {})}
        audit.append(actor, Verb.GRANT_CREATED, grant, shown)
    return grant


def update_grant(actor: Actor, grant: Grant, values: Mapping[str, object]) -> Grant:
    """Change what a grant shows, or its end; in force everywhere within 5 s."""
    with transaction.atomic():
        row = lock(grant)
        if changes := apply(row, values):
            audit.append(actor, Verb.GRANT_UPDATED, row, changes)
    return row


def withdraw_grant(actor: Actor, grant: Grant, reason: str = "") -> None:
    """Take a grant away; nothing of the topic starts on its way more than 5 s later."""
    with transaction.atomic():
        row = lock(grant)
        shown = {"topic": (row.topic_id, None), "action": (row.action, None)}
        gone = audit.Subject("grant", row.pk, row.partner_id)
        row.delete()
        audit.append(actor, Verb.GRANT_DELETED, gone, shown, reason)
