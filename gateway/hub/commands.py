"""What the reading thread is asked, and what it answers (pure)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.hub.audience import Spec
from gateway.hub.log import Part
from gateway.hub.place import Place, Tokens
from gateway.hub.tape import Tape

LATEST = -1
"""Offset that stands for "where the hub reads now"."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A listener wants to be seated on a tape.

    offsets  where it stands; ``LATEST`` for "now"
    ends     end of each partition as Kafka told, for topics that are not read yet
    lows     first offset of each partition, likewise
    reply    called in the reading thread with the answer
    """

    spec: Spec
    tokens: Tokens
    offsets: Mapping[Part, int]
    time_ms: int
    lows: Mapping[Part, int]
    ends: Mapping[Part, int]
    reply: "Callable[[Seated | Behind | Refused], None]"
    asked_s: float


@dataclass(frozen=True, slots=True)
class Seated:
    """It may read on from there.

    place  where it stands, with ``LATEST`` resolved
    live   the tape of its audience, where ``tape`` leads in the end
    """

    tape: Tape
    seq: int
    place: Place
    live: Tape


@dataclass(frozen=True, slots=True)
class Behind:
    """The log does not reach back so far; Kafka must be read from ``start`` up to ``target``."""

    start: Place
    target: Place
    then: tuple[Tape, int]


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no seat: too many audiences, or a cursor that stayed ahead."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Nobody listens to this audience any more."""

    spec: Spec


@dataclass(frozen=True, slots=True)
class Grow:
    """A topic has partitions up to this number now; new ones are read from their first record."""

    topic: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Lose:
    """A topic is another one of the same name now: its offsets mean other records."""

    topic: str


Command = Ask | Leave | Grow | Lose
