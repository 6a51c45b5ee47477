"""Who reads with leases, and what one read hands out (pure but for the clock)."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.frames import Gap
from gateway.hub.audience import Spec
from gateway.hub.log import Part
from gateway.hub.place import Place, Tokens
from gateway.starts import Found
from kafkahub.kafka.record import Record
from subscriptions.audit import Actor
from subscriptions.pull.rows import Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who reads: an instance of a group, and by which rights.

    spec     what the partner may see of the topics, asked anew for every read
    tokens   writes positions of these topics as cursors
    session  of a stream, ``""`` for a call on its own
    rung     set by whoever made room: acknowledgements were taken
    """

    actor: Actor
    name: Name
    mode: str
    spec: Callable[[], Spec]
    tokens: Tokens
    found: Found
    lease_s: float
    timeout_s: float
    session: str = ""
    rung: asyncio.Event = field(default_factory=asyncio.Event)


class Given(NamedTuple):
    """A record that is handed out; ``attempt`` is 1 the first time."""

    record: Record
    ack_id: bytes
    attempt: int


@dataclass(slots=True)
class Handed:
    """What one read hands out.

    after   where the instance stands now, by partition
    at_end  nothing more is there
    """

    given: list[Given] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    after: dict[Part, int] = field(default_factory=dict)
    at_end: bool = False


def place_of(member: Member, positions: Mapping[Part, int]) -> Place:
    """Return positions as a place in the member's topics; others are where the group began."""
    offsets = {part: positions.get(part, offset) for part, offset in member.found.offsets.items()}
    return Place(offsets, time.time_ns() // 1_000_000)
