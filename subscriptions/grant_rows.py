"""From a grant's row to the value that access works on."""

import json

import structlog

from kafkahub import config, crypto
from kafkahub.errors import Invalid
from subscriptions import grant_rules, masks, rows
from subscriptions.grants import Grant
from subscriptions.live import LiveTopic
from subscriptions.models import Grant as GrantRow
from subscriptions.models import Topic
from subscriptions.projection import Projection, TopicForm

log = structlog.get_logger()

DEFAULTS = tuple((name, getattr(GrantRow(), name)) for name in grant_rules.MEMBERS)


def live_grant(row: GrantRow, topic: LiveTopic, old: Grant | None = None) -> Grant | None:
    """Return the grant; None where its rules cannot be read, for then it gives no right.

    old  the grant as it was before: its projection is used again where nothing changed
    """
    fault = ""
    projection = None
    try:
        projection = projection_of(row, topic, None if old is None else old.projection)
    except Invalid as error:
        fault = error.detail
    if fault:
        log.error("grant.found_unreadable", grant=row.id, reason=fault)
        return None
    return Grant(
        id=row.id,
        partner=row.partner_id,
        topic=row.topic_id,
        action="read" if row.action == GrantRow.Action.READ else "write",
        version=row.version,
        valid_until_ms=_unix_ms(row, "valid_until"),
        projection=projection,
        spent_until_ms=_unix_ms(row, "spent_until"),
        allow_unconfirmed=row.allow_unconfirmed,
        hide_offsets=row.hide_offsets,
    )


def projection_of(
    row: GrantRow, topic: LiveTopic, old: Projection | None = None
) -> Projection | None:
    """Return what a grant's row, saved or not, shows; None for everything as it is.

    Raises Invalid with the place of every fault, see ``grant_rules.read``.
    """
    if all(getattr(row, name) == default for name, default in DEFAULTS):
        return None
    values = {name: getattr(row, name) for name in grant_rules.MEMBERS}
    form = TopicForm(topic.name, topic.format, topic.type_source, topic.type_value)
    written = {**values, "history_from": _unix_ms(row, "history_from")}
    source = json.dumps([row.partner_id, repr(form), written], sort_keys=True)
    if old is not None and old.source == source:
        return old
    rules = grant_rules.read(
        values, topic_format=topic.format, history_from_ms=_unix_ms(row, "history_from")
    )
    if rules.is_plain:
        return None
    id_key = crypto.parse_key(config.load().id_key.get_secret_value())
    return Projection(rules, form, masks.key_of(id_key, row.partner_id), source)


def shown_value(row: GrantRow, topic: Topic, value: object) -> object:
    """Return a decoded value as a grant's fields and masks show it; None where nobody can tell."""
    try:
        projection = projection_of(row, rows.live_topic(topic))
    except Invalid:
        return None
    return value if projection is None else projection.value(value)


def _unix_ms(row: GrantRow, name: str) -> int | None:
    moment = getattr(row, name)
    return None if moment is None else int(moment.timestamp() * 1_000)
