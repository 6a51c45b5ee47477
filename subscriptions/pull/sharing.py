"""Which instance of a group owns which partition (pure)."""

from collections.abc import Collection, Mapping
from uuid import UUID

Part = tuple[str, int]
Owners = Mapping[Part, UUID | None]


def share(
    parts: Collection[Part],
    members: Mapping[UUID, frozenset[str]],
    owners: Owners,
) -> dict[Part, UUID | None]:
    """Return the new owner of each partition, None where nobody wants it.

    members  the topics that each living instance subscribes to
    owners   who owned what until now; whoever may keep a partition does

    Nobody has more than ``ceil(partitions / instances)`` while another that wants one has fewer.
    """
    if not members:
        return dict.fromkeys(parts)
    limit = -(-len(parts) // len(members))
    counts = dict.fromkeys(members, 0)
    chosen: dict[Part, UUID | None] = {}
    ordered = sorted(parts)
    for part in ordered:
        owner = owners.get(part)
        if owner is None or part[0] not in members.get(owner, ()):
            continue
        if counts[owner] < limit:
            chosen[part] = owner
            counts[owner] += 1
    for part in ordered:
        if part not in chosen:
            able = [one for one, topics in members.items() if part[0] in topics]
            least = min(able, key=lambda one: (counts[one], one), default=None)
            chosen[part] = least
            if least is not None:
                counts[least] += 1
    return {part: chosen[part] for part in ordered}
