"""What Kafka has lost, as gaps of lanes; and who waits until its partner was told.

Belongs to the dispatcher's thread; does no I/O.
"""

from dataclasses import dataclass

from delivery.batch import Outcomes
from delivery.forms import Naming
from delivery.gap_notices import noticed, of_form
from delivery.gaps import Noticed
from delivery.lanes import Lane, LaneState
from delivery.standings import Standings

RETENTION = "retention"


@dataclass(slots=True)
class Waiting:
    """A lane that sends nothing before what tells of its gap has arrived, or is a dead letter.

    batch       number of the checkpoint that writes the gap; 0 where it is written already
    durable_at  monotonic time from which its row is known to be there; None before
    """

    batch: int
    durable_at: float | None = None


class Losses:
    """Gaps on their way to the next checkpoint."""

    def __init__(self, naming: Naming, outcomes: Outcomes) -> None:
        self._naming = naming
        self._outcomes = outcomes
        self._waiting: dict[Lane, Waiting] = {}

    def note(self, lane: Lane, from_offset: int, to_offset: int | None, reason: str) -> None:
        """Announce that a lane will never be given these offsets."""
        found = noticed(
            self._naming,
            of_form(lane.form),
            from_offset=from_offset,
            to_offset=to_offset,
            reason=reason,
        )
        if lane.replay:  # told by the replay itself: the subscription may have had these before
            gap = found.gap._replace(delivery="", replay=lane.replay)
            self._outcomes.gap(Noticed(gap, None))
            return
        self._outcomes.gap(found)
        if lane.is_serial:
            lane.untold = found.gap.delivery
            self._waiting[lane] = Waiting(self._outcomes.next_number)

    def overtaken(self, lane: Lane, next_offset: int) -> None:
        """Announce what retention took from a lane that the shared reader feeds."""
        start = max(lane.partition.floor.next_offset, lane.live_from)
        if lane.state is LaneState.LIVE and start < next_offset:
            self.note(lane, start, next_offset, RETENTION)

    def found(self, lane: Lane, delivery: str) -> None:
        """Let a lane wait for what was on its way before the partition came here."""
        if delivery and lane.is_serial:
            lane.untold = delivery
            self._waiting[lane] = Waiting(0, 0.0)

    def committed(self, number: int, now: float) -> None:
        """Note that everything up to this checkpoint is durable."""
        for waiting in self._waiting.values():
            if waiting.durable_at is None and waiting.batch <= number:
                waiting.durable_at = now

    def told(self, standings: Standings) -> list[Lane]:
        """Return the lanes that may go on: their row was there, and is not on its way any more."""
        if not self._waiting:
            return []
        free = [
            lane
            for lane, waiting in self._waiting.items()
            if waiting.durable_at is not None
            and waiting.durable_at < standings.read_at
            and lane.untold not in standings.untold
        ]
        for lane in free:
            lane.untold = ""
            del self._waiting[lane]
        return [lane for lane in free if lane.is_ours]
