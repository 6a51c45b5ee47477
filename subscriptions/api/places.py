"""Whether a principal may name offsets: they count records, so no filtered grant shows them."""

from collections.abc import Collection

from kafkahub.errors import Fault, Invalid
from subscriptions import ownership
from subscriptions.grants import Principal
from subscriptions.starts import Offsets, Start


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
