"""Positions on their way in and out, as far as the grants show them.

Offsets count records, so a grant that hides some shows none and takes none.
"""

from collections.abc import Collection
from dataclasses import replace

from kafkahub import clock
from kafkahub.errors import Fault, Invalid
from kafkahub.fields import encryption_ring
from subscriptions import ownership, sealing
from subscriptions.cursor import TAG_BYTES, Cursor, tag
from subscriptions.filters.places import refuse_places
from subscriptions.filters.syntax import parse
from subscriptions.grants import Principal
from subscriptions.inputs import wrong
from subscriptions.ownership import Telling
from subscriptions.starts import At, Offsets, Start, Starts, Unopened

OTHER_LOG = b"\xff" * TAG_BYTES
"""Epoch tag of no topic: of such a position only the time counts."""


def check_offsets(principal: Principal, start: Start, topics: Collection[str], at: str) -> None:
    """Raise Invalid for offsets of topics that are not among these, or that the grant hides.

    at  where the start stands in the body
    """
    if not isinstance(start, Offsets):
        return
    seen = ownership.topics_of(principal)
    faults = []
    for topic in start.of:
        pointer = f"{at}/offsets/{topic}"
        if topic not in topics:
            faults.append(Fault(pointer, "not_found", "The subscription does not have this topic."))
        elif topic not in seen or seen[topic].is_filtered:
            text = "Your grant hides records of this topic, so its offsets too: use a cursor."
            faults.append(Fault(pointer, "not_allowed_by_grant", text))
    if faults:
        raise Invalid(faults)


def opened(start: Start, partner: str, topics: Collection[str], at: str) -> Start:
    """Return a start whose cursor is open, and says no more than the grants allow.

    at  where the start stands in the body

    Raises Invalid ``invalid_cursor``.
    """
    if isinstance(start, Unopened):
        sealer = sealing.sealer(encryption_ring(), partner, clock.now())
        try:
            return At(sealer.open(start.token), start.token)
        except Invalid as error:
            raise wrong("invalid_cursor", error.detail, f"{at}/cursor") from None
    if isinstance(start, At):
        plain = ownership.telling_of(partner).plain
        return At(_by_time(start.cursor, {t for t in topics if t not in plain}), start.token)
    return start


def _by_time(cursor: Cursor, topics: Collection[str]) -> Cursor:
    """Return a position of which only the time counts in these topics."""
    tags = {tag(topic) for topic in topics}
    places = (
        replace(one, epoch_tag=OTHER_LOG) if one.name_tag in tags else one for one in cursor.topics
    )
    return replace(cursor, topics=tuple(places))


def check_shown(
    telling: Telling, topics: Collection[str], include: Collection[str], filter_: object
) -> None:
    """Raise Invalid ``not_allowed_by_grant`` for what would show places that are hidden."""
    if all(topic in telling.placed for topic in topics):
        return
    if "position" in include:
        text = "The grant hides records, so it shows no position."
        raise wrong("not_allowed_by_grant", text, "/include")
    refuse_places(parse(filter_), "/filter")


def by_topic(fixed: Starts, telling: Telling) -> dict[str, dict[str, int]]:
    """Return the offsets by topic and partition, where places may be told."""
    offsets: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(fixed.items()):
        if topic in telling.placed:
            offsets.setdefault(topic, {})[str(partition)] = offset
    return offsets
