"""What a run leaves behind, as values: records, deliveries, rows, gaps, faults (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Place = tuple[str, int, int]
"""Topic, partition, offset: names a record."""

DELIVERED = range(200, 300)
"""Statuses that settle a delivery."""
WAITING = frozenset({"scheduled", "sending", "blocked", "held"})
"""States of a parked row whose record is still owed: nothing may pass it in its order."""


@dataclass(frozen=True, slots=True)
class Produced:
    """One record as Kafka holds it at the end.

    half  what the filtered subscription asks for: 0 or 1
    """

    place: Place
    tenant: str
    key: str
    seq: int
    half: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as a sink logged it, before it answered.

    at        seconds on the machine's monotonic clock
    status    what the sink answered; 0 for no answer at all
    is_lost   whether the answer was cut off before it went out
    is_signed whether a secret in force had signed it
    foreign   whether it held a mark of another tenant
    """

    at: float
    subscription: str
    webhook_id: str
    seq: int
    body: str
    attempt: int
    status: int
    is_lost: bool = False
    is_signed: bool = True
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Parked:
    """One row of ``parked_delivery`` at the end.

    died_at  when it became a dead letter, on the clock of the arrivals; None for another state
    """

    subscription: str
    place: Place
    state: str
    died_at: float | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """One announced range: ``first`` to ``last``, both included."""

    subscription: str
    topic: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One subscription of a run, as the checker needs it.

    ordering  ``none``, ``key`` or ``partition``
    half      what passes its filter: 0 or 1, or None for everything
    """

    subscription: str
    tenant: str
    topic: str
    ordering: str = "none"
    half: int | None = None

    def wants(self, record: Produced) -> bool:
        return self.half is None or record.half == self.half


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was injected.

    at, healed, until  when it began, was taken back, and when the next one could begin
    doubles            copies it may cost, by its row of the catalogue
    limit_s            longest time from ``healed`` to deliveries of every lane; None: not measured
    tenants            whose lanes it touches; empty for all
    notes              what was seen while it lasted, for the report
    """

    id: str
    at: float
    healed: float
    until: float
    doubles: int
    limit_s: float | None = None
    tenants: tuple[str, ...] = ()
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class History:
    """Everything the checker judges.

    records     of all topics as Kafka holds them, aborted ones left out
    acked       places whose producer got an answer
    unknown     number of records whose producer got none
    arrivals    of every tenant's sink, in the order of its log
    missing_at  offsets that Kafka does not hold any more, for gaps
    """

    lanes: Sequence[Lane]
    records: Sequence[Produced]
    acked: frozenset[Place]
    unknown: int
    arrivals: Mapping[str, Sequence[Arrival]]
    parked: Sequence[Parked] = ()
    gaps: Sequence[Gap] = ()
    faults: Sequence[Fault] = ()
    is_settled: bool = True
    leaked_canaries: int = 0
    missing_at: frozenset[Place] = frozenset()
