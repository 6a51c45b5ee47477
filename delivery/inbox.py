"""What other threads tell the dispatcher: values, handed over and never touched again (pure)."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kafkahub.kafka.record import Record

if TYPE_CHECKING:
    from delivery.ledger import ParkedRow
    from delivery.positions import Claim, LaneRow
    from delivery.succession import Order
    from subscriptions.live import LiveSubscription, Snapshot

Place = tuple[str, int]
"""A topic and a partition of it."""
Hit = tuple[str, Record, str]
"""A subscription's id, the record as its partner may see it, and a fault or ``""``."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a lane stands when its partition is taken over or its subscription is new.

    settled  offsets at or above its position that were settled already
    untold   webhook-id of what tells of its last gap and has not arrived yet, or ""
    waiting  order keys that have open parked rows
    failing_us  since when every head of them fails with its endpoint, Unix µs; None: one does not
    """

    row: "LaneRow"
    settled: frozenset[int] = frozenset()
    untold: str = ""
    waiting: frozenset[bytes] = frozenset()
    failing_us: int | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition was claimed; ``next_offset`` is where the shared reader starts."""

    claim: "Claim"
    next_offset: int
    lanes: Sequence[Found]


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions go to another engine; ``done`` is set when nothing of them is under way."""

    places: Sequence[Place]
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions belong to another engine already."""

    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Fed:
    """What the shared reader read of one partition, up to ``next_offset``."""

    place: Place
    hits: Sequence[tuple[int, Sequence[Hit]]]
    next_offset: int


@dataclass(frozen=True, slots=True)
class Ask:
    """A lane that is behind has room: read for it from ``offset``.

    pass_number  names this pass of the lane; an answer to an older one is dropped
    room         records it may be given
    replay       id of the replay that reads, or ""; ``only_missing`` as it was asked for
    """

    place: Place
    subscription: "LiveSubscription"
    offset: int
    room: int
    pass_number: int
    replay: str = ""
    only_missing: bool = False

    @property
    def lane(self) -> str:
        """What the lane is known by within its partition."""
        return self.replay or self.subscription.id


@dataclass(frozen=True, slots=True)
class BacklogFed:
    """The answer to one ``Ask``: what the lane is owed up to ``next_offset``.

    is_gap  everything from the place asked for up to ``next_offset`` is gone from Kafka
    """

    ask: Ask
    hits: Sequence[tuple[int, Hit]]
    next_offset: int
    is_gap: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the logs of our partitions end, as the client was told last."""

    ends: Mapping[Place, int]


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Retention has overtaken the shared reader: it goes on at ``next_offset``."""

    place: Place
    next_offset: int


@dataclass(frozen=True, slots=True)
class Recreated:
    """The log behind a partition is another one: nothing of it is sent until a person agrees.

    reason  ``recreated``, or ``truncated`` where the same log lost its end
    """

    place: Place
    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotChanged:
    """Subscriptions have changed; ``lanes`` are those that the engine had not seen."""

    snapshot: "Snapshot"
    lanes: Sequence[Found]


@dataclass(frozen=True, slots=True)
class ParkedClaimed:
    """Parked rows are due and claimed by this engine."""

    rows: Sequence["ParkedRow"]


@dataclass(frozen=True, slots=True)
class ParkedForgotten:
    """The leases of all claimed rows may be over: start no new send for them."""


@dataclass(slots=True)
class Alibi:
    """Which partitions owe records that nothing keeps back; ``done`` is set with the answer.

    owing  those this engine holds, without those whose endpoints asked to be left alone
    """

    owing: frozenset[Place] = frozenset()
    done: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Committed:
    """A checkpoint is durable.

    fenced   partitions that belong to another engine
    emptied  orders that have no open row left
    """

    number: int
    fenced: frozenset[Place]
    emptied: frozenset["Order"] = frozenset()


@dataclass(frozen=True, slots=True)
class Released:
    """Orders whose rows are gone although no checkpoint of ours ended them: a person did."""

    orders: Sequence["Order"]


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing new; ``done`` is set when everything in flight is settled and durable."""

    done: threading.Event = field(default_factory=threading.Event)


Note = (
    Assigned
    | Revoked
    | Lost
    | Fed
    | BacklogFed
    | Ends
    | Overtaken
    | Recreated
    | SnapshotChanged
    | ParkedClaimed
    | ParkedForgotten
    | Committed
    | Released
    | Drain
    | Alibi
)
