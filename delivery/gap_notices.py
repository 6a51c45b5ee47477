"""What tells a subscription of a gap in its own records: a parked row from birth."""

import hashlib
import json
from typing import NamedTuple

from delivery.forms import Naming
from delivery.gaps import Gap, Noticed
from delivery.ledger import NewlyParked
from delivery.request import LaneForm
from kafkahub import clock, ids
from subscriptions import cursor
from subscriptions.cursor import NO_EPOCH, TopicPosition, tag
from subscriptions.grants import Grant
from subscriptions.notice_types import Kind

REASON = "gap"
"""Reason of the parked row."""
PREFIX = "ntc"
PARTITION = -1
"""No partition of Kafka: what tells of a gap must not be taken for a record."""


class Of(NamedTuple):
    """The lane that has a gap; ``grant`` is None where the partner has none any more."""

    subscription: str
    partner: str
    topic: str
    partition: int
    generation: int
    grant: Grant | None


def noticed(
    naming: Naming, lane: Of, *, from_offset: int, to_offset: int | None, reason: str
) -> Noticed:
    """Return a gap of a lane, and what tells its subscription."""
    gap = Gap(
        ids.new(PREFIX),
        lane.subscription,
        lane.topic,
        lane.partition,
        lane.generation,
        from_offset,
        to_offset,
        reason,
        naming.gap_id(
            lane.subscription,
            topic=lane.topic,
            partition=lane.partition,
            generation=lane.generation,
            from_offset=from_offset,
        ),
    )
    return Noticed(gap, _row(gap, lane, _body(gap, lane, naming)))


def of_form(form: LaneForm) -> Of:
    """Return the lane that has this form."""
    live, topic = form.subscription, form.topic.name
    grant = live.grants.get(topic)
    return Of(live.id, live.partner, topic, form.partition, form.generation, grant)


def _row(gap: Gap, lane: Of, body: bytes) -> NewlyParked:
    """Return the parked row, which no record's row meets and nobody reads again from Kafka."""
    grant = lane.grant
    return NewlyParked(
        gap.delivery,
        gap.subscription,
        gap.topic,
        PARTITION,
        int.from_bytes(hashlib.sha256(gap.delivery.encode()).digest()[:8], "big") >> 2,
        -gap.generation,
        None,
        None,
        body,
        False,
        {"content-type": "application/json"},
        grant.version if grant is not None else 0,
        "scheduled",
        REASON,
        0,
        0,
        0.0,
        "",
        None,
    )


def _body(gap: Gap, lane: Of, naming: Naming) -> bytes:
    """Return the envelope; under a filtered grant without a number that tells of hidden records."""
    now = clock.rfc3339(clock.now())
    content: dict[str, object] = {
        "notice": gap.id,
        "partner": lane.partner,
        "text": f"Records of {gap.topic} will never come: {WORDS[gap.reason]}.",
        "link": f"{naming.base_url}/api/v1/deliveries/{gap.delivery}",
        "subscription": gap.subscription,
        "topic": gap.topic,
    }
    grant = lane.grant
    if grant is not None and not grant.is_filtered:
        content |= {
            "partition": gap.partition,
            "from": gap.from_offset,
            "to": gap.to_offset,
            "lost": gap.lost,
        }
        if not grant.seals:
            at = TopicPosition(tag(gap.topic), NO_EPOCH, {gap.partition: gap.from_offset})
            content["from_cursor"] = cursor.encode(cursor.Cursor(tag(naming.cluster), 0, (at,)))
    content |= {"resumed_at": now, "reason": gap.reason}
    whole = {"type": Kind.GAP.value, "timestamp": now, "data": content}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


WORDS = {
    "retention": "Kafka's retention removed them before they were delivered",
    "truncated": "the log was cut back below what had been read",
    "recreated": "the topic was deleted and made again",
    "foreign_cluster": "the position was of another cluster",
    "skipped": "the subscription was moved past them",
}
"""What each reason means, as the notice says it."""
