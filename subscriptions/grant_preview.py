"""What a grant that is not saved yet would show of records that there are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kafkahub.kafka.envelope import Undecodable
from kafkahub.kafka.record import Record
from subscriptions import rows
from subscriptions.grant_rows import live_grant, projection_of
from subscriptions.models import Grant
from subscriptions.projection import Projection

WHOLE, PART, HIDDEN, BROKEN = "whole", "part", "hidden", "undecodable"


@dataclass(frozen=True, slots=True)
class Seen:
    """One record, and what becomes of it.

    after   what the partner would see, None for nothing
    verdict whole, part, hidden or undecodable
    others  the verdicts of the other partners that may read the topic, by name
    """

    before: Record
    after: Record | None
    verdict: str
    others: Mapping[str, str]


def preview(grant: Grant, records: Sequence[Record]) -> list[Seen]:
    """Return what a grant, saved or not, makes of records of its topic.

    Raises Invalid for rules that cannot be read.
    """
    own = projection_of(grant, rows.live_topic(grant.topic))
    others = dict(_others(grant))
    seen = []
    for record in records:
        after, verdict = _judged(record, own)
        told = {name: _judged(record, one)[1] for name, one in others.items()}
        seen.append(Seen(record, after, verdict, told))
    return seen


def counts(seen: Iterable[Seen]) -> dict[str, int]:
    """Return how many records there are of each verdict."""
    found = dict.fromkeys((WHOLE, PART, HIDDEN, BROKEN), 0)
    for one in seen:
        found[one.verdict] += 1
    return found


def _others(grant: Grant) -> Iterable[tuple[str, Projection | None]]:
    """Yield the projections of the other living grants to read the topic, by partner."""
    living = Grant.objects.alive().filter(topic=grant.topic, action=Grant.Action.READ)
    topic = rows.live_topic(grant.topic)
    for row in living.exclude(partner_id=grant.partner_id).select_related("partner"):
        live = live_grant(row, topic)
        if live is not None:
            yield row.partner.name, live.projection


def _judged(record: Record, projection: Projection | None) -> tuple[Record | None, str]:
    if projection is None:
        return record, WHOLE
    try:
        after = projection.apply(record, None)
    except Undecodable:
        return None, BROKEN
    if after is None:
        return None, HIDDEN
    return after, WHOLE if after is record else PART
