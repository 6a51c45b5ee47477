"""The door to records: who may see which, and in which form.

Every way out goes through here: webhooks, streams, reads, replays, parked records and previews.
No other module decides whether a record may leave, or turns it into what a partner sees.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from kafkahub.errors import ActionNotGranted, NotFound, QuotaExceeded
from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record
from subscriptions.filters.view import View
from subscriptions.grants import Action, Grant, Grants, Principal


def refuse_spent(grant: Grant, now_ms: int) -> None:
    """Raise QuotaExceeded while the quota of a grant is used up.

    Apart from ``authorize``, because the topic is there all the same.
    """
    if grant.is_spent(now_ms) and grant.spent_until_ms is not None:
        left_s = max(1, -(-(grant.spent_until_ms - now_ms) // 1_000))
        text = f"The quota on {grant.topic} is used up; it begins anew in {left_s} s."
        raise QuotaExceeded(text, retry_after_s=left_s)


OnDenied = Callable[[Record, Grant, int, str], None]
"""Given a record, the grant that could not look into it, Unix ms, and what is wrong with it."""

_on_denied: list[OnDenied] = []


class TopicFacts(Protocol):
    """What access needs to know of an exposed topic."""

    @property
    def is_sandbox(self) -> bool: ...

    @property
    def is_enabled(self) -> bool: ...


def authorize(
    principal: Principal,
    topic: str,
    action: Action,
    *,
    grants: Grants,
    topics: Mapping[str, TopicFacts],
    now_ms: int,
) -> Grant:
    """Return the grant that lets the principal do this on the topic.

    Raises NotFound alike for a topic that is unknown, switched off, ungranted, of the other mode,
    outside the credential's list, or whose grant has ended: nobody learns which names exist.
    Raises ActionNotGranted where the partner holds a living grant for the other action.
    Scopes are the caller's: they belong to the door, not to the topic.
    """
    facts = topics.get(topic)
    wanted = _living(grants.get((principal.partner, topic, action)), now_ms)
    other = _living(grants.get((principal.partner, topic, _OTHER[action])), now_ms)
    if facts is None or not _is_visible(principal, topic, facts):
        raise NotFound
    if wanted is not None:
        return wanted
    if other is not None:
        raise ActionNotGranted(f"The grant on {topic} does not include {action}.")
    raise NotFound


def authorize_and_project(
    record: Record, grant: Grant, now_ms: int, view: View | None = None
) -> Record | None:
    """Return what the grant's partner may see of ``record``, or None for nothing.

    now_ms  Unix time in ms
    view    of the whole record where one is made already; it is decoded once for everybody

    The same object comes back where the grant changes nothing. The caller of a None learns no
    reason, and must give none. A value that a rule of the grant looks into and that cannot be
    decoded is not shown either: operators find it by the metric and the log.
    """
    if grant.action != "read" or grant.topic != record.topic:
        return None
    if not grant.is_alive(now_ms):
        return None
    projection = grant.projection
    if projection is None:
        return record
    try:
        return projection.apply(record, view)
    except Undecodable as error:
        for tell in _on_denied:
            tell(record, grant, now_ms, str(error))
        return None


def shows_whole(grant: Grant, now_ms: int) -> bool:
    """Return whether every record of the grant's topic is shown now, and as it is.

    Says of all what ``authorize_and_project`` says of one: then it returns the same object.
    """
    return grant.action == "read" and grant.projection is None and grant.is_alive(now_ms)


def on_denied(tell: OnDenied) -> None:
    """Have this told of every record that is not shown because it cannot be decoded."""
    _on_denied.append(tell)


_OTHER: Mapping[Action, Action] = {"read": "write", "write": "read"}


def _living(grant: Grant | None, now_ms: int) -> Grant | None:
    return grant if grant is not None and grant.is_alive(now_ms) else None


def _is_visible(principal: Principal, topic: str, facts: TopicFacts) -> bool:
    """Return whether the topic exists for this principal at all.

    Only partners' credentials have a mode: operators and our own processes look after both kinds
    of topic.
    """
    if not facts.is_enabled or not principal.reaches(topic):
        return False
    return not principal.is_partners or facts.is_sandbox == (principal.mode == "test")
